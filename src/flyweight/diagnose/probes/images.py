"""What the images of a recipe say by themselves: which are in two parts, how bright they are, in what order they come.

Goes in: an image set, its split and the recipe. Comes out: an `ImageProbe`. Nets and torch are not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from math import prod, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import Images, ImageSet, Labels, blocks
from flyweight.data.splits import Indices, Split, class_counts, validated_on
from flyweight.doctor.probes import ImageProbe
from flyweight.recipe import Recipe

MOST_BATCHES: Final = 200  # beyond so many the mean number of classes no longer moves


def probe_images(recipe: Recipe, image_set: ImageSet, split: Split) -> ImageProbe:
    """Compare the parts with each other, every image of them."""
    chosen = split.train[: recipe.data.train_limit]
    validation_images, _ = validated_on(image_set, split)
    parts = {
        "train": _Part(image_set.train_images, chosen),
        "validation": _Part(validation_images, split.validation),
        "test": _Part(image_set.test_images, np.arange(len(image_set.test_images))),
    }
    train, validation = (frozenset(parts[name].hashes) for name in ("train", "validation"))
    labels, counts = image_set.train_labels[chosen], class_counts(image_set.train_labels[chosen], image_set.n_classes)
    shuffled = _classes_of_random_batch(counts, recipe.train.batch_size)
    return ImageProbe(
        n={name: len(part.hashes) for name, part in parts.items()},
        validation_in_train=sum(one in train for one in parts["validation"].hashes),
        test_in_train=sum(one in train for one in parts["test"].hashes),
        test_in_validation=sum(one in validation for one in parts["test"].hashes),
        mean={name: part.mean for name, part in parts.items()},
        mean_error={name: part.mean_error for name, part in parts.items()},
        sd={name: part.sd for name, part in parts.items()},
        classes_per_batch=shuffled if recipe.train.shuffle else _classes_of_batches(labels, recipe.train.batch_size),
        classes_per_shuffled_batch=shuffled,
        class_counts=counts,
    )


class _Part:
    """One sweep over the images of a part, in the order of their file; `hashes` are in that order, too.

    Sums are of whole numbers, so that nothing is rounded before the end.
    """

    def __init__(self, images: Images, rows: Indices) -> None:
        self.n_pixels = prod(images.shape[1:])
        self.hashes: list[bytes] = []
        sums = []
        squares = 0
        for block in _blocks_of(images, rows):
            self.hashes += [hashlib.sha256(image).digest() for image in block]
            sums.append(block.sum(axis=1, dtype=np.int64))
            squares += int(np.einsum("ij,ij->", block, block, dtype=np.int64))
        self.sums, self.squares = np.concatenate(sums), squares

    @property
    def mean(self) -> float:
        return int(self.sums.sum()) / (255 * self.n_pixels * len(self.sums))

    @property
    def sd(self) -> float:
        """Of all pixels."""
        total, n = int(self.sums.sum()), self.n_pixels * len(self.sums)
        return sqrt(n * self.squares - total**2) / (255 * n)

    @property
    def mean_error(self) -> float:
        """Of the mean over images: pixels of one image are no independent draws."""
        if len(self.sums) < 2:
            return 0.0
        return float((self.sums / (255 * self.n_pixels)).std(ddof=1)) / sqrt(len(self.sums))


def _blocks_of(images: Images, rows: Indices) -> Iterator[NDArray[np.uint8]]:
    """The images as (n, pixels), some at a time; a mapped file is read in one sweep."""
    ordered = np.sort(rows)
    for block in blocks((len(ordered), *images.shape[1:])):
        chosen = images[ordered[block]]
        yield np.ascontiguousarray(chosen).reshape(len(chosen), -1)


def _classes_of_batches(labels: Labels, batch_size: int) -> float:
    """Different classes in a batch, on average over the first ones, as they are read without shuffling."""
    starts = range(0, len(labels), batch_size)[:MOST_BATCHES]
    found = [len(np.unique(labels[start : start + batch_size])) for start in starts]
    return float(np.mean(found))


def _classes_of_random_batch(counts: Sequence[int], batch_size: int) -> float:
    """Different classes to expect in a batch of random images: each is missing with probability (1 - share)^size.

    As if drawn with replacement, which for batches that are small beside the set is all the same.
    """
    n = sum(counts)
    return sum(1 - (1 - count / n) ** min(batch_size, n) for count in counts)
