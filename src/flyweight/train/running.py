"""Loss, accuracy and seconds of the current epoch, without waiting for the device at each step."""

from __future__ import annotations

import math
import time
from typing import Final

import torch
from torch import Tensor

from flyweight.train.training import Training

# Interval of progress reports; each waits for the device.
SECONDS_BETWEEN_REPORTS: Final = 0.1


class Sums:
    """Loss and correct predictions of the current epoch, summed on the device and read only when needed."""

    def __init__(self, training: Training, device: torch.device) -> None:
        self.training = training
        self.loss = torch.tensor(training.loss_sum, dtype=torch.float64, device=device)
        self.correct = torch.tensor(training.correct, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a step: mean loss per image, logits (N, classes) and labels (N,)."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.training.count += len(labels)
        self.training.last_batch = logits, labels

    def read(self) -> None:
        self.training.loss_sum, self.training.correct = self.loss.item(), int(self.correct)


class Clock:
    """Adds the seconds of training to `training`, which keeps them when a run is resumed."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.lapped = time.perf_counter()
        self.last_report = -math.inf

    def is_due(self) -> bool:
        """True if the next report is due; a new interval starts then."""
        now = time.perf_counter()
        if now - self.last_report < SECONDS_BETWEEN_REPORTS:
            return False
        self.last_report = now
        return True

    def lap(self) -> float:
        """Add the seconds since the last lap; returns the seconds of training so far."""
        now = time.perf_counter()
        self.training.seconds += now - self.lapped
        self.training.epoch_seconds += now - self.lapped
        self.lapped = now
        return self.training.seconds
