"""The content of a run for trackers: records go in, names and values come out; missing values are left out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, Final

from flyweight.records.record import EpochRecord, RunRecord

# The names of the record.
FACTS: Final = ("seed", "params", "registered_params", "macs", "data_name", "data_hash", "split_hash", "epochs_planned")
IDENTITY: Final = ("name", "group_id", "study", "purpose", "recipe_hash", "parent_hash")
RESULTS: Final = (
    "train_accuracy",
    "train_loss",
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "test_loss",
    "best_epoch",
    "test_openings",
    "train_seconds",
)


def parameters(run: RunRecord) -> dict[str, Any]:
    """The sections of the recipe, the seed, the cost of the net, and the data."""
    known: dict[str, Any] = _known({**run.recipe, **{name: getattr(run, name) for name in FACTS}})
    return known


def identity(run: RunRecord) -> dict[str, str]:
    """Values that identify the run in flyweight and in the tracker; they never change."""
    return {"run_id": run.id, **_known({name: getattr(run, name) for name in IDENTITY})}


def label(run: RunRecord) -> str:
    """The name of the run in lists."""
    return f"{run.name} seed {run.seed}"


def collection(run: RunRecord) -> str:
    """The project or experiment of the run: its study, or else its recipe."""
    return run.study or run.name


def measured(epoch: EpochRecord) -> dict[str, float]:
    """The metrics of one epoch."""
    values = {name: value for name, value in asdict(epoch).items() if name not in ("run_id", "epoch")}
    return _numbers(values)


def results(run: RunRecord) -> dict[str, float]:
    """The metrics of the run at its best epoch; their names differ from those of an epoch."""
    return _numbers({f"result/{name}": getattr(run, name) for name in RESULTS})


def epoch_ends(run: RunRecord, epochs: Sequence[EpochRecord]) -> list[float]:
    """When each epoch ended, in seconds since 1970, without the pauses of a resumed run.

    Computed from the recorded seconds of the epochs, so that sending a run twice sends equal times.
    """
    lasted = accumulate(epoch.seconds or 0.0 for epoch in epochs)
    return [run.started_at.timestamp() + seconds for seconds in lasted]


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A flat mapping, with the keys of sections joined by dots; a list becomes JSON.

    >>> flattened({"train": {"lr": 0.1, "drops": [3, 6]}})
    {'train.lr': 0.1, 'train.drops': '[3, 6]'}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat


def _known(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {key: _known(value) for key, value in tree.items() if value is not None}


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
