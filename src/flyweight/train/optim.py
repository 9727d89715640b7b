"""The optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

OptimizerName = Literal["sgd", "adam", "adamw"]


def optimizer_for(
    model: nn.Module,
    *,
    name: OptimizerName,
    lr: float,
    momentum: float,
    nesterov: bool,
    beta2: float,
    weight_decay: float,
    weight_decay_on: Literal["all", "weights"],
) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters of `model`; `momentum` is beta1 for Adam and AdamW."""
    groups = _groups(model.parameters(), weight_decay, weight_decay_on)
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=(momentum, beta2), fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=(momentum, beta2), weight_decay=0.0, fused=True)


def _groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, on: Literal["all", "weights"]
) -> list[dict[str, object]]:
    """Decay on everything, or not on biases and batch norm (tensors of one dimension): decay there only shifts them."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    weights = [p for p in trainable if on == "all" or p.ndim > 1]
    others = [p for p in trainable if on == "weights" and p.ndim <= 1]
    groups: list[dict[str, object]] = [{"params": weights, "weight_decay": weight_decay}]
    return [*groups, {"params": others, "weight_decay": 0.0}] if others else groups
