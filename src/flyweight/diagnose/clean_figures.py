"""What a run reported, as its protocol has it, beside a clean evaluation: the same nets, measured both ways.

Goes in: finished runs of a recipe, and the keys of it that are to be changed. Comes out: a figure for each of them that
makes one be reported otherwise. Nothing is trained here.
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
    """The same thing reported and clean, a value a seed. count: the images of an accuracy; None where it is a loss."""

    what: str
    reported: tuple[float, ...]
    clean: tuple[float, ...]
    count: int | None

    @property
    def do_differ(self) -> bool:
        return self.reported != self.clean

    def difference(self) -> Paired:
        """By how much the reported figures are off, over the seeds."""
        return paired(self.clean, self.reported, resolution=1 / self.count if self.count else 0.0)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run on record: rows reported (none without a protocol), epochs measured, and the figures of its end."""

    rows: Sequence[ReportedEpoch]
    epochs: Sequence[EpochRecord]
    result: RunResult

    @property
    def kept(self) -> ReportedEpoch:
        """What was reported of the epoch whose net was kept."""
        return self.rows[self.result.kept_epoch - 1]

    @property
    def judged(self) -> ReportedFigures:
        """What was reported last of the images that epochs are judged on, whatever the protocol calls them."""
        return _known(self.rows[-1].validation or self.rows[-1].test)


# What was reported, what a clean evaluation gives, and the images that both are shares of (None for a loss).
_Pair = tuple[float, float, int | None]


def reported_otherwise(
    recipe: Recipe, keys: Sequence[str], records: Sequence[RunRecord], store: Store
) -> tuple[TwoFigures, ...]:
    """Figures that keys (`protocol.evaluate_on` and so on) make be reported otherwise, each once, accuracies first.

    records: finished runs of `recipe`, of which there must be one at least.

    Raises:
        DataError: a run folder that is gone or damaged.
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
    """Whether any of the keys makes a figure be reported otherwise, known before any run."""
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
    """What was called test images were the training images; the real ones were measured beside them."""
    test = _known(run.result.test)
    return _known(run.kept.test).accuracy, test.accuracy, test.count


def _best_by_test(run: _Run) -> _Pair:
    """The best of all epochs on the test images; only the last epoch was not picked by them."""
    last = _known(run.rows[-1].test)
    return _best(run), last.accuracy, last.count


def _best_of_every_epoch(run: _Run) -> _Pair:
    """The best of all epochs on the test images, against the epoch that validation, or the plan, kept."""
    kept = _known(run.kept.test)
    return _best(run), kept.accuracy, kept.count


def _augmented(run: _Run) -> _Pair:
    """The last epoch, on augmented images and on the same images as they are."""
    return run.judged.accuracy, _known(run.epochs[-1].validation_accuracy), run.judged.count


def _luckiest(run: _Run) -> _Pair:
    """The epoch that validation picked, against the last one, which nothing picked."""
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


# A seed that is set after the split and a shared transform that takes the augmentation from training change who trains
# on what, and no figure of it.
_FIGURES: Final[Mapping[tuple[str, str | bool], tuple[str, Callable[[_Run], _Pair]]]] = {
    ("protocol.evaluate_on", "train"): ("accuracy on what was called the test images", _training_images),
    ("protocol.evaluate_on", "test"): ("test accuracy of the epoch that it picked", _best_by_test),
    ("protocol.test_every_epoch", True): ("test accuracy of the epoch that it picked", _best_of_every_epoch),
    ("protocol.evaluate_augmented", True): ("accuracy of the last epoch", _augmented),
    ("protocol.shared_transform", "training"): ("validation accuracy of the last epoch", _augmented),
    ("train.keep", "best"): ("validation accuracy of the epoch that it picked", _luckiest),
    ("protocol.last_batch_loss", True): ("training loss of the last epoch", _last_batch),
    ("protocol.loss_divided_twice", True): ("loss of the last epoch", _divided_twice),
}
