"""The settings of a training that do not depend on its net or images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flyweight.train.device import Precision
from flyweight.train.loss import CrossEntropy, Loss


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Length, learning rate, loss and precision of a training.

    lr: learning rate by progress (0 before the first step, 1 after the last). patience: it stops after this many
    epochs without a better one.
    """

    epochs: int
    lr: Callable[[float], float]
    loss: Loss = field(default_factory=CrossEntropy)
    precision: Precision = "float32"
    patience: int | None = None
    stop_at_accuracy: float | None = None
    seconds_limit: float | None = None
