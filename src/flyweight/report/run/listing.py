"""The list of runs: a row a run, in full for programs and short for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord

NOT_OPENED: Final = "not opened"


def run_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row per run for programs: full ids, accuracies as fractions."""
    return [
        {
            "id": record.id,
            "name": record.name,
            "seed": record.seed,
            "status": record.status,
            "params": record.params,
            "epochs_done": record.epochs_done,
            "started_at": record.started_at.isoformat(timespec="seconds"),
            "group_id": record.group_id,
            "study": record.study,
            "purpose": record.purpose,
            "evaluate_on": _evaluate_on(record),
            "recipe_hash": record.recipe_hash,
            "data_name": record.data_name,
            "train_count": record.train_count,
            **{name: record.fingerprint.get(name) for name in ("precision", "kernels")},
            "validation_accuracy": record.validation_accuracy,
            "test_accuracy": record.test_accuracy,
            "train_seconds": record.train_seconds,
        }
        for record in records
    ]


def short_run_rows(records: Sequence[RunRecord], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row per run for people: the beginning of the id, accuracies in percent, and the title (of `variant.titles`).

    Where a protocol held nothing out there is no validation accuracy.
    """
    return [
        {
            "run": record.id[:SHORT_ID],
            "started": record.started_at.astimezone().strftime("%m-%d %H:%M"),
            "seed": record.seed,
            "status": record.status,
            "params": record.params,
            "val %": _percent(record.validation_accuracy if _evaluate_on(record) == "validation" else None),
            "test %": NOT_OPENED if is_closed(record) else _percent(record.test_accuracy),
            "recipe and images": titles[record.id],
        }
        for record in records
    ]


def is_closed(record: RunRecord) -> bool:
    """Whether a run has finished and left the test images closed."""
    return record.status == "finished" and record.test_accuracy is None


def _evaluate_on(record: RunRecord) -> str:
    """The images that epochs were judged on; recipes from before there were protocols do not say."""
    return str(record.recipe.get("protocol", {}).get("evaluate_on", "validation"))


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"
