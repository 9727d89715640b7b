"""Learning rates as pure functions of progress, without torch.

`SCHEDULES[name](progress, ...)` gives the factor on the base learning rate for progress 0..1; anyone can call
it with a pencil. Tests hold them against torch's own schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

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
