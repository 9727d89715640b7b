"""What an effect lets one say: a verdict is a pure function of figures, so that the same records give the same words.

Effects are fractions, shown in points: 0.001 is 0.10 points of accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from flyweight.evidence.effect import Effect

Kind: TypeAlias = Literal["better", "worse", "no evidence", "confounded", "one seed", "diverged"]

KINDS: Final[tuple[str, ...]] = get_args(Kind)
LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a number of seeds a side can show, four times out of five, and what more would."""

    n: int
    shows: float
    more: int
    more_shows: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One of KINDS, and the sentence that says why."""

    kind: Kind
    sentence: str


def kind_of(effect: Effect, *, p: float | None, level: float, factors: Sequence[str]) -> Kind:
    """The kind of an effect. p: as the effect's own, or adjusted for others that were asked about with it.

    A difference that is sure and has several possible causes is credited to none of them.
    """
    if effect.p is None or p is None:
        return "one seed"
    if p > level:
        return "no evidence"
    if len(factors) > 1:
        return "confounded"
    return "better" if effect.effect > 0 else "worse"


def judge(
    effect: Effect,
    *,
    p: float | None,
    level: float = LEVEL,
    factors: Sequence[str] = (),
    outlook: Outlook | None = None,
) -> Verdict:
    """The kind of an effect with its sentence; `factors` are the things that were changed together."""
    kind = kind_of(effect, p=p, level=level, factors=factors)
    match kind:
        case "one seed":
            sentence = f"one seed: {points(effect.effect)} with {_n(effect)}; two a side are needed to know the spread"
        case "no evidence":
            sentence = f"no evidence of a difference: {_figures(effect, p, level)}{_outlook(outlook)}"
        case "confounded":
            direction, figures = "better" if effect.effect > 0 else "worse", _figures(effect, p, level)
            sentence = f"confounded: {_listed(factors)} changed together; all of it is {direction}, {figures}"
        case _:
            sentence = f"{kind}: {_figures(effect, p, level)}"
    return Verdict(kind=kind, sentence=sentence)


def points(effect: float) -> str:
    """A difference of accuracies in percentage points.

    >>> points(0.0012), points(-0.1), points(0.00004)
    ('+0.12 points', '-10.00 points', '+0.004 points')
    """
    return f"{_points(effect)} points"


def p_value(p: float) -> str:
    """A p as it is usually printed.

    >>> p_value(0.0123), p_value(0.00004)
    ('p = 0.012', 'p < 0.001')
    """
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def interval(effect: Effect, *, level: float = LEVEL) -> str:
    """The interval of an effect in points, with the confidence that belongs to a level.

    It was made with `difference(confidence=1 - level)`.
    """
    if effect.low is None or effect.high is None:
        return "no interval"
    return f"{100 * (1 - level):.3g}% interval {_points(effect.low)} to {_points(effect.high)}"


def _points(effect: float) -> str:
    in_points = 100 * effect
    return f"{in_points:+.2f}" if abs(in_points) >= 0.005 or in_points == 0 else f"{in_points:+.3f}"


def _figures(effect: Effect, p: float | None, level: float) -> str:
    shown = "" if p is None else f", {p_value(p)}"
    return f"{points(effect.effect)} ({interval(effect, level=level)}{shown}, {_n(effect)})"


def _n(effect: Effect) -> str:
    return f"{effect.n_a} and {effect.n_b} seeds"


def _outlook(outlook: Outlook | None) -> str:
    if outlook is None:
        return ""
    return (
        f"; n = {outlook.n} seeds can show {100 * outlook.shows:.2f} points, "
        f"{outlook.more} would show {100 * outlook.more_shows:.2f}"
    )


def _listed(factors: Sequence[str]) -> str:
    *others, last = factors
    return f"{', '.join(others)} and {last}"
