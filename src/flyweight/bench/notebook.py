"""Training as in course notebooks: Pillow rotates and shifts one picture at a time, and a DataLoader feeds them.

Written after document 003, experiment 17: a plain net in eager float32 with the default memory layout and torch's
default number of threads. It needs no torchvision and uses nothing of the engine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from flyweight.bench.task import BATCH_SIZE, LR, MOMENTUM, ROTATE, TRANSLATE, Images, digits

Pair = tuple[Tensor, int]

# Environment variables that flyweight sets before torch loads, and a notebook does not.
SET_BY_FLYWEIGHT: Final = ("GOMP_SPINCOUNT",)


class Pictures(Dataset[Pair]):
    """One image at a time: rotate, then translate, then to a tensor, then normalise.

    images: (N, H, W) uint8. rotate in degrees, translate as a fraction of the side.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float, rotate: float, translate: float
    ) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std, self.rotate, self.translate = mean, std, rotate, translate

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pair:
        picture = Image.fromarray(self.images[index])
        picture = picture.rotate(random.uniform(-self.rotate, self.rotate))  # noqa: S311  # no secret depends on it
        reach = self.translate * picture.width
        x, y = (round(random.uniform(-reach, reach)) for _ in range(2))  # noqa: S311
        picture = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -x, 0, 1, -y))
        pixels = torch.from_numpy(np.array(picture, np.float32)).unsqueeze(0).div(255)
        return (pixels - self.mean) / self.std, int(self.labels[index])


def plain_net() -> nn.Sequential:
    """The net of `task.NET` as a notebook writes it."""
    return nn.Sequential(
        *_convolution(1, 14),
        *_convolution(14, 14),
        *_convolution(14, 14),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        *_convolution(14, 24),
        *_convolution(24, 24),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        *_convolution(24, 16),
        *_convolution(16, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16, 50),
        nn.ReLU(),
        nn.Linear(50, 10),
    )


def _convolution(channels: int, filters: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()


class Notebook:
    """The notebook as a contender; `workers` processes prepare the pictures."""

    def __init__(self, images: Images, *, workers: int) -> None:
        torch.manual_seed(0)
        random.seed(0)
        self.images = images
        self.model = plain_net()
        pictures = Pictures(
            images.images[:, 0], images.labels, mean=images.mean, std=images.std, rotate=ROTATE, translate=TRANSLATE
        )
        self._losses = self._train(loader(pictures, batch_size=BATCH_SIZE, workers=workers))

    def take(self, *, steps: int) -> None:
        """Take this many steps, across the ends of epochs."""
        for _loss in islice(self._losses, steps):
            pass

    def _train(self, batches: DataLoader[Pair]) -> Iterator[float]:
        optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        while True:
            yield from train_epoch(self.model, batches, optimizer)


def start_notebook(*, count: int | None = None, test_count: int | None = None, workers: int) -> Notebook:
    """The notebook over the first `count` digits."""
    return Notebook(digits(count=count, test_count=test_count), workers=workers)


def loader(pictures: Pictures, *, batch_size: int, workers: int) -> DataLoader[Pair]:
    """A shuffled DataLoader as in the documents."""
    return DataLoader(
        pictures, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def train_epoch(model: nn.Module, batches: DataLoader[Pair], optimizer: torch.optim.Optimizer) -> Iterator[float]:
    """Yields the loss of each step, read immediately as in the documents."""
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield loss.item()
