"""Small SVG pictures of a journal: results as dots on one axis of errors, and how each step learned.

Goes in: figures of steps. Comes out: markup made of numbers and our own words alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from flyweight.evidence.journal import Row

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_POINTS: Final = 60  # of a line that is 120 pixels wide

# Validation accuracy by epoch, a line for each seed.
Learned: TypeAlias = list[list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A logarithmic axis of errors, as fractions: from 99.0 to 99.5 % right is as far as from 98 to 99."""

    min: float
    max: float

    def at(self, error: float) -> float:
        """Where an error stands: 1 at the minimum, 0 at the maximum; what is outside stands at the end."""
        place = math.log(self.max / max(error, self.min)) / math.log(self.max / self.min)
        return min(max(place, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round errors on the axis: two at least, if there are two at all, and four at most."""
        inside: list[float] = []
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
            found = [step * 10.0**power for power in range(-6, 1) for step in steps]
            inside = [error for error in found if self.min <= error <= min(self.max, 1.0)]
            if len(inside) > 1:
                break
        return inside[:: math.ceil(len(inside) / 4)] if inside else []


def scale_of(errors: Iterator[float]) -> Scale:
    """An axis that holds all errors; one of 0 stands with half the smallest of the others."""
    known = list(errors)
    found = [error for error in known if error > 0]
    if not found:
        return Scale(min=0.001, max=1.0)
    low, high = min(found) / (2 if len(found) < len(known) else 1), max(found)
    return Scale(min=low / 1.1, max=high * 1.1)


def errors_of(row: Row) -> list[float]:
    """What the axis of results must hold: an interval that reaches beyond 100 % ends there."""
    if row.result is None or row.low is None or row.high is None:
        return []
    reach = (1 - row.result.mean, 1 - max(row.low, 0.0), 1 - row.high)
    return [error for error in reach if error > 0] or [0.0]


def reached(row: Row, scale: Scale) -> Markup | str:
    """The result as a dot and its interval as a line through it, on the axis of all rows."""
    if row.result is None or row.low is None or row.high is None:
        return ""
    left, right, dot = (_x(scale, 1 - accuracy) for accuracy in (max(row.low, 0.0), row.high, row.result.mean))
    described = f"{100 * row.result.mean:.2f} %, 95 % interval {100 * row.low:.2f} to {100 * min(row.high, 1):.2f} %"
    return _svg(
        f'<use href="#ticks"/><path class="reach" d="M{left} 9H{right}"/>'
        f'<circle class="{"many" if row.n > 1 else "single"}" cx="{dot}" cy="9" r="3.4"/>',
        described,
        (160, 18),
    )


def curves(seeds: Learned, scale: Scale, longest: int) -> Markup | str:
    """Validation error by epoch, a thin line a seed; a single epoch is a dot."""
    if not seeds:
        return ""
    drawn = []
    for seed in seeds:
        places = [(_epoch_x(epoch, longest), f"{2 + 24 * scale.at(1 - accuracy):.1f}") for epoch, accuracy in seed]
        if len(places) == 1:
            drawn.append(f'<circle class="many" cx="{places[0][0]}" cy="{places[0][1]}" r="1.8"/>')
        else:
            drawn.append(f'<polyline points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    last = [seed[-1][1] for seed in seeds]
    described = f"validation error by epoch, at the end {100 * (1 - max(last)):.2f} to {100 * (1 - min(last)):.2f} %"
    return _svg("".join(drawn), described, (120, 28))


def _x(scale: Scale, error: float) -> str:
    return f"{4 + 152 * scale.at(error):.1f}"


def _epoch_x(epoch: int, longest: int) -> str:
    return f"{2 + 116 * (epoch - 1) / max(longest - 1, 1):.1f}"


def axis(scale: Scale) -> Markup:
    """The header of the results: what accuracy the thin lines mean."""
    marks = "".join(
        f'<text x="{_x(scale, error)}" y="12" text-anchor="middle">{100 * (1 - error):.5g}</text>'
        for error in scale.ticks()
    )
    return _svg(marks, "accuracy in per cent", (160, 16))


def ticks_drawn(scale: Scale) -> Markup:
    from markupsafe import Markup

    return Markup("".join(f'<path class="tick" d="M{_x(scale, error)} 0V18"/>' for error in scale.ticks()))  # noqa: S704  # numbers alone


def _svg(content: str, described: str, size: tuple[int, int]) -> Markup:
    """A small picture; what goes in is made of numbers and our own words."""
    from markupsafe import Markup

    width, height = size
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{described}">'
        f"{content}</svg>"
    )
