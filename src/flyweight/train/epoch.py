"""Everything that the steps of an epoch need besides the weights, as tensors made before its first step.

It depends only on the seed and the epoch, so a step can be captured in a graph, stacked with other seeds, or resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flyweight.data.batches import Batches, EpochDraws, Stream, seeds


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """draws: order and augmentation. lrs: (n_steps,) float64; dropout_seeds: (n_steps,) int64; both on the CPU."""

    draws: EpochDraws
    lrs: Tensor
    dropout_seeds: Tensor

    @property
    def n_steps(self) -> int:
        return len(self.lrs)


def plan_epoch(
    batches: Batches, epoch: int, *, epochs: int, lr: Callable[[float], float], lrs: Tensor | None = None
) -> EpochPlan:
    """The plan of epoch 1 to `epochs`. lr: learning rate by progress (0 before the first step, 1 after the last).

    lrs: those of another seed, which are the same.
    """
    n_steps = batches.n_steps
    done = range((epoch - 1) * n_steps, epoch * n_steps)
    if lrs is None:
        lrs = torch.tensor([lr(step / (epochs * n_steps)) for step in done], dtype=torch.float64)
    return EpochPlan(
        draws=batches.draws(epoch),
        lrs=lrs,
        dropout_seeds=torch.tensor(seeds(batches.seed, Stream.DROPOUT, epoch, count=n_steps)),
    )
