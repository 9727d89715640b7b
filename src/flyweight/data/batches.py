"""Training batches as pure functions of (seed, epoch, step), from one uint8 tensor that lives on the device.

Nothing is remembered between batches: a run that resumes in the middle of an epoch asks for step k and gets
the batch that the uninterrupted run would have got, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Generator, Tensor

from flyweight.data.augment import Augmentation, augment, draw_warp
from flyweight.kernels import warping


class Stream(IntEnum):
    """What a random number is for; each purpose has its own stream of one seed."""

    INITIALISATION = 0
    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3
    SPLIT = 4
    TOLD = 5


def seeds(seed: int, stream: Stream, *path: int, count: int = 1) -> list[int]:
    """`count` independent 63-bit seeds for one purpose and place (numpy's SeedSequence, stable by contract)."""
    words = np.random.SeedSequence([seed, int(stream), *path]).generate_state(count, np.uint64)
    return [int(word) >> 1 for word in words]


class Batches:
    """One data split as batches, shuffled and augmented; `normalise` is the same for training and evaluation.

    images: (N, C, H, W) uint8; labels: (N,) int64; mean, std: per channel, for pixel values in 0..1. rows: which of
    the images are the split, by default all; they are not copied, so the images may be a memory-mapped file.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        seed: int,
        rows: Tensor | None = None,
        shuffle: bool = True,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.rows = torch.arange(len(images)) if rows is None else rows
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.augmentation = augmentation or Augmentation()
        self._scale, self._offset = _normaliser(mean, std, images.device)
        self._epoch = -1
        self._order: Tensor = torch.arange(0)
        self._seeds: list[int] = []

    @property
    def n_steps(self) -> int:
        """Steps per epoch; the last batch may be smaller, but one image alone is left out (batch norm needs two)."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + (rest > 1 or whole == 0)

    def __call__(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) float32, normalised, and labels (N,), for step 0 .. n_steps - 1 of an epoch."""
        self._prepare(epoch)
        chosen = self._order[step * self.batch_size : (step + 1) * self.batch_size]
        return self._images(chosen, Generator().manual_seed(self._seeds[step])), self.labels[chosen]

    def _images(self, chosen: Tensor, generator: Generator) -> Tensor:
        """The images of a step, by the kernel where one warp is all that is done to them."""
        settings = self.augmentation
        if settings.is_one_warp and warping.can_warp(self.images):
            shape = torch.Size((len(chosen), *self.images.shape[1:]))
            return warping.warped(
                self.images,
                chosen,
                *draw_warp(shape, generator, settings),
                scale=self._scale,
                offset=self._offset,
                interpolation=settings.interpolation,
            )
        images = self.images[chosen].float()
        if not settings.is_idle:
            images = augment(images, generator, settings)
        return images.mul_(self._scale).add_(self._offset)

    def _prepare(self, epoch: int) -> None:
        """The order of one epoch, kept while the epoch lasts."""
        if epoch == self._epoch:
            return
        order = self.rows
        if self.shuffle:
            generator = Generator().manual_seed(seeds(self.seed, Stream.ORDER, epoch)[0])
            order = self.rows[torch.randperm(len(self.rows), generator=generator)]
        self._order = order.to(self.images.device)
        self._seeds = seeds(self.seed, Stream.AUGMENTATION, epoch, count=self.n_steps)
        self._epoch = epoch


def normalise(images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W) uint8 to float32 with mean 0 and standard deviation 1 per channel of the training set."""
    scale, offset = _normaliser(mean, std, images.device)
    return images.float().mul_(scale).add_(offset)


def _normaliser(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """(x / 255 - mean) / std as one multiplication and one addition."""
    spread = torch.tensor(std, dtype=torch.float32, device=device).clamp_min(1e-6).view(1, -1, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    return 1 / (255 * spread), -centre / spread
