"""An independent reader of evidence: from the source of a number, which is an expression, to the number.

What a source may name is in docs/doctor.md; here it is what a case alone tells. Names of a run's files are given by
who has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from math import ceil, log, sqrt
from typing import Any

from flyweight.doctor.subject import Subject
from flyweight.model.cost import Row

FUNCTIONS: Mapping[str, Any] = {
    "min": min,
    "max": max,
    "sum": sum,
    "len": len,
    "abs": abs,
    "round": round,
    "sorted": sorted,
    "zip": zip,
    "range": range,
    "float": float,
    "int": int,
    "ceil": ceil,
    "log": log,
    "sqrt": sqrt,
    "mean": statistics.mean,
    "median": statistics.median,
}


def names_of_case(subject: Subject) -> dict[str, Any]:
    """What every source may name: the recipe, the cost with its rows, the sizes of the data, the steps, the rate."""

    def rows(beginning: str) -> list[Row]:
        return [one for one in subject.cost.rows if one.name.startswith(beginning)]

    def row(name: str) -> Row:
        return next(one for one in subject.cost.rows if one.name == name)

    steps_per_epoch = ceil(subject.data.n_train / subject.recipe.train.batch_size)
    return {
        "recipe": subject.recipe,
        "cost": subject.cost,
        "row": row,
        "rows": rows,
        "data": subject.data,
        "steps_per_epoch": steps_per_epoch,
        "steps": steps_per_epoch * subject.recipe.train.epochs,
        "lr": lambda progress: subject.lr_curve[round(100 * progress)],
    }


def recompute(source: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression of these names and a few functions; nothing else is known to it."""
    return eval(source, {"__builtins__": {}, **FUNCTIONS, **names})
