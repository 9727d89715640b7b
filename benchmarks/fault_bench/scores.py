"""How good the doctor is, counted over outcomes: recall, precision, false alarms; pure.

- recall: of the faulty runs, those in which a finding names the planted fault, at any rank; and at rank 1 (or tied).
- precision: of the alarms in all runs, faulty and healthy, those that name the planted fault or what is known to follow
  from it (`Kind.follows`). strict_precision counts only the runs' first alarms, and only the fault itself, or what it
  was made with, as right.
- false_alarms: of the healthy runs, those with any alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.fault_bench.outcomes import Named, Outcome
from benchmarks.fault_bench.planting import KINDS, Kind
from flyweight.evidence.stats import wilson

BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many, with the Wilson interval of the share."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.count) if self.count else (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The figures of one set of outcomes."""

    recall: Share
    recall_at_first: Share
    precision: Share
    strict_precision: Share
    false_alarms: Share


def scores(outcomes: Sequence[Outcome]) -> Scores:
    """All figures of these outcomes."""
    faulty = [one for one in outcomes if one.kind]
    healthy = [one for one in outcomes if not one.kind]
    alarms = [(BY_NAME.get(one.kind), found) for one in outcomes for found in one.alarms]
    firsts = [(one, found) for one in outcomes if (found := _first(one)) is not None]
    return Scores(
        recall=_share(is_named(one) for one in faulty),
        recall_at_first=_share(is_named_first(one) for one in faulty),
        precision=_share(_is_right(kind, found) for kind, found in alarms),
        strict_precision=_share(is_named_first(one) for one, _ in firsts),
        false_alarms=_share(bool(one.alarms) for one in healthy),
    )


def is_named(outcome: Outcome) -> bool:
    """Whether any finding names the planted fault; a note does where the fault costs next to nothing."""
    return any(found.code in BY_NAME[outcome.kind].codes for found in outcome.findings)


def is_named_first(outcome: Outcome) -> bool:
    """Whether a finding of the best rank names it, or what it was made with where it is a consequence."""
    kind = BY_NAME.get(outcome.kind)
    return kind is not None and any(
        found.rank == 1 and found.code in (*kind.codes, *kind.causes) for found in outcome.findings
    )


def per_kind(outcomes: Sequence[Outcome]) -> dict[str, Share]:
    """The recall of each kind, in the order of the table."""
    return {
        kind.name: _share(is_named(one) for one in outcomes if one.kind == kind.name)
        for kind in KINDS
        if any(one.kind == kind.name for one in outcomes)
    }


def of_half(outcomes: Iterable[Outcome], half: str) -> list[Outcome]:
    return [one for one in outcomes if one.half == half]


def without_mild(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Without what was planted so weakly that it may cost nothing."""
    return [one for one in outcomes if not one.kind or not BY_NAME[one.kind].is_mild]


def mild_only(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What was planted weakly, without the healthy runs."""
    return [one for one in outcomes if one.kind and BY_NAME[one.kind].is_mild]


def without_reading(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Without the kinds that a recipe declares, of which finding is reading; healthy runs stay."""
    return [one for one in outcomes if not one.kind or not BY_NAME[one.kind].is_declared]


def _first(outcome: Outcome) -> Named | None:
    return next(iter(outcome.alarms), None)


def _is_right(kind: Kind | None, found: Named) -> bool:
    return kind is not None and found.code in (*kind.codes, *kind.causes, *kind.follows)


def _share(hits: Iterable[bool]) -> Share:
    found = list(hits)
    return Share(hits=sum(found), count=len(found))
