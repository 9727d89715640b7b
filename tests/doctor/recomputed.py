"""An independent reader of evidence: from the formula of a number to the number.

What a formula may name is in docs/doctor.md. Here are its functions, what it may ask of a net, and the names of a
subject that was made by hand; those of a run's files are in `files_of_runs.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from flyweight.doctor.subject import EpochLine, Subject
from flyweight.model.cost import Cost, Row

AS_THEY_ARE = ("claims", "parent", "images", "reads", "start", "trained")
# How layers are named, by kind, where that is not the kind itself.
BEGINNINGS = {"depthwise_conv": "depthwise", "batch_norm": "bn"}


class Listed(list[Any]):
    """A list whose attributes are the lists of the attributes of what is in it."""

    def __getattr__(self, name: str) -> Listed:
        return Listed(getattr(one, name) for one in self)


def as_attributes(value: Any) -> Any:
    """Tables of JSON or TOML as things with attributes, lists with those of what is in them."""
    if isinstance(value, Mapping):
        return SimpleNamespace(**{name: as_attributes(inner) for name, inner in value.items()})
    return Listed(map(as_attributes, value)) if isinstance(value, list | tuple) else value


def count_below(values: Sequence[float], limit: float) -> int:
    return int((np.array(values, float) < limit).sum())


def count_numbers(values: Sequence[float | None]) -> int:
    return len(values) - list(values).count(None)


def lowest(values: Sequence[float | None]) -> float:
    return float(np.nanmin(np.array(values, float)))


def best_accuracy(figures: Sequence[Any]) -> float:
    return float((np.array([one.correct for one in figures]) / [one.count for one in figures]).max())


def wilson(correct: int, count: int) -> Sequence[float]:
    """scipy's 95 % interval."""
    return tuple(binomtest(int(correct), int(count)).proportion_ci(confidence_level=0.95, method="wilson"))


FUNCTIONS: Mapping[str, Any] = {
    "abs": abs,
    "best_accuracy": best_accuracy,
    "count_below": count_below,
    "count_numbers": count_numbers,
    "equal": lambda one, other: one == other,
    "index_of": lambda value, values: list(values).index(value),
    "len": len,
    "log": math.log,
    "lowest": lowest,
    "max": max,
    "mean": statistics.mean,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
    "sum": sum,
    "total": lambda table: sum(table[key] for key in table),
    "wilson": wilson,
}


def names_of_net(cost: Cost) -> dict[str, Any]:
    """What a formula may ask of a net, from the names and the texts of its layers."""
    image = cost.input_shape[1:]
    rows = [one for one in cost.rows if one.is_executed]

    def is_kind(one: Row, kind: str) -> bool:
        if "." in one.name or not one.name[-1].isdigit():  # a layer of somebody's own module
            return one.kind == kind
        return one.name.rstrip("0123456789") == BEGINNINGS.get(kind, kind)

    def is_spatial(one: Row, most: float) -> bool:
        # A kernel of one pixel is written "/1" with no digit behind it; it does not look around.
        is_point = "/1" in one.layer and not any(f"/1{digit}" in one.layer for digit in range(10))
        is_convolution = one.name.startswith(("conv", "depthwise"))
        return is_convolution and not is_point and min(one.in_shape[1:]) <= most

    def is_of_size(one: Row, share: float) -> bool:
        sides = one.out_shape[1:]
        return bool(one.macs) and len(sides) == 2 and all(a >= share * b for a, b in zip(sides, image, strict=True))

    return {
        "cost": cost,
        # A layer that is called again has its row again, with the same name and layer: the first is meant.
        "row": lambda name: next(one for one in cost.rows if one.name == name),
        "layers": lambda *kinds: [one for one in rows if any(is_kind(one, kind) for kind in kinds)],
        "layers_never_called": [one for one in cost.rows if not one.is_executed],
        "layers_of_size": lambda share: Listed(one for one in rows if is_of_size(one, share)),
        "spatial_layers": lambda most=math.inf: [one for one in rows if is_spatial(one, most)],
        "dropout": lambda one: float(one.layer.lstrip("sdo")),
    }


def names_of_subject(subject: Subject) -> dict[str, Any]:
    """What every formula may name of this subject; a part that it has not is no name."""
    steps_per_epoch = math.ceil(subject.data.n_train / subject.recipe.train.batch_size)
    names = names_of_net(subject.cost) | {
        "recipe": subject.recipe,
        "data": subject.data,
        "steps_per_epoch": steps_per_epoch,
        "steps": steps_per_epoch * subject.recipe.train.epochs,
        "lr_curve": subject.lr_curve,
    }
    names |= {name: part for name in AS_THEY_ARE if (part := getattr(subject, name)) is not None}
    if subject.claims is not None:
        names["claims"] = list(subject.claims)
    if subject.predictions is not None:
        names["predictions"] = subject.predictions
    if subject.reported is not None:
        names["reported"] = as_attributes(subject.reported)
    if subject.ending is not None:
        names["result"] = as_attributes(vars(subject.ending))
    if subject.history is not None:
        columns = {one.name: [getattr(line, one.name) for line in subject.history] for one in fields(EpochLine)}
        names["metrics"] = SimpleNamespace(**columns)
    return names


def recompute(formula: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression of these names and functions; nothing else is known to it."""
    return eval(formula, {"__builtins__": {}, **FUNCTIONS, **names})
