"""The split into training and validation images, and the statistics that depend on it.

Goes in: an `ImageSet` and a split seed. Comes out: indices with a hash, statistics of the training images, a summary.
Images are only copied by `train_part` and `validation_part`; nothing depends on how the images were stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import Images, ImageSet, Labels, blocks
from flyweight.errors import UsageError

Indices = NDArray[np.int64]

DEFAULT_VALIDATION: Final = 5000
LEAST_SPREAD: Final = 0.1
LEAST_OF_A_CLASS: Final = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Indices, int64, in random order; the first n of `train` are a random sample of it.

    train: into `train_images`. validation: into `train_images` and disjoint from `train`; or, if the set has validation
    images of its own, all of those, into `validation_images` (see `validation_part`). validated_on: the images that
    `validation` indexes; with "test" or "train" nothing is held out, so all training images train.
    """

    train: Indices
    validation: Indices
    validated_on: Literal["held out", "test", "train"] = "held out"

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over both lists of indices, in their order."""
        digest = hashlib.sha256(b"" if self.validated_on == "held out" else f"{self.validated_on};".encode())
        for indices in (self.train, self.validation):
            digest.update(f"{len(indices)};".encode())
            digest.update(np.ascontiguousarray(indices.astype("<i8")).data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A set and its split in numbers; counts are per class, in the order of `class_names`.

    values: the lowest and the highest of the training images. background: as of `ImageSet`.
    """

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    values: tuple[int, int]
    background: tuple[int, ...]
    fingerprint: str
    split_hash: str

    @property
    def sizes(self) -> dict[str, int]:
        """Images of each part: train, validation, test."""
        return {part: sum(counts) for part, counts in self.counts.items()}


def split(image_set: ImageSet, *, seed: int, validation: int | None = None) -> Split:
    """Hold out `validation` of the training images (see `held_out`); a seed always gives the same images.

    They are drawn at random. Where this leaves a class with fewer than `LEAST_OF_A_CLASS` images in a part, each class
    gives its share instead.

    A set with validation images of its own validates on all of those and trains on all training images; `validation`
    is ignored then. With 0, all training images train and none validate.

    Raises:
        UsageError: a negative seed, or too many images to hold out.
    """
    if seed < 0:
        raise UsageError(f"data.split_seed must be 0 or more, found {seed}.")
    n_images = len(image_set.train_images)
    if image_set.validation_images is not None:
        return Split(train=shuffled(n_images, seed), validation=np.arange(len(image_set.validation_images)))
    validation = held_out(n_images, validation)
    if validation == 0:
        return Split(train=shuffled(n_images, seed), validation=np.arange(0))
    # Two are left to train: batch norm needs them.
    if not 1 <= validation <= n_images - 2:
        if n_images < 3:
            raise UsageError(
                f"{image_set.name!r} must have at least 3 training images, one to validate and two to train, "
                f"found {n_images}; add some."
            )
        raise UsageError(
            f"data.validation must be 0 to {n_images - 2:,} of the {n_images:,} training images of "
            f"{image_set.name!r}, found {validation:,}; leave it out for {held_out(n_images)}."
        )
    order = shuffled(n_images, seed)
    split = Split(train=order[validation:], validation=order[:validation])
    return _stratified(image_set, order, validation) if _has_rare_class(image_set, split) else split


def _has_rare_class(image_set: ImageSet, split: Split) -> bool:
    """Whether chance leaves a class with fewer than `LEAST_OF_A_CLASS` images of a part, if each class can have one."""
    labels, n_classes = image_set.train_labels, image_set.n_classes
    parts = (split.train, split.validation)
    is_rare = min(min(class_counts(labels[rows], n_classes)) for rows in parts) < LEAST_OF_A_CLASS
    return is_rare and min(map(len, parts)) >= n_classes


def _stratified(image_set: ImageSet, order: Indices, validation: int) -> Split:
    """A split in which each class has its share of the validation images: at least one, if it has two or more."""
    labels = image_set.train_labels[order]
    counts = np.bincount(labels, minlength=image_set.n_classes)
    wanted = validation * counts / len(order)
    held = np.clip(wanted.astype(np.int64), np.minimum(1, counts - 1), counts - 1)
    while held.sum() != validation:
        step = 1 if held.sum() < validation else -1
        is_possible = held < counts - 1 if step > 0 else held > np.minimum(1, counts - 1)
        held[np.argmax(np.where(is_possible, step * (wanted - held), -np.inf))] += step
    # The first of each class in the random order.
    rank = np.empty(len(order), np.int64)
    for label, count in enumerate(counts):
        rank[labels == label] = np.arange(count)
    is_held = rank < held[labels]
    return Split(train=order[~is_held], validation=order[is_held])


def nothing_held_out(image_set: ImageSet, *, validated_on: Literal["test", "train"]) -> Split:
    """All training images train, in the order of the file; epochs are evaluated on test or training images."""
    labels = image_set.test_labels if validated_on == "test" else image_set.train_labels
    return Split(
        train=np.arange(len(image_set.train_images)), validation=np.arange(len(labels)), validated_on=validated_on
    )


def shuffled(n: int, seed: int) -> Indices:
    """0 .. n - 1 in an order that is the same for a seed with every version of numpy.

    The raw stream of PCG64 is fixed by numpy's policy (NEP 19); `Generator.permutation` may change. Sorting n random
    64-bit keys is a permutation that depends only on the raw stream.

    >>> shuffled(8, 0).tolist()
    [3, 2, 1, 6, 0, 7, 4, 5]
    """
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable").astype(np.int64)


def held_out(n_images: int, requested: int | None = None) -> int:
    """The number of training images that validate: the requested one, else 5,000, or a sixth if that is fewer.

    >>> held_out(60_000), held_out(120), held_out(60_000, 100)
    (5000, 20, 100)
    """
    return requested if requested is not None else min(DEFAULT_VALIDATION, max(1, n_images // 6))


def train_part(image_set: ImageSet, split: Split) -> tuple[Images, Labels]:
    """The images and labels to train on, copied, in the order of the split."""
    return image_set.train_images[split.train], image_set.train_labels[split.train]


def validation_part(image_set: ImageSet, split: Split) -> tuple[Images, Labels]:
    """The images and labels to validate on: copied from the training images, or the set's own, not copied."""
    images, labels = validated_on(image_set, split)
    if np.array_equal(split.validation, np.arange(len(labels))):
        return images, labels
    return images[split.validation], labels[split.validation]


def validated_on(image_set: ImageSet, split: Split) -> tuple[Images, Labels]:
    """The images and labels that the validation indices of a split refer to."""
    if split.validated_on == "test":
        return image_set.test_images, image_set.test_labels
    if split.validated_on == "train":
        return image_set.train_images, image_set.train_labels
    if image_set.validation_images is not None and image_set.validation_labels is not None:
        return image_set.validation_images, image_set.validation_labels
    return image_set.train_images, image_set.train_labels


def channel_statistics(images: Images, indices: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, standard deviation) per channel of the chosen images, for pixel values in 0..1.

    images: (N, C, H, W) uint8. Counted exactly, in integers: the order of `indices` does not change a bit.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    # From the first to the last: a mapped file is read in one sweep.
    ordered = np.sort(indices)
    for rows in blocks((len(indices), *images.shape[1:])):
        chosen = images[ordered[rows]]
        for channel in range(channels):
            counts[channel] += np.bincount(chosen[:, channel].ravel(), minlength=256)
    values = np.arange(256, dtype=np.int64)
    n = counts[0].sum()
    means = (counts * values).sum(axis=1) / n
    # E[(x - mean)^2] and not E[x^2] - mean^2, which loses digits.
    variances = (counts * (values - means[:, None]) ** 2).sum(axis=1) / n
    return tuple(float(mean) / 255 for mean in means), tuple(float(v) ** 0.5 / 255 for v in variances)


def usable_spread(std: Sequence[float]) -> tuple[float, ...]:
    """What to divide each channel by: its standard deviation, but at least a tenth of the largest; 1 if all are 0.

    Divided by its own, a channel that hardly varies would outweigh all others wherever a new image differs in it.

    >>> usable_spread([0.3, 0.0]), usable_spread([0.0])
    ((0.3, 0.03), (1.0,))
    """
    return tuple(max(one, max(std) * LEAST_SPREAD) or 1.0 for one in std)


def summary(image_set: ImageSet, split: Split) -> Summary:
    """Counts per class and part, mean and standard deviation of the training images, shape and hashes."""
    mean, std = channel_statistics(image_set.train_images, split.train)
    labels = {
        "train": image_set.train_labels[split.train],
        "validation": validated_on(image_set, split)[1][split.validation],
        "test": image_set.test_labels,
    }
    return Summary(
        name=image_set.name,
        shape=image_set.shape,
        class_names=image_set.class_names,
        counts={part: class_counts(these, image_set.n_classes) for part, these in labels.items()},
        mean=mean,
        std=std,
        values=(int(image_set.train_images.min()), int(image_set.train_images.max())),
        background=image_set.background,
        fingerprint=image_set.fingerprint,
        split_hash=split.hash,
    )


def class_counts(labels: Labels, n_classes: int) -> tuple[int, ...]:
    """How many images each class has."""
    return tuple(int(count) for count in np.bincount(labels, minlength=n_classes))
