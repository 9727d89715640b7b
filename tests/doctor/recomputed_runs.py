"""The names that a source may use after a run: those of the recipe, and the files of the run as far as they are there.

A second way to every number: told.json and result.json as attributes, metrics.csv as lists by column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from recomputed import names_of_case

from flyweight.doctor.subject import EpochLine, Subject

AS_THEY_ARE = ("answers", "claims", "parent", "images", "reads", "start", "trained")


def names_of_run(subject: Subject) -> dict[str, Any]:
    """What every source may name of this case; a part that it has not is no name."""
    names = names_of_case(subject)
    names |= {name: part for name in AS_THEY_ARE if (part := getattr(subject, name)) is not None}
    if subject.told is not None:
        names["told"] = _as_attributes(subject.told)
    if subject.ending is not None:
        names["result"] = _as_attributes(vars(subject.ending))
    if subject.history is not None:
        columns = {one.name: [getattr(line, one.name) for line in subject.history] for one in fields(EpochLine)}
        names["metrics"] = SimpleNamespace(**columns)
    return names


def _as_attributes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return SimpleNamespace(**{name: _as_attributes(inner) for name, inner in value.items()})
    return [_as_attributes(inner) for inner in value] if isinstance(value, list | tuple) else value
