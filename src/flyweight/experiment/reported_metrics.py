"""Metrics measured as an experiment measured them, faults of its protocol included; nothing else depends on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flyweight.data.augment import Augmentation, augment
from flyweight.data.batches import normalise
from flyweight.train.loss import cross_entropy


@dataclass(frozen=True, kw_only=True)
class ReportedMetrics:
    """Correct predictions, and a loss with its standard error."""

    loss: float
    loss_error: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.count


@torch.inference_mode()
def evaluate_as_reported(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    augmentation: Augmentation,
    generator: torch.Generator,
    is_divided_twice: bool,
) -> ReportedMetrics:
    """The clean evaluation with faults put back: augmented images, or a sum of batch means over the number of images.

    That sum divides twice: with batches of 32 it is about a 32nd of the mean loss per image.
    """
    was_training = model.training
    model.eval()
    losses, correct = [], 0
    for start in range(0, len(images), batch_size):
        batch, expected = images[start : start + batch_size], labels[start : start + batch_size]
        if augmentation.is_idle:
            inputs = normalise(batch, mean=mean, std=std)
        else:
            inputs = normalise(augment(batch.float(), generator, augmentation), mean=mean, std=std)
        logits = model(inputs).float()
        losses.append(cross_entropy(logits, expected, reduction="none").double())
        correct += int((logits.argmax(1) == expected).sum())
    model.train(was_training)
    loss, error = mean_loss(torch.cat(losses))
    # Batch means weigh a last, smaller batch as much as a whole one, as the sum of an experiment's own loop did.
    divisor = len(images) / len(losses) if is_divided_twice else 1.0
    if is_divided_twice:
        loss = sum(float(batch.mean()) for batch in losses) / len(losses)
    return ReportedMetrics(loss=loss / divisor, loss_error=error / divisor, correct=correct, count=len(images))


def mean_loss(losses: Tensor) -> tuple[float, float]:
    """The mean of the losses (N,) of single images, and its standard error; one image alone has none, nan."""
    error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else math.nan
    return float(losses.mean()), error
