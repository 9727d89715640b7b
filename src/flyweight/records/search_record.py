"""A search and its trials as values of the database, without SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

SearchStatus: TypeAlias = Literal["running", "stopped", "finished"]

# paused: it has ended a rung and can be promoted. halved: it cannot any more. finished: trained in full.
# slow: stopped since an epoch took longer than the budget allows.
TrialStatus: TypeAlias = Literal["running", "paused", "finished", "halved", "diverged", "failed", "slow"]
Origin: TypeAlias = Literal["known", "random", "mutation"]

SEARCH_STATUSES: tuple[SearchStatus, ...] = get_args(SearchStatus)
TRIAL_STATUSES: tuple[TrialStatus, ...] = get_args(TrialStatus)
ORIGINS: tuple[Origin, ...] = get_args(Origin)


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search. plan: what it was asked for, kept whole. seconds: spent so far. result: of its end, or None."""

    name: str
    plan: dict[str, Any]
    status: SearchStatus
    seconds: float
    result: dict[str, Any] | None
    started_at: datetime
    finished_at: datetime | None
    host: str
    pid: int
    process_started: str


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A design to be tried. parent: the number of the trial that it was changed from."""

    design: dict[str, Any]
    design_hash: str
    origin: Origin
    params: int
    macs: int
    activation_bytes: int
    flash_bytes: int
    parent: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialFigures:
    """A trial without its design, so that thousands load fast. accuracies: on validation, one for each rung it ended.

    attempt: how often it was taken up; a result of an earlier attempt is refused.
    """

    number: int
    design_hash: str
    origin: Origin
    parent: int | None
    params: int
    macs: int
    activation_bytes: int
    flash_bytes: int
    status: TrialStatus
    accuracies: tuple[float, ...]
    seconds: float
    group_id: str
    attempt: int
    message: str

    @property
    def rung(self) -> int:
        """How many rungs it has ended."""
        return len(self.accuracies)

    @property
    def accuracy(self) -> float | None:
        """The accuracy at its highest rung."""
        return self.accuracies[-1] if self.accuracies else None

    @property
    def rank(self) -> tuple[int, float]:
        """A later rung counts more than any accuracy, since a trial gets there by its accuracy."""
        return self.rung, self.accuracy or 0.0


@dataclass(frozen=True, kw_only=True)
class TrialRecord(TrialFigures):
    """A trial with its design."""

    design: dict[str, Any]
