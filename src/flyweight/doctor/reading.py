"""What a run folder tells, as values of a subject: each file by itself, since any of them may be missing.

Goes in: a run folder. Comes out: a value, or None where its file is not there; a file that is damaged is a DataError.
What is found is only checked for its form; nothing in it is run.
"""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from flyweight.doctor.subject import Answers, Ending, EpochLine
from flyweight.errors import DataError
from flyweight.records.folder import TOLD

METRICS: Final = "metrics.csv"
RESULT: Final = "result.json"
PREDICTIONS: Final = "predictions.npz"


def read_history(folder: Path) -> tuple[EpochLine, ...] | None:
    """The lines of metrics.csv, none for a run that has finished no epoch.

    Raises:
        DataError: a file that is damaged.
    """
    path = folder / METRICS
    text = _text(path)
    if text is None:
        return None
    try:
        lines = tuple(_line(row) for row in csv.DictReader(text.splitlines()))
        if text.strip() and not text.startswith("epoch,"):
            raise ValueError("it does not begin with the names of its columns")
        return lines
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "a line for each epoch", error) from error


def read_ending(folder: Path) -> Ending | None:
    """How the run ended, from result.json.

    Raises:
        DataError: a file that is damaged.
    """
    path = folder / RESULT
    text = _text(path)
    if text is None:
        return None
    try:
        result = json.loads(text)
        return Ending(
            status=str(result["status"]),
            message=str(result["message"]),
            best_epoch=result["best_epoch"],
            train=_figures(result["train"]),
            validation=_figures(result["validation"]),
            test=_figures(result["test"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "the figures of the run", error) from error


def read_answers(folder: Path, *, part: str = "validation") -> Answers | None:
    """What the kept net answers to the images that epochs are judged on; `part` is what those are called.

    Raises:
        DataError: a file that is damaged.
    """
    path = folder / PREDICTIONS
    try:
        # Opened here, since numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            labels, probabilities = kept["validation_labels"], kept["validation_probabilities"]
        n_classes = probabilities.shape[1]
        answers = probabilities.argmax(1)
        if labels.shape != answers.shape:
            raise ValueError(f"{len(labels)} labels and {len(answers)} answers")
        answered, right = (np.bincount(found, minlength=n_classes).tolist() for found in (answers, labels))
        return Answers(part=part, answered=tuple(answered), labels=tuple(right))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, BadZipFile, zlib.error) as error:
        raise _damaged(path, "a row of probabilities for each label", error) from error


def read_told(folder: Path) -> Mapping[str, Any] | None:
    """What the protocol of the run told, epoch by epoch.

    Raises:
        DataError: a file that is damaged.
    """
    path = folder / TOLD
    text = _text(path)
    if text is None:
        return None
    try:
        told = json.loads(text)
        if not isinstance(told, dict) or not isinstance(told["epochs"], list):
            raise ValueError("no table of epochs")
        if not all(isinstance(row, dict) and {"epoch", "train"} <= row.keys() for row in told["epochs"]):
            raise ValueError("an epoch without its number or its training figures")
    except (ValueError, KeyError) as error:
        raise _damaged(path, "what was told of each epoch", error) from error
    return told


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "text", error) from error


def _damaged(path: Path, what: str, error: BaseException) -> DataError:
    found = " ".join(f"{type(error).__name__}: {error}".split())
    return DataError(f"{path.name} must hold {what}, found something else ({found}); restore it, or train again")


def _line(row: Mapping[str, str]) -> EpochLine:
    return EpochLine(
        epoch=int(row["epoch"]),
        train_loss=_loss(row["train_loss"]),
        train_accuracy=_finite(row["train_accuracy"]),
        validation_loss=_loss(row["validation_loss"]),
        validation_accuracy=_finite(row["validation_accuracy"]),
        lr=_finite(row["lr"]),
    )


def _loss(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def _figures(table: Mapping[str, float | None] | None) -> Mapping[str, float] | None:
    """Counts and a loss; a loss that was not a number is left out."""
    if table is None:
        return None
    return {name: value for name, value in table.items() if value is not None}
