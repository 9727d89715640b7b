"""Optimizers and their settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """momentum: beta1 for Adam and AdamW. weight_decay_on: all tensors, or only those of 2 or more dimensions."""

    name: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.999
    weight_decay: float = 0.0
    weight_decay_on: Literal["all", "weights"] = "all"


def optimizer_for(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer of the trainable parameters of `model`."""
    groups, lr = _groups(model.parameters(), settings), settings.lr
    momentum, betas = settings.momentum, (settings.momentum, settings.beta2)
    match settings.name:
        case "sgd":
            nesterov = settings.nesterov and momentum > 0
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
        case _:
            assert_never(settings.name)


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, object]]:
    """Parameter groups with decay on all tensors, or without decay on biases and batch norm (one dimension)."""
    trainable, on = [parameter for parameter in parameters if parameter.requires_grad], settings.weight_decay_on
    weights = [p for p in trainable if on == "all" or p.ndim > 1]
    others = [p for p in trainable if on == "weights" and p.ndim <= 1]
    groups: list[dict[str, object]] = [{"params": weights, "weight_decay": settings.weight_decay}]
    return [*groups, {"params": others, "weight_decay": 0.0}] if others else groups
