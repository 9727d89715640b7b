"""A value of evidence and the formula that gives it, as one thing.

Goes in: a subject. Comes out: quantities, which are its named values and what operators and functions make of them. A
quantity is computed once and carries its formula, in names that docs/doctor.md explains from the files of a run.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Final

from flyweight.doctor.finding import Evidence
from flyweight.doctor.subject import Subject
from flyweight.evidence.stats import wilson
from flyweight.model.cost import Row
from flyweight.model.spec import RowKind

# The names that formulas begin with.
NAMES: Final[Mapping[str, Callable[[Subject], Any]]] = {
    "recipe": lambda subject: subject.recipe,
    "data": lambda subject: subject.data,
    "cost": lambda subject: subject.cost,
    "layers_never_called": lambda subject: tuple(row for row in subject.cost.rows if not row.is_executed),
    "steps": lambda subject: subject.steps,
    "steps_per_epoch": lambda subject: subject.steps_per_epoch,
    "lr_curve": lambda subject: subject.lr_curve,
    "metrics": lambda subject: subject.history,
    "result": lambda subject: subject.ending,
    "reported": lambda subject: subject.reported,
    "predictions": lambda subject: subject.predictions,
    "claims": lambda subject: subject.claims,
    "parent": lambda subject: subject.parent,
    "images": lambda subject: subject.images,
    "reads": lambda subject: subject.reads,
    "start": lambda subject: subject.start,
    "trained": lambda subject: subject.trained,
}

# How tightly a formula holds together, for parentheses.
_SUM, _PRODUCT, _POWER, _ATOM = range(4)


@dataclass(frozen=True)
class Quantity:
    """A value and its formula. An attribute or item of it, and what is computed with it, is a quantity, too.

    The attribute of a list is the list of that attribute, as in `metrics.train_loss`.

    >>> correct, count = Quantity(45, "result.test.correct"), Quantity(60, "result.test.count")
    >>> share = 1 - correct / count
    >>> share.value, share.formula
    (0.25, '1 - result.test.correct / result.test.count')
    """

    value: Any
    formula: str
    binding: int = _ATOM

    def __getattr__(self, name: str) -> Quantity:
        if name.startswith("__"):
            raise AttributeError(name)
        is_list = isinstance(self.value, Sequence)
        found = tuple(_attribute(one, name) for one in self.value) if is_list else _attribute(self.value, name)
        return Quantity(found, f"{self.formula}.{name}")

    def __getitem__(self, key: int | str | slice) -> Quantity:
        words = f"{key.start or ''}:{key.stop or ''}" if isinstance(key, slice) else _literal(key)
        return Quantity(self.value[key], f"{self.formula}[{words}]")

    def __add__(self, other: Quantity | float | str) -> Quantity:
        return _combined(operator.add, "+", _SUM, self, other)

    def __sub__(self, other: Quantity | float) -> Quantity:
        return _combined(operator.sub, "-", _SUM, self, other)

    def __rsub__(self, other: float) -> Quantity:
        return _combined(operator.sub, "-", _SUM, other, self)

    def __mul__(self, other: Quantity | float) -> Quantity:
        return _combined(operator.mul, "*", _PRODUCT, self, other)

    def __rmul__(self, other: float) -> Quantity:
        return _combined(operator.mul, "*", _PRODUCT, other, self)

    def __truediv__(self, other: Quantity | float) -> Quantity:
        return _combined(operator.truediv, "/", _PRODUCT, self, other)

    def __rtruediv__(self, other: float) -> Quantity:
        return _combined(operator.truediv, "/", _PRODUCT, other, self)

    def __pow__(self, other: float) -> Quantity:
        return _combined(operator.pow, "**", _POWER, self, other)


def fact(what: str, quantity: Quantity) -> Evidence:
    """The evidence of a finding that a quantity is, in words."""
    return Evidence(what=what, value=quantity.value, source=quantity.formula)


class Known:
    """What is known of a subject, by the names of `NAMES`: `known.recipe.train.lr`, `known.result.test.correct`."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __getattr__(self, name: str) -> Quantity:
        if name not in NAMES:
            raise AttributeError(name)
        return Quantity(NAMES[name](self._subject), name)

    def row(self, row: Row) -> Quantity:
        """A layer by its name; by its number where layers that are run again have one name."""
        rows = self._subject.cost.rows
        number = next(number for number, one in enumerate(rows) if one is row)
        is_first = not any(one.name == row.name for one in rows[:number])
        return Quantity(row, f"row({_literal(row.name)})" if is_first else f"cost.rows[{number}]")

    def layers(self, *kinds: RowKind) -> Quantity:
        """The layers of these kinds that run."""
        rows = tuple(row for row in self._subject.cost.rows if row.is_executed and row.kind in kinds)
        return Quantity(rows, f"layers({', '.join(map(_literal, kinds))})")


def call(function: Callable[..., Any], *arguments: Quantity | float | str) -> Quantity:
    """What one of `FUNCTIONS` makes of quantities."""
    values = (one.value if isinstance(one, Quantity) else one for one in arguments)
    return Quantity(function(*values), f"{function.__name__}({', '.join(map(_words, arguments))})")


# Functions of formulas beside those of Python and its math.


def mean(values: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(values) / len(values)


def count_numbers(values: Sequence[float | None]) -> int:
    """How many of the values are numbers."""
    return sum(value is not None for value in values)


def lowest(values: Sequence[float | None]) -> float:
    """The smallest of the values that are numbers."""
    return min(value for value in values if value is not None)


def count_below(values: Sequence[float], limit: float) -> int:
    """How many of the values are smaller than a limit."""
    return sum(value < limit for value in values)


def index_of(value: Any, values: Sequence[Any]) -> int:
    """The place of the first of the values that is equal to this one, from 0."""
    return values.index(value)


def best_accuracy(epochs: Sequence[Mapping[str, float]]) -> float:
    """The largest `correct / count` of a list of figures."""
    return max(one["correct"] / one["count"] for one in epochs)


def total(values: Mapping[str, float]) -> float:
    """The sum of the values of a table."""
    return sum(values.values())


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same."""
    return bool(one == other)


FUNCTIONS: Final[tuple[Callable[..., Any], ...]] = (
    abs,
    best_accuracy,
    count_below,
    count_numbers,
    equal,
    index_of,
    len,
    log,
    lowest,
    max,
    mean,
    min,
    round,
    sqrt,
    sum,
    total,
    wilson,
)


def _attribute(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)


def _combined(function: Callable[[Any, Any], Any], sign: str, binding: int, left: Any, right: Any) -> Quantity:
    values = (one.value if isinstance(one, Quantity) else one for one in (left, right))
    # Python goes from left to right through signs that bind alike, but for powers.
    words = (_bound(left, binding + (binding == _POWER)), _bound(right, binding + 1))
    return Quantity(function(*values), f" {sign} ".join(words), binding)


def _bound(one: Any, least: int) -> str:
    return f"({one.formula})" if isinstance(one, Quantity) and one.binding < least else _words(one)


def _words(one: Quantity | float | str) -> str:
    return one.formula if isinstance(one, Quantity) else _literal(one)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
