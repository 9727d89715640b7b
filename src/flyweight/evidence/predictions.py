"""What the runs of a group answered on the same images, read from their folders: right or wrong, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """right: (runs, images) bool. labels: (images,) int64, the true classes."""

    right: NDArray[np.bool_]
    labels: NDArray[np.int64]


def read_answers(folders: Sequence[Path], part: str) -> Answers:
    """The answers of several runs on the "test" or the "validation" images, one row a folder.

    Raises:
        DataError: predictions that are not there, cannot be read, or belong to other images than the first's.
    """
    found = [_read(folder, part) for folder in folders]
    labels = found[0][1]
    for folder, (_, others) in zip(folders, found, strict=True):
        if not np.array_equal(labels, others):
            raise DataError(f"the predictions in {folder} must be of the same images as those in {folders[0]}.")
    return Answers(right=np.stack([right for right, _ in found]), labels=labels)


def _read(folder: Path, part: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    path = folder / PREDICTIONS
    try:
        # Opened here, since numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            labels, probabilities = kept[f"{part}_labels"], kept[f"{part}_probabilities"]
    except FileNotFoundError:
        raise DataError(f"there is no {path}; it lies where the run was made.") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} must hold the run's answers, found {type(error).__name__}: {error}.") from error
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise DataError(f"{path} must hold a row of probabilities for each of its {part} labels.")
    return probabilities.argmax(1) == labels, labels
