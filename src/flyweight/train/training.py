"""The state of a training: everything that changes from step to step and is saved in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flyweight.train.metrics import EpochMetrics
from flyweight.train.optim import Optimizer
from flyweight.train.step import averaged


@dataclass(kw_only=True)
class Training:
    """The state of a training; `epoch` and `step` are the next ones.

    last_batch: logits (N, classes) and labels (N,) of the previous step.
    """

    model: nn.Module
    optimizer: Optimizer
    average: AveragedModel | None = None
    epoch: int = 1
    step: int = 0
    history: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    last_batch: tuple[Tensor, Tensor] | None = None

    @property
    def result(self) -> nn.Module:
        """The net to evaluate: the averaged one if there is one."""
        return self.average.module if self.average is not None else self.model

    @property
    def best(self) -> EpochMetrics:
        return self.history[self.best_epoch - 1]


def start(model: nn.Module, optimizer: Optimizer, *, ema: float) -> Training:
    """A training before its first step; `ema` is the decay per step of the averaged weights, 0 for none."""
    return Training(model=model, optimizer=optimizer, average=averaged(model, decay=ema) if ema > 0 else None)
