"""Whether an image reads the same twice: through the batches that train, and as the protocol tells the validation.

Goes in: a recipe and its bench. Comes out: a `ReadProbe`. What a difference means is not known here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Generator, Tensor

from flyweight.data.augment import Augmentation, augment
from flyweight.data.batches import Stream, normalise, seeds
from flyweight.doctor.probes import ReadProbe
from flyweight.experiment.setup import Workbench
from flyweight.recipe import Recipe

MOST_IMAGES: Final = 256
EPOCHS: Final = (1, 2)


def probe_reads(recipe: Recipe, bench: Workbench) -> ReadProbe:
    """Read some images of each kind in two epochs and compare each with itself."""
    n = min(MOST_IMAGES, len(bench.batches.rows), len(bench.split.validation))
    images = torch.from_numpy(bench.validation[0][:n])
    first, second = (_as_trained(bench, n, epoch) for epoch in EPOCHS)
    told, told_again = (_as_told(recipe, bench, images, epoch) for epoch in EPOCHS)
    return ReadProbe(n=n, training_differ=_differ(first, second), evaluation_differ=_differ(told, told_again))


def _as_trained(bench: Workbench, n: int, epoch: int) -> Tensor:
    """The first images that train, in one batch and in their own order, so that each can be told again."""
    return bench.batches.alike(rows=bench.batches.rows[:n], batch_size=n, shuffle=False)(epoch, 0).images


def _as_told(recipe: Recipe, bench: Workbench, images: Tensor, epoch: int) -> Tensor:
    """As `experiment.reported_metrics` reads them."""
    protocol = recipe.protocol
    is_augmented = protocol.evaluate_augmented or protocol.shared_transform == "training"
    augmentation = Augmentation(**recipe.augment.model_dump()) if is_augmented else Augmentation()
    generator = Generator().manual_seed(seeds(bench.batches.seed, Stream.REPORTED, epoch, 0)[0])
    return normalise(augment(images.float(), generator, augmentation), mean=bench.mean, std=bench.std)


def _differ(first: Tensor, second: Tensor) -> int:
    return int((first != second).flatten(1).any(1).sum())
