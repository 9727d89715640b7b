"""Figures and seconds of the epoch under way, kept in a `Training` without waiting for the device at each step."""

from __future__ import annotations

import math
import time
from typing import Final

import torch
from torch import Tensor

from flyweight.train.training import Training

# Whoever watches is shown the running figures this often; each look waits for the device.
SECONDS_BETWEEN_LOOKS: Final = 0.1


class Sums:
    """Loss and correct predictions of the running epoch, summed on the device and read only when somebody looks."""

    def __init__(self, training: Training, device: torch.device) -> None:
        self.training = training
        self.loss = torch.tensor(training.loss_sum, dtype=torch.float64, device=device)
        self.correct = torch.tensor(training.correct, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A step: the mean loss per image, logits (N, classes) and labels (N,)."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.training.count += len(labels)
        self.training.last_batch = logits, labels

    def read(self) -> None:
        self.training.loss_sum, self.training.correct = self.loss.item(), int(self.correct)


class Clock:
    """Seconds of training, over interruptions; `training` has them up to the last lap."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.lapped = time.perf_counter()
        self.looked = -math.inf

    def is_due(self) -> bool:
        """True when the last look is a while ago; looking is counted from then."""
        now = time.perf_counter()
        if now - self.looked < SECONDS_BETWEEN_LOOKS:
            return False
        self.looked = now
        return True

    def lap(self) -> float:
        """Add what has passed; returns the seconds of training so far."""
        now = time.perf_counter()
        self.training.seconds += now - self.lapped
        self.training.epoch_seconds += now - self.lapped
        self.lapped = now
        return self.training.seconds
