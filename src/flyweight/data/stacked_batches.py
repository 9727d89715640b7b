"""The batches of several seeds at once, for a captured step: one image set, one order and augmentation for each seed.

What the steps of an epoch need is copied to the device before the first one; after that a batch is a function of a step
number on the device, and no value comes from the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flyweight.data.augment import Changes, add_field, changed, combined, draw_rest, draws_field_on_cpu
from flyweight.data.batches import Batch, Batches, EpochDraws, combined_draws
from flyweight.kernels import stacked


class StackedBatches:
    """S `Batches` that differ in seed and rows, over the same images.

    dtype: of the images of a batch, if the kernels make them; torch makes float32.
    """

    def __init__(self, batches: Sequence[Batches], *, dtype: torch.dtype = torch.float32) -> None:
        first = batches[0]
        self.batches, self.settings, self.batch_size = batches, first.augmentation, first.batch_size
        self.dtype = dtype
        self.images, self.labels = first.images, first.labels
        normalisers = zip(*(one.normaliser for one in batches), strict=True)
        self.scale, self.offset = (torch.stack(numbers) for numbers in normalisers)  # (S, 1, C, 1, 1)
        self.n_steps = first.n_steps
        n_images = min(len(first.rows), self.n_steps * self.batch_size)
        self.last_size = n_images - (self.n_steps - 1) * self.batch_size
        self._draws: EpochDraws | None = None
        self._next: tuple[int, EpochDraws] | None = None
        # Copies on a stream of their own do not wait for the steps of the epoch before.
        self._stream = torch.cuda.Stream() if self.images.is_cuda else None  # type: ignore[no-untyped-call]

    def size_of(self, step: int) -> int:
        """The number of images in the batch of a step; only the last one can be smaller."""
        return self.last_size if step == self.n_steps - 1 else self.batch_size

    def draw(self, number: int, epoch: int) -> None:
        """Draw the numbers of an epoch for one of the seeds, which `prepare` has not to draw then."""
        with torch.cuda.stream(self._stream):
            self.batches[number].draws(epoch)

    def prepare(self, epoch: int) -> None:
        """Draw the numbers of an epoch; the steps of another one may be under way on the device."""
        if self._next is None or self._next[0] != epoch:
            with torch.cuda.stream(self._stream):
                self._next = epoch, _stacked([batches.draws(epoch) for batches in self.batches])

    def load(self, epoch: int) -> None:
        """Let `batch` read the draws of an epoch."""
        self.prepare(epoch)
        assert self._next is not None
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        if self._draws is None:
            self._draws = combined_draws([self._next[1]], lambda values: values[0].clone())
        else:  # a captured step reads the memory of the first epoch
            combined_draws([self._draws, self._next[1]], lambda values: values[0].copy_(values[1]))

    def batch(self, step: Tensor, size: int) -> Batch:
        """The batch of a step: images (size, S * C, H, W), normalised; labels and rows (S, size) int64.

        step: (1,) int64 on the device. size: as of `size_of`.
        """
        assert self._draws is not None, "load an epoch first"
        places = step * self.batch_size + torch.arange(size, device=step.device)
        rows = self._draws.order.index_select(1, places)
        return Batch(images=self._images(step, places, rows), labels=self.labels[rows], rows=rows)

    def _images(self, step: Tensor, places: Tensor, rows: Tensor) -> Tensor:
        """The images of a step side by side, by the kernel if a warp is their only change."""
        flat, settings = rows.flatten(), self.settings
        changes = self._changes(step, places, torch.Size((len(flat), *self.images.shape[1:])))
        if (settings.is_idle or settings.is_one_warp) and stacked.supports(self.dtype, self.images.device):
            matrices, field = (
                None if value is None else value.view(*rows.shape, *value.shape[1:])
                for value in (changes.matrices, changes.field)
            )
            return stacked.batch(
                self.images,
                rows,
                matrices,
                field=field,
                fill=self.batches[0].fill,
                scale=self.scale.flatten(1),
                offset=self.offset.flatten(1),
                interpolation=settings.interpolation,
                dtype=self.dtype,
            )
        images = changed(self.images[flat].float(), changes, settings)
        by_seed = images.view(*rows.shape, *images.shape[1:]) * self.scale + self.offset
        return side_by_side(by_seed.flatten(0, 1), len(rows))

    def _changes(self, step: Tensor, places: Tensor, shape: torch.Size) -> Changes:
        """The changes of the images of a step, seed after seed."""
        assert self._draws is not None
        changes = combined([self._draws.changes], lambda values: values[0].index_select(1, places).flatten(0, 1))
        if not self.settings.elastic:
            return changes
        seeds = self._draws.seeds.index_select(1, step).flatten()
        if not draws_field_on_cpu(self.settings, step.device):
            return add_field(changes, shape, self.settings, seeds)
        own, n_seeds = torch.Size((len(places), *shape[1:])), len(self.batches)
        parts = [changes[len(places) * number : len(places) * (number + 1)] for number in range(n_seeds)]
        seeded = zip(parts, seeds.tolist(), strict=True)
        return combined([draw_rest(part, own, self.settings, seed=seed) for part, seed in seeded], torch.cat)


def _stacked(draws: Sequence[EpochDraws]) -> EpochDraws:
    """The draws of S seeds as one, with a dimension for the seeds in front."""
    return combined_draws(draws, lambda values: torch.stack([one.to(draws[0].order.device) for one in values]))


def side_by_side(images: Tensor, members: int) -> Tensor:
    """(S * N, C, H, W), member after member, to the channels-last (N, S * C, H, W) of a stacked net."""
    by_image = images.view(members, -1, *images.shape[1:]).transpose(0, 1).flatten(1, 2)
    return by_image.contiguous(memory_format=torch.channels_last)
