"""Measure a net on images as they are: never augmented, in large batches, with the mean loss per image.

What an experiment told instead, where it measured otherwise, is measured by `evaluate_otherwise`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.data.augment import Augmentation, augment
from flyweight.data.batches import normalise


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss is the mean per image; probabilities are (N, classes) float32."""

    loss: float
    correct: int
    count: int
    probabilities: Tensor

    @property
    def accuracy(self) -> float:
        return self.correct / self.count


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 1000,
) -> Evaluation:
    """`images` (N, C, H, W) uint8 and `labels` (N,), read in order; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    answers = []
    for start in range(0, len(images), batch_size):
        logits = model(normalise(images[start : start + batch_size], mean=mean, std=std)).float()
        loss += F.cross_entropy(logits, labels[start : start + batch_size], reduction="sum")
        answers.append(logits.softmax(1))
    model.train(was_training)
    probabilities = torch.cat(answers)
    correct = int((probabilities.argmax(1) == labels).sum())
    return Evaluation(loss=loss.item() / len(images), correct=correct, count=len(images), probabilities=probabilities)


@dataclass(frozen=True, kw_only=True)
class Told:
    """Right answers, and a loss with its standard error; how the loss was made is the business of who asked."""

    loss: float
    loss_error: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.count


@torch.inference_mode()
def evaluate_otherwise(
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
) -> Told:
    """`evaluate` through an augmentation, or with a loss that is a sum of batch means over the number of images.

    That sum divides twice: with batches of 32 it is about a 32nd of the mean loss per image.
    """
    was_training = model.training
    model.eval()
    losses, correct = [], 0
    for start in range(0, len(images), batch_size):
        batch, answers = images[start : start + batch_size], labels[start : start + batch_size]
        if augmentation.is_idle:
            shown = normalise(batch, mean=mean, std=std)
        else:
            shown = normalise(augment(batch.float(), generator, augmentation), mean=mean, std=std)
        logits = model(shown).float()
        losses.append(F.cross_entropy(logits, answers, reduction="none").double())
        correct += int((logits.argmax(1) == answers).sum())
    model.train(was_training)
    loss, error = mean_loss(torch.cat(losses))
    # Batch means weigh a last, smaller batch as much as a whole one, as the sum of an experiment's own loop did.
    divisor = len(images) / len(losses) if is_divided_twice else 1.0
    if is_divided_twice:
        loss = sum(float(batch.mean()) for batch in losses) / len(losses)
    return Told(loss=loss / divisor, loss_error=error / divisor, correct=correct, count=len(images))


def mean_loss(losses: Tensor) -> tuple[float, float]:
    """The mean of the losses (N,) of single images, and its standard error; one image alone has none, nan."""
    error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else math.nan
    return float(losses.mean()), error
