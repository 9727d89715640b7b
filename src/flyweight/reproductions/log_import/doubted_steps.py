"""Steps of a log that show nothing: accuracies that cannot be distinguished from those of the row before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from flyweight.reproductions.document import Claim
from flyweight.reproductions.log_import.doubted_accuracies import exact
from flyweight.reproductions.log_import.proportions import p_of_difference, shown_difference
from flyweight.reproductions.log_import.table import Mean, Row
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.evidence.effect import Effect

LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """An accuracy as whole images."""

    row: Row
    correct: int
    images: int


@dataclass(frozen=True, kw_only=True)
class _Seeds:
    """An accuracy as a mean over seeds, of which there are at least two."""

    row: Row
    mean: Mean
    n: int
    images: int


_Result: TypeAlias = _Shares | _Seeds


def undistinguished(rows: Sequence[Row], images: int) -> Iterator[tuple[Row, str]]:
    """Rows that cannot be distinguished from the row before that has an accuracy, by Holm's p over all steps."""
    from flyweight.evidence.sequential import holm

    steps = list(pairwise(_results(rows, images)))
    p_values = [_p(a, b) for a, b in steps]
    n_tested = sum(p is not None for p in p_values)
    for (a, b), p in zip(steps, holm(p_values), strict=True):
        if p is None or p <= LEVEL:
            continue
        if isinstance(a, _Shares) and isinstance(b, _Shares):
            yield b.row, _no_difference(a, b, p, n_tested)
        if isinstance(a, _Seeds) and isinstance(b, _Seeds):
            yield b.row, _no_difference_of_means(a, b, p, n_tested)


def _results(rows: Sequence[Row], images: int) -> list[_Result | None]:
    """The accuracies in order, rows without one left out; None for one that nothing can be compared with."""
    return [_result(row, row.accuracy, images) for row in rows if row.accuracy is not None]


def _result(row: Row, accuracy: Claim, images: int) -> _Result | None:
    count = accuracy.images or images
    if row.mean is not None:
        n = row.mean.n_seeds
        return None if n is None else _Seeds(row=row, mean=row.mean, n=n, images=count)
    if accuracy.sense != "exactly":
        return None
    correct = round(exact(accuracy)[0] * count) if accuracy.correct is None else accuracy.correct
    return _Shares(row=row, correct=correct, images=count)


def _p(a: _Result | None, b: _Result | None) -> float | None:
    """The p of a step; None where the two cannot be compared, as a single run with a mean."""
    if isinstance(a, _Shares) and isinstance(b, _Shares):
        return p_of_difference(a.correct, a.images, b.correct, b.images)
    if isinstance(a, _Seeds) and isinstance(b, _Seeds):
        return _effect(a, b).p
    return None


def _effect(a: _Seeds, b: _Seeds) -> Effect:
    """Welch's test asks for nothing but the mean, the spread and the number of the seeds; so any such values do."""
    from flyweight.evidence.effect import difference

    return difference(_values(a), _values(b), resolution=1 / max(a.images, b.images, 2))


def _values(seeds: _Seeds) -> list[float]:
    """So many values with this mean and this standard deviation (n - 1): half above, half below, an odd one between."""
    pairs, odd = divmod(seeds.n, 2)
    reach = seeds.mean.sd * math.sqrt((seeds.n - 1) / (2 * pairs))
    center = seeds.mean.value
    return [center - reach] * pairs + [center] * odd + [center + reach] * pairs


def _no_difference(a: _Shares, b: _Shares, p: float, n_tested: int) -> str:
    before, after = Fraction(a.correct, a.images), Fraction(b.correct, b.images)
    shown = shown_difference(float(before), a.images, b.images, is_rise=after >= before, alpha=LEVEL / n_tested)
    many = counted(a.images, "image") if a.images == b.images else f"{a.images:,} and {counted(b.images, 'image')}"
    assert a.row.accuracy is not None
    assert b.row.accuracy is not None
    reported = f"{a.row.accuracy.reported} to {b.row.accuracy.reported}"
    return _not_distinguished(float(after - before), a.row, reported, p, n_tested, f"{many} can show {_outlook(shown)}")


def _no_difference_of_means(a: _Seeds, b: _Seeds, p: float, n_tested: int) -> str:
    from flyweight.evidence.power import smallest_effect

    effect, change = _effect(a, b), round(b.mean.value - a.mean.value, 10)
    assert effect.sd is not None
    shown = smallest_effect(effect.sd, min(a.n, b.n), alpha=LEVEL / n_tested)
    is_possible = shown is not None and shown <= (1 - a.mean.value if change >= 0 else a.mean.value)
    many = f"{a.n} seeds each" if a.n == b.n else f"{a.n} and {b.n} seeds"
    reported = f"{a.mean.reported} to {b.mean.reported}, {many}"
    outlook = f"{min(a.n, b.n)} seeds a side can show {_outlook(shown if is_possible else None)}"
    return _not_distinguished(change, a.row, reported, p, n_tested, outlook)


def _outlook(shown: float | None) -> str:
    return "no step at all in this direction" if shown is None else f"{100 * shown:.2f} points"


def _not_distinguished(change: float, before: Row, reported: str, p: float, n_tested: int, outlook: str) -> str:
    from flyweight.evidence.verdict import p_value, points

    adjusted = f" adjusted for {n_tested} steps" if n_tested > 1 else ""
    # It begins with a word: what begins with a sign is a formula to a spreadsheet.
    return (
        f"a change of {points(change)} from row {before.number} ({reported}) cannot be distinguished from none: "
        f"{p_value(p)}{adjusted}; {outlook}"
    )
