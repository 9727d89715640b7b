"""What a search tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flyweight.records.search_record import TrialFigures, TrialRecord
from flyweight.search.plan import SearchPlan

Phase: TypeAlias = Literal["calibration", "trials", "finals", "test", "done"]


@dataclass(frozen=True, kw_only=True)
class PhaseBegan:
    """A phase has begun. plan: None until the calibration is over."""

    phase: Phase
    plan: SearchPlan | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialBegan:
    """A trial trains to its next rung."""

    trial: TrialRecord


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial has ended a rung, or its training. trial: as it is on record now. best: whether none is better."""

    trial: TrialFigures
    net: str
    is_best: bool
    seconds_left: float


SearchEvent: TypeAlias = PhaseBegan | TrialBegan | TrialEnded
