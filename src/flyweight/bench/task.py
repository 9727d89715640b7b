"""The benchmarked task: the net and training of document 003, experiment 17.

All contenders share these images, batch size, augmentation and learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.data import sources

Precision = Literal["float32", "bfloat16"]
PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "bfloat16")

# The net of the document, with its rotation (degrees), shift (fraction of the side) and batch size.
NET: Final = (
    "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 c16p1 bn r c16p1 bn r gap flat do.1 "
    "fc50 r fc10"
)
ROTATE: Final = 7.0
TRANSLATE: Final = 0.1
BATCH_SIZE: Final = 128
LR: Final = 0.05
MOMENTUM: Final = 0.9
SHAPE: Final = (1, 28, 28)
# Of the training images, in 0..1, as notebooks write them.
MEAN, STD = 0.1307, 0.3081
WHOLE_EPOCH: Final = 60_000
STEPS_PER_EPOCH: Final = -(-WHOLE_EPOCH // BATCH_SIZE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images (N, 1, 28, 28) uint8 with labels (N,) int64; mean and std are of all training images, in 0..1."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: float
    std: float


def digits(*, count: int | None = None, test_count: int | None = None) -> Images:
    """MNIST: the first `count` training images (default: all), and the first `test_count` test images."""
    found = sources.load("mnist")
    return Images(
        images=found.train_images[:count],
        labels=found.train_labels[:count],
        test_images=found.test_images[:test_count],
        test_labels=found.test_labels[:test_count],
        mean=MEAN,
        std=STD,
    )


class Contender(Protocol):
    """A training that advances by a given number of steps, across the ends of epochs."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def images(self) -> Images: ...

    def take(self, *, steps: int) -> None: ...


def take(contender: Contender, *, steps: int) -> None:
    """`contender.take` as a function that can be sent to another process."""
    contender.take(steps=steps)


def accuracy(contender: Contender) -> float:
    """The test accuracy of a contender (0 to 1), computed with `plain_probabilities`."""
    images = contender.images
    found = plain_probabilities(contender.model, images.test_images, mean=images.mean, std=images.std)
    return float((found.argmax(1) == images.test_labels).mean())


@torch.no_grad()
def plain_probabilities(
    model: nn.Module, images: np.ndarray, *, mean: float, std: float, batch_size: int = 1000
) -> np.ndarray:
    """(N, 10) float32 probabilities for (N, 1, 28, 28) uint8, in plain eager torch."""
    was_training = model.training
    model.eval()
    found = [
        model(_normalised(torch.from_numpy(images[start : start + batch_size]), mean, std)).softmax(1)
        for start in range(0, len(images), batch_size)
    ]
    model.train(was_training)
    probabilities: np.ndarray = torch.cat(found).numpy()
    return probabilities


def _normalised(images: Tensor, mean: float, std: float) -> Tensor:
    return (images.float() / 255 - mean) / std
