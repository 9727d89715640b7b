"""Whether reading an image twice gives the same pixels: in training batches, and in the evaluation of the protocol.

In: a recipe and its workbench. Out: a `ReadProbe`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor

from flyweight.data.augment import Augmentation, augment
from flyweight.data.batches import Stream, normalise, seeds
from flyweight.doctor.probes import ReadProbe
from flyweight.experiment.augmentation import augmentation_of
from flyweight.experiment.setup import Workbench
from flyweight.recipe import Recipe

MAX_IMAGES: Final = 256
EPOCHS: Final = (1, 2)


def probe_reads(recipe: Recipe, bench: Workbench) -> ReadProbe:
    """Read some training and validation images, or test images without any, in two epochs; count those that differ."""
    judged = bench.validation[0] if bench.has_validation else bench.image_set.test_images
    n = min(MAX_IMAGES, len(bench.batches.rows), len(judged))
    images = torch.from_numpy(judged[:n])
    first, second = (_as_trained(bench, n, epoch) for epoch in EPOCHS)
    evaluated, again = (_as_evaluated(recipe, bench, images, epoch) for epoch in EPOCHS)
    return ReadProbe(n=n, training_differ=_differ(first, second), evaluation_differ=_differ(evaluated, again))


def _as_trained(bench: Workbench, n: int, epoch: int) -> Tensor:
    """The first training images, in one unshuffled batch."""
    return bench.batches.alike(rows=bench.batches.rows[:n], batch_size=n, shuffle=False)(epoch, 0).images


def _as_evaluated(recipe: Recipe, bench: Workbench, images: Tensor, epoch: int) -> Tensor:
    """The images as `experiment.reported_metrics` reads them."""
    protocol = recipe.protocol
    is_augmented = protocol.evaluate_augmented or protocol.shared_transform == "training"
    augmentation = augmentation_of(recipe, bench.image_set) if is_augmented else Augmentation()
    generator = Generator().manual_seed(seeds(bench.batches.seed, Stream.REPORTED, epoch, 0)[0])
    return normalise(augment(images.float(), generator, augmentation), mean=bench.mean, std=bench.std)


def _differ(first: Tensor, second: Tensor) -> int:
    return int((first != second).flatten(1).any(1).sum())
