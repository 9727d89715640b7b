"""What a protocol told of the last epoch, beside the honest figures of the same epoch and the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyweight.doctor.finding import Evidence
from flyweight.doctor.subject import EpochLine, Subject


def told_part(subject: Subject) -> str:
    """By which name told.json keeps what judged the epochs: what is not validation was called test."""
    return "validation" if subject.recipe.protocol.evaluate_on == "validation" else "test"


def last_told(subject: Subject) -> tuple[Mapping[str, Any], EpochLine] | None:
    """The last row of told.json and the line of metrics.csv that belongs to it; none where one is missing."""
    if not subject.told or not subject.told["epochs"] or not subject.history:
        return None
    row, line = subject.told["epochs"][-1], subject.history[-1]
    # A run that diverged has a line for the epoch in which it did, and tells nothing of it.
    return (row, line) if row["epoch"] == line.epoch else None


def accuracy_told_and_honest(subject: Subject) -> tuple[Evidence, ...]:
    """Both accuracies of the last epoch; nothing where a run told nothing."""
    found, part = last_told(subject), told_part(subject)
    if found is None or part not in found[0]:
        return ()
    row, line = found
    told = f"told.epochs[-1].{part}"
    return (
        Evidence(
            what="accuracy that is told of the last epoch",
            value=row[part]["correct"] / row[part]["count"],
            source=f"{told}.correct / {told}.count",
        ),
        Evidence(
            what="accuracy of the same images as they are",
            value=line.validation_accuracy,
            source="metrics.validation_accuracy[-1]",
        ),
    )
