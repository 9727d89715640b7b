"""Learning rates as pure functions of progress, and the optimizers by name.

`SCHEDULES[name](progress, ...)` gives the factor on the base learning rate for progress 0..1; anyone can call
it with a pencil. Tests hold them against torch's own schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal

import torch
from torch import nn

ScheduleName = Literal["constant", "step", "cosine", "one-cycle", "triangular"]
OptimizerName = Literal["sgd", "adam", "adamw"]

# OneCycleLR starts at max_lr / 25 (Smith 2018, and torch's default).
ONE_CYCLE_START: Final = 1 / 25


def constant(_progress: float, *, warmup: float, final: float, drops: float, gamma: float) -> float:
    """1, always."""
    del warmup, final, drops, gamma
    return 1.0


def step(progress: float, *, warmup: float, final: float, drops: float, gamma: float) -> float:
    """times `gamma` at each of `drops` equal intervals (torch's StepLR)."""
    del warmup, final
    return gamma ** math.floor(progress * drops + 1e-9)


def cosine(progress: float, *, warmup: float, final: float, drops: float, gamma: float) -> float:
    """Linear from 0 to 1 over `warmup`, then half a cosine down to `final` (Loshchilov and Hutter 2017)."""
    del drops, gamma
    if progress < warmup:
        return progress / warmup
    return _cosine_between(1.0, final, _share(progress, warmup))


def one_cycle(progress: float, *, warmup: float, final: float, drops: float, gamma: float) -> float:
    """Half a cosine up from 1/25 over `warmup`, half a cosine down to `final` (Smith 2018; torch's OneCycleLR)."""
    del drops, gamma
    if progress < warmup:
        return _cosine_between(ONE_CYCLE_START, 1.0, progress / warmup)
    return _cosine_between(1.0, final, _share(progress, warmup))


def triangular(progress: float, *, warmup: float, final: float, drops: float, gamma: float) -> float:
    """Straight up from 0 over `warmup`, straight down to `final` (Smith 2017)."""
    del drops, gamma
    if progress < warmup:
        return progress / warmup
    return 1.0 + (final - 1.0) * _share(progress, warmup)


def _share(progress: float, warmup: float) -> float:
    return (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0


def _cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: Final[dict[str, Callable[..., float]]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "triangular": triangular,
}


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
