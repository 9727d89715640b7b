"""An independent reader of evidence: from the source of a number, which is an expression, to the number.

What a source may name is in docs/doctor.md; here it is what a case alone tells. Names of a run's files are given by
who has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from math import ceil, log, sqrt
from typing import Any

from flyweight.doctor.subject import Case
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


def names_of_case(case: Case) -> dict[str, Any]:
    """What every source may name: the recipe, the cost with its rows, the sizes of the data, the steps, the rate."""

    def rows(beginning: str) -> list[Row]:
        return [one for one in case.cost.rows if one.name.startswith(beginning)]

    def row(name: str) -> Row:
        return next(one for one in case.cost.rows if one.name == name)

    steps_per_epoch = ceil(case.data.n_train / case.recipe.train.batch_size)
    return {
        "recipe": case.recipe,
        "cost": case.cost,
        "row": row,
        "rows": rows,
        "data": case.data,
        "steps_per_epoch": steps_per_epoch,
        "steps": steps_per_epoch * case.recipe.train.epochs,
        "lr": lambda progress: case.lr_curve[round(100 * progress)],
    }


def recompute(source: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression of these names and a few functions; nothing else is known to it."""
    return eval(source, {"__builtins__": {}, **FUNCTIONS, **names})
