"""The loss of a training step: cross entropy with hard, smoothed or soft targets, averaged or summed.

A loss is a function of the logits and the batch. The batch has the rows of its images, so a loss can look up the
predictions of another net for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from flyweight.data.batches import Batch

Reduction: TypeAlias = Literal["mean", "sum"]


class Loss(Protocol):
    """From logits (N, classes) float32 and their batch to a scalar, the mean or sum over the images."""

    @property
    def reduction(self) -> Reduction: ...

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor: ...

    def per_image(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of each image (N,), for logits (N, classes); before `reduction`."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross entropy with the labels. label_smoothing: share of each target spread over all classes (Szegedy 2016)."""

    label_smoothing: float = 0.0
    reduction: Reduction = "mean"

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing, reduction=self.reduction)

    def per_image(self, logits: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing, reduction="none")


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """targets: (N,) int64 classes, or (N, classes) probabilities. Returns a scalar, or (N,) for "none"."""
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)
