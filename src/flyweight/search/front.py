"""Two aims at once: the front of trials than which none is both cheaper and more accurate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from flyweight.errors import UsageError
from flyweight.model.budget import Budget, Kind
from flyweight.records.search_record import TrialFigures
from flyweight.search.widths import COUNTED

MAX_FRONT: Final = 5

One = TypeVar("One")


def cost_of(trial: TrialFigures, kind: Kind) -> int:
    """What the net of a trial needs of a kind."""
    return {
        "params": trial.params,
        "macs": trial.macs,
        "activation": trial.activation_bytes,
        "flash": trial.flash_bytes,
    }[kind]


def parse_aims(text: str, budget: Budget) -> Kind:
    """The cost of "params,accuracy".

    Raises:
        UsageError: other aims, or a cost without a limit.
    """
    aims = [one.strip() for one in text.split(",")]
    kinds = [kind for kind in COUNTED if kind in aims]
    if len(kinds) != 1 or sorted(aims) != sorted((kinds[0], "accuracy")):
        known = ", ".join(COUNTED)
        raise UsageError(f"--pareto must be accuracy and one of {known}, as params,accuracy; found {text!r}.")
    if kinds[0] not in budget.limits():
        raise UsageError(f"--pareto {text} needs a limit on {kinds[0]}: add --budget {kinds[0]}=...")
    return kinds[0]


def layers(ones: Sequence[One], cost: Callable[[One], int], gain: Callable[[One], float]) -> list[list[One]]:
    """The front, then the front of the rest, and so on; each by rising cost.

    >>> layers([(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8)], lambda one: one[0], lambda one: one[1])
    [[(1, 0.5), (3, 0.9)], [(2, 0.4), (3, 0.8)]]
    """
    left, found = sorted(ones, key=lambda one: (cost(one), -gain(one))), list[list[One]]()
    while left:
        front, rest = list[One](), list[One]()
        for one in left:
            (front if not front or gain(one) > gain(front[-1]) else rest).append(one)
        found.append(front)
        left = rest
    return found


def spread_out(front: Sequence[One], n: int = MAX_FRONT) -> list[One]:
    """At most n of a front, its ends among them.

    >>> spread_out([1, 2, 3, 4, 5, 6, 7], 3)
    [1, 4, 7]
    """
    if len(front) <= n:
        return list(front)
    return [front[round(at * (len(front) - 1) / (n - 1))] for at in range(n)]
