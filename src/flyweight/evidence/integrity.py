"""What of a run is no longer as it was recorded: its row, its epochs, its recipe and its files must agree.

In: a record, and the files of its folder. Out: a line for each disagreement; nothing is raised and nothing is mended.
It finds accidents and edits of one place, not a forger who changes every place alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from flyweight.errors import DataError, FlyweightError
from flyweight.recipe import diff_stored, loads
from flyweight.records.record import OVER, RunRecord
from flyweight.records.results import SPLITS, Figures, Predictions
from flyweight.records.run_folder import RunFolder

if TYPE_CHECKING:
    from flyweight.records.store import Store

FACTS: Final = ("name", "seed", "status", "params", "macs", "registered_params", "best_epoch")
OF_EPOCHS: Final = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
CLOSE: Final = 1e-6  # relative; files of curves have 10 digits


def faults_of(record: RunRecord, store: Store) -> tuple[str, ...]:
    """Everything of an ended run that disagrees, files included; a run without a result has nothing to compare."""
    folder = store.folder(record.id)
    if record.status not in OVER:
        return ()
    if not folder.path.is_dir():
        return (f"its folder {folder.path} is missing: it was deleted, or the run was made on another machine",)
    return (*changed_files(folder), *changed_figures(record, folder), *_changed_rows(record, folder, store))


def changed_files(folder: RunFolder) -> tuple[str, ...]:
    """Files whose bytes are not those of their recorded checksum, or that are missing."""
    try:
        folder.verify()
    except DataError as error:
        return (_short(error),)
    return ()


def changed_figures(record: RunRecord, folder: RunFolder) -> tuple[str, ...]:
    """Figures of the row that its result, or a count of its predictions, has otherwise; nothing without these files."""
    return (*_unlike_result(record, folder), *_unlike_predictions(record, folder))


def require_figures(records: tuple[RunRecord, ...], store: Store) -> None:
    """Refuse figures that were edited: nothing may be concluded from them.

    Raises:
        DataError: naming the first runs and what disagrees.
    """
    for record in records:
        found = changed_figures(record, store.folder(record.id))
        if found:
            raise DataError(
                f"run {record.id}: its figures on record are not those of its files ({'; '.join(found)}). Restore the "
                f"database or the folder, remove the run with `flyweight rm {record.id}`, or train again."
            )


def _unlike_result(record: RunRecord, folder: RunFolder) -> Iterator[str]:
    try:
        result = folder.result()
    except DataError:
        return
    for name in FACTS:
        kept, found = getattr(result, name), getattr(record, name)
        if kept != found and not (name == "best_epoch" and kept is None):
            yield f"{name} is {found!r} in the database, {kept!r} in its result"
    if result.epochs != record.epochs_done:
        yield f"epochs_done is {record.epochs_done} in the database, {result.epochs} in its result"
    for split in SPLITS:
        ours, theirs = record.figures(split), result.figures(split)
        if not _equal(ours, theirs):
            yield f"{split} is {_words(ours)} in the database, {_words(theirs)} in its result"


def _unlike_predictions(record: RunRecord, folder: RunFolder) -> Iterator[str]:
    for split in ("validation", "test"):
        figures = record.figures(split)
        try:
            predictions = folder.predictions(split) if figures is not None and folder.has("predictions") else None
        except DataError:
            continue
        if predictions is None or figures is None:
            continue
        low, high = _count_correct(predictions)
        if figures.count != len(predictions.labels) or not low <= figures.correct <= high:
            yield f"{split} is {_words(figures)} in the database, {low} of {len(predictions.labels)} by its predictions"


def _count_correct(predictions: Predictions) -> tuple[int, int]:
    """The fewest and the most correct predictions: two classes can be equally probable once logits are rounded."""
    chosen = np.take_along_axis(predictions.probabilities, predictions.labels[:, None], 1)
    is_most, others = predictions.probabilities == chosen, predictions.probabilities > chosen
    wins = ~others.any(1)
    return int((wins & (is_most.sum(1) == 1)).sum()), int(wins.sum())


def _changed_rows(record: RunRecord, folder: RunFolder, store: Store) -> Iterator[str]:
    """The curves and the recipe of the database, compared with the files of the folder."""
    try:
        history = folder.history()
    except DataError:
        history = ()
    rows = {one.epoch: one for one in store.epochs(record.id)}
    if history and rows.keys() != {line.epoch for line in history}:
        yield f"the database has {len(rows)} epochs, its file of curves {len(history)}"
    for line in history:
        row = rows.get(line.epoch)
        unlike = [name for name in OF_EPOCHS if row and not _close(getattr(row, name), getattr(line, name))]
        if unlike:
            yield f"epoch {line.epoch}: {', '.join(unlike)} differ between the database and the file of curves"
    if not folder.has("recipe"):  # its checksum tells
        return
    try:
        changes = diff_stored(loads(folder.recipe_text()).model_dump(mode="json"), record.recipe)
    except FlyweightError as error:
        yield _short(error)
        return
    if changes:
        keys = ", ".join(change.key for change in changes)
        yield f"the recipe in the database is not that of its folder ({keys} differ)"


def _equal(ours: Figures | None, theirs: Figures | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return (ours.correct, ours.count) == (theirs.correct, theirs.count) and _close(ours.loss, theirs.loss)


def _close(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=CLOSE, abs_tol=1e-9)


def _words(figures: Figures | None) -> str:
    return "none" if figures is None else f"{figures.correct} of {figures.count} (loss {figures.loss})"


def _short(error: FlyweightError) -> str:
    return " ".join(str(error).split()).rstrip(".")
