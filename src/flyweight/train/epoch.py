"""All that the steps of one epoch need besides the weights, known before the first of them, as tensors.

A function of the seed and the epoch alone, so that a step can be captured, stacked with those of other seeds, or
resumed without asking a host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flyweight.data.batches import Batches, EpochDraws, Stream, seeds


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """draws: order and augmentation. lrs: (n_steps,) float64. dropout_seeds: (n_steps,) int64, on the CPU both."""

    draws: EpochDraws
    lrs: Tensor
    dropout_seeds: Tensor

    @property
    def n_steps(self) -> int:
        return len(self.lrs)


def plan_epoch(batches: Batches, epoch: int, *, epochs: int, lr: Callable[[float], float]) -> EpochPlan:
    """Epoch 1 .. `epochs`. lr: learning rate by progress, 0 before the first step of all and 1 after the last."""
    n_steps = batches.n_steps
    done = range((epoch - 1) * n_steps, epoch * n_steps)
    return EpochPlan(
        draws=batches.draws(epoch),
        lrs=torch.tensor([lr(step / (epochs * n_steps)) for step in done], dtype=torch.float64),
        dropout_seeds=torch.tensor(seeds(batches.seed, Stream.DROPOUT, epoch, count=n_steps)),
    )
