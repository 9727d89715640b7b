"""What is measured once an epoch; without torch, so that records and watchers can read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of metrics.csv. Losses are means per image; accuracies are fractions.

    The training figures are those of the batches as they were trained on (augmented, with dropout, weights moving).
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    lr: float
    seconds: float
    images_per_second: float
