"""Measure the images of a recipe: duplicates between splits, brightness, order of the classes.

In: an image set, its split and the recipe. Out: an `ImageProbe`. No torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from math import prod, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import Images, ImageSet, Labels, blocks
from flyweight.data.splits import Indices, Split, channel_statistics, class_counts, validated_on
from flyweight.doctor.probes import ImageProbe
from flyweight.recipe import Recipe

MAX_BATCHES: Final = 200  # with more, the mean number of classes does not change


def probe_images(recipe: Recipe, image_set: ImageSet, split: Split) -> ImageProbe:
    """Measure and compare all images of the splits."""
    chosen = split.train[: recipe.data.train_limit]
    validation_images, _ = validated_on(image_set, split)
    parts = {
        "train": _Measured(image_set.train_images, chosen),
        "validation": _Measured(validation_images, split.validation),
        "test": _Measured(image_set.test_images, np.arange(len(image_set.test_images))),
    }
    train, validation = (frozenset(parts[name].hashes) for name in ("train", "validation"))
    present = {name: part for name, part in parts.items() if part.hashes}
    labels, counts = image_set.train_labels[chosen], class_counts(image_set.train_labels[chosen], image_set.n_classes)
    shuffled = _classes_of_random_batch(counts, recipe.train.batch_size)
    return ImageProbe(
        n={name: len(part.hashes) for name, part in parts.items()},
        validation_in_train=sum(one in train for one in parts["validation"].hashes),
        test_in_train=sum(one in train for one in parts["test"].hashes),
        test_in_validation=sum(one in validation for one in parts["test"].hashes),
        mean={name: part.mean for name, part in present.items()},
        mean_error={name: part.mean_error for name, part in present.items()},
        sd={name: part.sd for name, part in present.items()},
        classes_per_batch=shuffled if recipe.train.shuffle else _classes_of_batches(labels, recipe.train.batch_size),
        classes_per_shuffled_batch=shuffled,
        class_counts=counts,
        channel_sd=channel_statistics(image_set.train_images, chosen)[1],
        lowest=int(parts["train"].lowest.min()),
        highest=int(parts["train"].highest.max()),
        constant_values=int((parts["train"].lowest == parts["train"].highest).sum()),
        n_values=parts["train"].n_pixels,
    )


class _Measured:
    """Hashes and sums of the images of a split, in the order of their file.

    lowest, highest: over the images, of each value.

    Sums are integers, so nothing is rounded before the end.
    """

    def __init__(self, images: Images, rows: Indices) -> None:
        self.n_pixels = prod(images.shape[1:])
        self.hashes: list[bytes] = []
        sums = [np.zeros(0, np.int64)]
        squares = 0
        self.lowest, self.highest = (np.full(self.n_pixels, value, np.uint8) for value in (255, 0))
        for block in _blocks_of(images, rows):
            self.hashes += [hashlib.sha256(image).digest() for image in block]
            sums.append(block.sum(axis=1, dtype=np.int64))
            self.lowest = np.minimum(self.lowest, block.min(axis=0))
            self.highest = np.maximum(self.highest, block.max(axis=0))
            squares += int(np.einsum("ij,ij->", block, block, dtype=np.int64))
        self.sums, self.squares = np.concatenate(sums), squares

    @property
    def mean(self) -> float:
        return int(self.sums.sum()) / (255 * self.n_pixels * len(self.sums))

    @property
    def sd(self) -> float:
        """The standard deviation of all pixels."""
        total, n = int(self.sums.sum()), self.n_pixels * len(self.sums)
        return sqrt(n * self.squares - total**2) / (255 * n)

    @property
    def mean_error(self) -> float:
        """Standard error of the mean over images; pixels of one image are not independent."""
        if len(self.sums) < 2:
            return 0.0
        return float((self.sums / (255 * self.n_pixels)).std(ddof=1)) / sqrt(len(self.sums))


def _blocks_of(images: Images, rows: Indices) -> Iterator[NDArray[np.uint8]]:
    """The images as (n, pixels) in blocks, in the order of the file, so that a mapped file is read once."""
    ordered = np.sort(rows)
    for block in blocks((len(ordered), *images.shape[1:])):
        chosen = images[ordered[block]]
        yield np.ascontiguousarray(chosen).reshape(len(chosen), -1)


def _classes_of_batches(labels: Labels, batch_size: int) -> float:
    """The mean number of classes in a batch without shuffling, over the first batches."""
    starts = range(0, len(labels), batch_size)[:MAX_BATCHES]
    found = [len(np.unique(labels[start : start + batch_size])) for start in starts]
    return float(np.mean(found))


def _classes_of_random_batch(counts: Sequence[int], batch_size: int) -> float:
    """The expected number of classes in a random batch: each is missing with probability (1 - share)^size.

    This assumes drawing with replacement, which is accurate for batches much smaller than the set.
    """
    n = sum(counts)
    return sum(1 - (1 - count / n) ** min(batch_size, n) for count in counts)
