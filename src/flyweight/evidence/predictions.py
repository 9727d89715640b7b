"""Which images the runs of a group get right: their predictions on the same images, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError
from flyweight.records.record import HeldOut

if TYPE_CHECKING:
    from flyweight.records.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectByRun:
    """correct: (runs, images) bool. labels: (images,) int64, the true classes."""

    correct: NDArray[np.bool_]
    labels: NDArray[np.int64]


def correct_by_run(folders: Sequence[RunFolder], part: HeldOut) -> CorrectByRun:
    """The predictions of several runs on the "test" or the "validation" images, one row a folder.

    Raises:
        DataError: predictions that are missing, cannot be read, or belong to other images than the first's.
    """
    found = [folder.predictions(part) for folder in folders]
    labels = found[0].labels
    for folder, predictions in zip(folders, found, strict=True):
        if not np.array_equal(labels, predictions.labels):
            raise DataError(f"the predictions in {folder.path} must be of the same images as in {folders[0].path}.")
    return CorrectByRun(correct=np.stack([one.predicted == one.labels for one in found]), labels=labels)
