"""What the files of a run say, as values of a subject: each file by itself, since any of them may be missing.

Goes in: a run folder. Comes out: a value, or None where its file is missing; a file that is damaged is a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flyweight.doctor.subject import Ending, Predictions
from flyweight.records.results import EpochLine

if TYPE_CHECKING:
    from flyweight.records.run_folder import RunFolder


def read_history(folder: RunFolder) -> tuple[EpochLine, ...] | None:
    """A line per finished epoch."""
    return folder.history() if folder.has("history") else None


def read_ending(folder: RunFolder) -> Ending | None:
    """How the run ended."""
    if not folder.has("result"):
        return None
    result = folder.result()
    return Ending(
        status=result.status,
        message=result.message,
        best_epoch=result.best_epoch,
        train=result.train,
        validation=result.validation,
        test=result.test,
    )


def read_predictions(folder: RunFolder, *, split: str = "validation") -> Predictions | None:
    """What the kept net predicts on the images that epochs are judged on, if any; `split` is what those are called."""
    found = folder.predictions("validation") if folder.has("predictions") else None
    if found is None or not len(found.labels):
        return None
    rows = found.confusion()
    return Predictions(split=split, predicted=tuple(rows.sum(0).tolist()), labels=tuple(rows.sum(1).tolist()))


def read_reported(folder: RunFolder) -> Mapping[str, Any] | None:
    """The reported metrics, epoch by epoch."""
    return folder.reported().as_dict() if folder.has("reported") else None
