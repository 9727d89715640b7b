"""The rows of a benchmark: one quantity of one contender per row, in all sections."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of one contender; `quantity` names its unit.

    median, quartile_low, quartile_high: over `rounds` values; None if nothing could be measured. ratio: how many times
    better than the first contender of the same quantity, or the share of a limit; None if neither has a meaning.
    """

    section: str
    contender: str
    quantity: str
    median: float | None
    quartile_low: float | None
    quartile_high: float | None
    rounds: int
    ratio: float | None = None
    note: str = ""


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def row(
    section: str,
    contender: str,
    quantity: str,
    values: Sequence[float],
    *,
    ratio: float | None = None,
    note: str = "",
) -> Row:
    """The row of the measured values; if there are none, `note` says why."""
    low, median, high = spread(values) if values else (None, None, None)
    return Row(
        section=section,
        contender=contender,
        quantity=quantity,
        median=median,
        quartile_low=low,
        quartile_high=high,
        rounds=len(values),
        ratio=ratio,
        note=note,
    )


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """(lower quartile, median, upper quartile); a single value stands for all three.

    >>> spread([5.0, 1.0, 3.0, 2.0, 10.0])
    (2.0, 3.0, 5.0)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def side_by_side(rows: Iterable[Row], *, more_is_better: bool = False) -> list[Row]:
    """The rows of one quantity with their ratios: how many times better each is than the first.

    >>> found = side_by_side([row("x", "a", "s", [4.0]), row("x", "b", "s", [2.0])])
    >>> [one.ratio for one in found]
    [1.0, 2.0]
    """
    compared = list(rows)
    first = compared[0].median if compared else None
    return [replace(one, ratio=_times_better(one.median, first, more_is_better)) for one in compared]


def _times_better(value: float | None, first: float | None, more_is_better: bool) -> float | None:
    if not value or not first:
        return None
    return value / first if more_is_better else first / value
