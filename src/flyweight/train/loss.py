"""What a training step minimises: cross entropy, hard or smoothed, averaged or summed, or with soft targets.

A loss is a function of a batch's logits and of the batch, whose rows say which images it holds: a loss against the
predictions of another net looks them up by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from flyweight.data.batches import Batch

Reduction: TypeAlias = Literal["mean", "sum"]


class Loss(Protocol):
    """logits (N, classes) float32 and the batch they answer to a scalar, the mean or the sum over its images."""

    @property
    def reduction(self) -> Reduction: ...

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross entropy with the labels. label_smoothing: share of each target spread over all classes (Szegedy 2016)."""

    label_smoothing: float = 0.0
    reduction: Reduction = "mean"

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing, reduction=self.reduction)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """targets: (N,) int64 classes, or (N, classes) shares that add up to 1. Returns a scalar, or (N,) for "none"."""
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)
