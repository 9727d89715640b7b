"""What a benchmark found, one figure a row; all sections give rows of this one kind."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of one contender; `quantity` names its unit.

    median, quartile_low, quartile_high: over `rounds` values, None where there was nothing to measure. ratio: how many
    times better than the first contender of the same quantity, or which share of a limit; None where neither means
    anything. `note` says what else belongs to the figure.
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
    """The row of some measured values; none of them is a figure that could not be had, and `note` says why."""
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
    """(lower quartile, median, upper quartile); of one value, that value three times.

    >>> spread([5.0, 1.0, 3.0, 2.0, 10.0])
    (2.0, 3.0, 5.0)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def side_by_side(rows: Iterable[Row], *, more_is_better: bool = False) -> list[Row]:
    """The rows of one quantity, each with how many times better it is than the first.

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
