"""Evaluate a net on images without augmentation, in large batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flyweight.data.batches import normalise
from flyweight.train.loss import cross_entropy


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
