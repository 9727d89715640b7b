"""Training batches as pure functions of (seed, epoch, step), from one uint8 tensor that lives on the device.

All random numbers of an epoch are drawn before its first step: a run that resumes at step k of an epoch draws the same
numbers and gets the same batch as the uninterrupted run, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Generator, Tensor

from flyweight.data.augment import Augmentation, Changes, background, changed, combined, draw_epoch, draw_rest
from flyweight.kernels import warping


class Stream(IntEnum):
    """The purpose of a random number; each purpose has its own stream of one seed."""

    INITIALISATION = 0
    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3
    SPLIT = 4
    REPORTED = 5


def seeds(seed: int, stream: Stream, *path: int, count: int = 1) -> list[int]:
    """`count` independent 63-bit seeds for one purpose and path (numpy's SeedSequence, stable by contract)."""
    words = np.random.SeedSequence([seed, int(stream), *path]).generate_state(count, np.uint64)
    return [int(word) >> 1 for word in words]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """images (N, C, H, W) float32, normalised; labels (N,) int64; rows (N,) int64, which images of the set they are."""

    images: Tensor
    labels: Tensor
    rows: Tensor


@dataclass(frozen=True, kw_only=True)
class EpochDraws:
    """The random draws for the images of one epoch, made before its first step.

    order: (n,) int64 rows, step after step, without an image that is left out. changes: of the n images, as of
    `draw_epoch`. Both are on the images' device. seeds: (n_steps,) int64, of the augmentation of each step.
    """

    order: Tensor
    seeds: Tensor
    changes: Changes


def combined_draws(draws: Sequence[EpochDraws], combine: Callable[[list[Tensor]], Tensor]) -> EpochDraws:
    """One `EpochDraws` of several with the same settings: `combine` gets the tensors of each kind of draw."""
    return EpochDraws(
        order=combine([one.order for one in draws]),
        seeds=combine([one.seeds for one in draws]),
        changes=combined([one.changes for one in draws], combine),
    )


class Batches:
    """One data split as batches, shuffled and augmented; `normalise` is the same for training and evaluation.

    images: (N, C, H, W) uint8; labels: (N,) int64; mean, std: per channel, for pixel values in 0..1. rows: of the
    images in the split, by default all; they are not copied, so the images may be a memory-mapped file. normaliser:
    scale and offset of pixel values, (1, C, 1, 1) each.
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
        self.normaliser = _normaliser(mean, std, images.device)
        self.fill = background(self.augmentation, images)
        self._drawn: tuple[int, EpochDraws] | None = None

    def alike(self, *, batch_size: int, rows: Tensor | None = None, shuffle: bool | None = None) -> Batches:
        """The same images, seed, normalisation and augmentation, in other batches."""
        other = copy.copy(self)
        other.batch_size, other._drawn = batch_size, None
        other.rows = self.rows if rows is None else rows
        other.shuffle = self.shuffle if shuffle is None else shuffle
        return other

    @property
    def n_steps(self) -> int:
        """Steps per epoch; the last batch may be smaller, but one image alone is left out (batch norm needs two)."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + (rest > 1 or whole == 0)

    def __call__(self, epoch: int, step: int) -> Batch:
        """The batch of step 0 .. n_steps - 1 of an epoch."""
        return self.batch(self.draws(epoch), step)

    def batch(self, draws: EpochDraws, step: int) -> Batch:
        """The batch of a step, from the draws of its epoch."""
        part = slice(step * self.batch_size, (step + 1) * self.batch_size)
        rows = draws.order[part]
        shape = torch.Size((len(rows), *self.images.shape[1:]))
        changes = draw_rest(draws.changes[part], shape, self.augmentation, seed=int(draws.seeds[step]))
        return Batch(images=self._images(rows, changes), labels=self.labels[rows], rows=rows)

    def draws(self, epoch: int) -> EpochDraws:
        """The random draws of an epoch: a function of the seed and the epoch, cached for the last epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return self._drawn[1]

    def _draw(self, epoch: int) -> EpochDraws:
        order, device = self.rows, self.images.device
        if self.shuffle:
            generator = Generator().manual_seed(seeds(self.seed, Stream.ORDER, epoch)[0])
            order = self.rows[torch.randperm(len(self.rows), generator=generator)]
        order = order[: self.n_steps * self.batch_size]
        of_steps = seeds(self.seed, Stream.AUGMENTATION, epoch, count=self.n_steps)
        changes = draw_epoch(
            torch.Size((len(order), *self.images.shape[1:])),
            self.augmentation,
            seeds=of_steps,
            batch_size=self.batch_size,
            device=device,
        )
        return EpochDraws(order=order.to(device), seeds=torch.tensor(of_steps), changes=changes)

    def _images(self, rows: Tensor, changes: Changes) -> Tensor:
        """The images of a step, by the kernel if a warp is their only change."""
        settings, (scale, offset) = self.augmentation, self.normaliser
        if changes.matrices is not None and settings.is_one_warp and warping.can_warp(self.images):
            return warping.warped(
                self.images,
                rows,
                changes.matrices,
                changes.field,
                fill=self.fill,
                scale=scale,
                offset=offset,
                interpolation=settings.interpolation,
            )
        return changed(self.images[rows].float(), changes, settings).mul_(scale).add_(offset)


def normalise(images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W) uint8 to float32 with mean 0 and standard deviation 1 per channel of the training set."""
    scale, offset = _normaliser(mean, std, images.device)
    return images.float().mul_(scale).add_(offset)


def _normaliser(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """(x / 255 - mean) / std as one multiplication and one addition."""
    spread = torch.tensor(std, dtype=torch.float32, device=device).clamp_min(1e-6).view(1, -1, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    return 1 / (255 * spread), -centre / spread
