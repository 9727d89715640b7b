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


class StackedBatches:
    """S `Batches` that differ in seed and rows, over the same images."""

    def __init__(self, batches: Sequence[Batches]) -> None:
        first = batches[0]
        self.batches, self.settings, self.batch_size = batches, first.augmentation, first.batch_size
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
        """The batch of a step: images (S * size, C, H, W) float32, normalised; labels and rows (S, size) int64.

        step: (1,) int64 on the device. size: as of `size_of`.
        """
        assert self._draws is not None, "load an epoch first"
        places = step * self.batch_size + torch.arange(size, device=step.device)
        rows = self._draws.order.index_select(1, places)
        flat = rows.flatten()
        images = self.images[flat].float()
        images = changed(images, self._changes(step, places, images.shape), self.settings)
        by_seed = images.view(len(self.batches), size, *images.shape[1:]) * self.scale + self.offset
        return Batch(images=by_seed.flatten(0, 1), labels=self.labels[flat].view_as(rows), rows=rows)

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
