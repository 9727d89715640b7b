"""Figures as a protocol reports them, and from a clean evaluation of the same nets.

In: finished runs of a recipe, and the keys that a remedy changes. Out: a pair of figures for each key that affects one.
Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from flyweight.evidence.paired import Paired, paired
from flyweight.recipe import Recipe, value_at
from flyweight.records.record import EpochRecord, RunRecord
from flyweight.records.results import ReportedEpoch, ReportedFigures, RunResult
from flyweight.records.store import Store

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class TwoFigures:
    """One figure, reported and clean, with a value per seed. count: images of an accuracy; None for a loss."""

    what: str
    reported: tuple[float, ...]
    clean: tuple[float, ...]
    count: int | None

    @property
    def do_differ(self) -> bool:
        return self.reported != self.clean

    def difference(self) -> Paired:
        """Reported minus clean figures, over the seeds."""
        return paired(self.clean, self.reported, resolution=1 / self.count if self.count else 0.0)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run on record: reported metrics (none without a protocol), measured epochs, and the result."""

    rows: Sequence[ReportedEpoch]
    epochs: Sequence[EpochRecord]
    result: RunResult

    @property
    def kept(self) -> ReportedEpoch:
        """The reported metrics of the kept epoch."""
        return self.rows[self.result.kept_epoch - 1]

    @property
    def judged(self) -> ReportedFigures:
        """The last reported metrics of the images that the epochs are judged on."""
        return _known(self.rows[-1].validation or self.rows[-1].test)


# Reported value, clean value, and the number of images (None for a loss).
_Pair = tuple[float, float, int | None]


def reported_otherwise(
    recipe: Recipe, keys: Sequence[str], records: Sequence[RunRecord], store: Store
) -> tuple[TwoFigures, ...]:
    """The figures that differ from a clean evaluation because of these keys; accuracies first.

    records: finished runs of `recipe`, at least one.

    Raises:
        DataError: a run folder is missing or damaged.
    """
    runs = [_read(record, store) for record in records]
    found: dict[str, TwoFigures] = {}
    for (key, value), (what, pair) in _FIGURES.items():
        if key in keys and value_at(recipe, key) == value:
            figure = _figure(what, [pair(run) for run in runs])
            if figure.do_differ:
                found.setdefault(what, figure)
    return tuple(found.values())


def reports_otherwise(recipe: Recipe, keys: Sequence[str]) -> bool:
    """Whether any of the keys affects a reported figure; known before any run."""
    return any(key in keys and value_at(recipe, key) == value for key, value in _FIGURES)


def _read(record: RunRecord, store: Store) -> _Run:
    folder = store.folder(record.id)
    return _Run(rows=folder.reported().epochs, epochs=store.epochs(record.id), result=folder.result())


def _figure(what: str, pairs: Sequence[_Pair]) -> TwoFigures:
    return TwoFigures(
        what=what,
        reported=tuple(reported for reported, _, _ in pairs),
        clean=tuple(clean for _, clean, _ in pairs),
        count=pairs[0][2],
    )


def _training_images(run: _Run) -> _Pair:
    """Reported test images were training images; the real test images were measured too."""
    test = _known(run.result.test)
    return _known(run.kept.test).accuracy, test.accuracy, test.count


def _best_by_test(run: _Run) -> _Pair:
    """The best epoch on the test images, and the last epoch, which they did not select."""
    last = _known(run.rows[-1].test)
    return _best(run), last.accuracy, last.count


def _best_of_every_epoch(run: _Run) -> _Pair:
    """The best epoch on the test images, and the kept epoch."""
    kept = _known(run.kept.test)
    return _best(run), kept.accuracy, kept.count


def _augmented(run: _Run) -> _Pair:
    """The last epoch on augmented and on unchanged images."""
    return run.judged.accuracy, _known(run.epochs[-1].validation_accuracy), run.judged.count


def _best_by_validation(run: _Run) -> _Pair:
    """The epoch that validation selected, and the last epoch."""
    picked = run.epochs[_known(run.result.best_epoch) - 1]
    count = _known(run.result.validation).count
    return _known(picked.validation_accuracy), _known(run.epochs[-1].validation_accuracy), count


def _last_batch(run: _Run) -> _Pair:
    return _known(run.rows[-1].train.loss), _known(run.epochs[-1].train_loss), None


def _divided_twice(run: _Run) -> _Pair:
    return _known(run.judged.loss), _known(run.epochs[-1].validation_loss), None


def _best(run: _Run) -> float:
    return max(_known(row.test).accuracy for row in run.rows)


def _known(value: Value | None) -> Value:
    assert value is not None, "a finished run has measured its last epoch"
    return value


# protocol.seed_after_split and shared_transform = "evaluation" change the training, but no figure of it.
_FIGURES: Final[Mapping[tuple[str, str | bool], tuple[str, Callable[[_Run], _Pair]]]] = {
    ("protocol.evaluate_on", "train"): ("accuracy on what was called the test images", _training_images),
    ("protocol.evaluate_on", "test"): ("test accuracy of the epoch that it picked", _best_by_test),
    ("protocol.test_every_epoch", True): ("test accuracy of the epoch that it picked", _best_of_every_epoch),
    ("protocol.evaluate_augmented", True): ("accuracy of the last epoch", _augmented),
    ("protocol.shared_transform", "training"): ("validation accuracy of the last epoch", _augmented),
    ("train.keep", "best"): ("validation accuracy of the epoch that it picked", _best_by_validation),
    ("protocol.last_batch_loss", True): ("training loss of the last epoch", _last_batch),
    ("protocol.loss_divided_twice", True): ("loss of the last epoch", _divided_twice),
}
