"""Metrics measured by the protocol of an experiment, with its faults; nothing else depends on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flyweight.data.augment import Augmentation, augment
from flyweight.data.batches import normalise
from flyweight.records.results import ReportedFigures
from flyweight.train.loss import cross_entropy


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
) -> ReportedFigures:
    """The clean evaluation plus the faults of a protocol: augmented images, or the loss divided twice.

    Divided twice: the sum of batch means over the number of images, with batches of 32 about 1/32 of the mean loss.
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
    # The mean of batch means gives a smaller last batch full weight, as the loop of the experiment did.
    divisor = len(images) / len(losses) if is_divided_twice else 1.0
    if is_divided_twice:
        loss = sum(float(batch.mean()) for batch in losses) / len(losses)
    return ReportedFigures(loss=loss / divisor, loss_error=error / divisor, correct=correct, count=len(images))


def mean_loss(losses: Tensor) -> tuple[float, float]:
    """The mean of the losses (N,) of single images, and its standard error, which is nan for one image."""
    error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else math.nan
    return float(losses.mean()), error
