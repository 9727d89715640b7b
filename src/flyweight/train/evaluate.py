"""Evaluate one net, or all nets of a stack, on images without augmentation, in large batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from flyweight.data.batches import normalise
from flyweight.data.stacked_batches import side_by_side
from flyweight.model.stacked import Stack
from flyweight.train.loss import cross_entropy

# Images of all members together in one pass of a stack.
STACKED_BATCH: Final = 16_384


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """loss: mean per image. probabilities: (N, classes) float32."""

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
    """images: (N, C, H, W) uint8; labels: (N,). The model keeps its mode, training or evaluation."""
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    probabilities = []
    for start in range(0, len(images), batch_size):
        logits = model(normalise(images[start : start + batch_size], mean=mean, std=std)).float()
        loss += cross_entropy(logits, labels[start : start + batch_size], reduction="sum")
        probabilities.append(logits.softmax(1))
    model.train(was_training)
    all_probabilities = torch.cat(probabilities)
    correct = int((all_probabilities.argmax(1) == labels).sum())
    return Evaluation(
        loss=loss.item() / len(images), correct=correct, count=len(images), probabilities=all_probabilities
    )


@torch.inference_mode()
def evaluate_stack(
    stack: Stack, images: Tensor, labels: Tensor, rows: Tensor, *, scale: Tensor, offset: Tensor
) -> list[Evaluation]:
    """The evaluation of each member. images: (N, C, H, W) uint8; labels: (N,). rows: (S, M), those of each member.

    scale, offset: (S, 1, C, 1, 1), as of `StackedBatches`. The stack keeps its mode, training or evaluation. If the
    memory of the device is too small for a batch, the next ones are smaller.
    """
    was_training = stack.training
    stack.eval()
    members, count = rows.shape
    loss = torch.zeros(members, dtype=torch.float64, device=images.device)
    correct = torch.zeros(members, dtype=torch.int64, device=images.device)
    probabilities = []
    start, size = 0, max(1, STACKED_BATCH // members)
    while start < count:
        part = rows[:, start : start + size]
        try:
            inputs = images[part].float() * scale + offset
            logits = stack(side_by_side(inputs.flatten(0, 1), members)).float().transpose(0, 1)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        start += size
        expected = labels[part]
        losses = cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="none").view_as(expected)
        loss += losses.sum(1, dtype=torch.float64)
        correct += (logits.argmax(2) == expected).sum(1)
        probabilities.append(logits.softmax(2))
    stack.train(was_training)
    together = torch.cat(probabilities, dim=1)
    figures = zip((loss / count).tolist(), correct.tolist(), together, strict=True)
    return [Evaluation(loss=mean, correct=n, count=count, probabilities=one) for mean, n, one in figures]
