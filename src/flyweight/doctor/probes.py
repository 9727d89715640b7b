"""What cheap probes measure of a run: plain numbers, kept as probes.json in its folder.

The probes themselves, which need images and a net, are in `experiment/probes.py`; here they are only values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A loss that was not a number, or weights that were none: JSON has no word for it.
Maybe = float | None


@dataclass(frozen=True, kw_only=True)
class ImageProbe:
    """What the images say by themselves. Two images are the same when all their pixels are (SHA-256 of the bytes).

    n: images of each part (train, validation, test). validation_in_train, test_in_train, test_in_validation: images
    of the first that the second has, too. mean, sd: over all pixels of a part, 0..1. mean_error: the standard error of
    that mean over images. classes_per_batch: different classes in a batch of the recipe's size, on average, as the
    images come in training (shuffled or not). class_counts: of the images that train. channel_sd: of each of their
    channels, 0..1. lowest, highest: of their values, 0 to 255. constant_values: of the n_values of an image, those that
    are the same in all of them. The last five are missing in probes of before.
    """

    n: Mapping[str, int]
    validation_in_train: int
    test_in_train: int
    test_in_validation: int
    mean: Mapping[str, float]
    mean_error: Mapping[str, float]
    sd: Mapping[str, float]
    classes_per_batch: float
    classes_per_shuffled_batch: float
    class_counts: tuple[int, ...]
    channel_sd: tuple[float, ...] = ()
    lowest: int = 0
    highest: int = 255
    constant_values: int = 0
    n_values: int = 1


@dataclass(frozen=True, kw_only=True)
class ReadProbe:
    """The same images read twice, in two epochs: n of each kind, and how many of the two reads differ."""

    n: int
    training_differ: int
    evaluation_differ: int


@dataclass(frozen=True, kw_only=True)
class StartProbe:
    """The first steps of a new net, tried at several learning rates.

    factors: of the recipe's highest learning rate, each with a loss per step (mean per image; None from where it was
    not a number on); the rate rises over the first half of the steps. Steps read batches of `batch_size` images, which
    may be fewer than the recipe's. By layer, at the recipe's own rate (factor 1): update_ratio, the median over steps
    of |change of weights| / |weights|; gradient, the root mean square of the gradient of the weights in the first step.
    """

    steps: int
    batch_size: int
    losses: Mapping[str, tuple[Maybe, ...]]
    update_ratio: Mapping[str, Maybe]
    gradient: Mapping[str, Maybe]


@dataclass(frozen=True, kw_only=True)
class TrainedProbe:
    """The kept net on `n` clean training images, in evaluation mode (no dropout).

    By layer: channels, and how many of them are zero on every image after their activation (dead); zero_share, the
    share of activations that are 0; gradient, the root mean square of the gradient of the weights.
    """

    n: int
    channels: Mapping[str, int]
    dead_channels: Mapping[str, int]
    zero_share: Mapping[str, float]
    gradient: Mapping[str, Maybe]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Those that could be made; `failed` says of the others why not, by field."""

    images: ImageProbe | None = None
    reads: ReadProbe | None = None
    start: StartProbe | None = None
    trained: TrainedProbe | None = None
    failed: Mapping[str, str] | None = None
