"""Learning-rate schedules: pure functions from progress (0 to 1) to a factor of the base learning rate.

Tests compare them with the schedulers of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never

ScheduleName: TypeAlias = Literal["constant", "step", "cosine", "one-cycle", "triangular"]

# OneCycleLR starts at max_lr / 25 (Smith 2018, and torch's default).
ONE_CYCLE_START: Final = 1 / 25


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """warmup: fraction of all steps. final: factor at the end. drops, gamma: number of drops, and their factor."""

    name: ScheduleName
    warmup: float = 0.0
    final: float = 0.0
    drops: float = 1.0
    gamma: float = 0.1


def factor(progress: float, settings: ScheduleSettings) -> float:
    """The factor of the schedule `settings.name`."""
    warmup, final = settings.warmup, settings.final
    match settings.name:
        case "constant":
            return 1.0
        case "step":
            return step(progress, drops=settings.drops, gamma=settings.gamma)
        case "cosine":
            return cosine(progress, warmup=warmup, final=final)
        case "one-cycle":
            return one_cycle(progress, warmup=warmup, final=final)
        case "triangular":
            return triangular(progress, warmup=warmup, final=final)
        case _:
            assert_never(settings.name)


def step(progress: float, *, drops: float, gamma: float) -> float:
    """Times `gamma` at the end of each of `drops` equal intervals (torch's StepLR)."""
    return gamma ** math.floor(progress * drops + 1e-9)


def cosine(progress: float, *, warmup: float, final: float) -> float:
    """Linear from 0 to 1 over `warmup`, then half a cosine down to `final` (Loshchilov and Hutter 2017)."""
    if progress < warmup:
        return progress / warmup
    return _cosine_between(1.0, final, _share(progress, warmup))


def one_cycle(progress: float, *, warmup: float, final: float) -> float:
    """Half a cosine up from 1/25 over `warmup`, half a cosine down to `final` (Smith 2018; torch's OneCycleLR)."""
    if progress < warmup:
        return _cosine_between(ONE_CYCLE_START, 1.0, progress / warmup)
    return _cosine_between(1.0, final, _share(progress, warmup))


def triangular(progress: float, *, warmup: float, final: float) -> float:
    """Linear from 0 to 1 over `warmup`, then linear down to `final` (Smith 2017)."""
    if progress < warmup:
        return progress / warmup
    return 1.0 + (final - 1.0) * _share(progress, warmup)


def _share(progress: float, warmup: float) -> float:
    return (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0


def _cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
