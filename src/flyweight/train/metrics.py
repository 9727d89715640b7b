"""The metrics of an epoch; without torch, so that records can read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of metrics.csv. Losses are means per image; accuracies are 0 to 1; None without validation images.

    Training loss and accuracy are measured during the steps: with augmentation, dropout and changing weights.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    images_per_second: float
