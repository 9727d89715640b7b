"""What a run told, as its protocol has it, beside what it would have told honestly: the same nets, measured both ways.

Goes in: finished runs of a recipe, and the keys of it that are to be changed. Comes out: a figure for each of them that
makes one be told otherwise. Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyweight.recipe import Recipe, value_at
from flyweight.records.folder import read_result, read_told
from flyweight.records.record import EpochRecord, RunRecord
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class TwoFigures:
    """The same thing told and honest, a value a seed. count: the images of an accuracy; None where it is a loss."""

    what: str
    told: tuple[float, ...]
    honest: tuple[float, ...]
    count: int | None

    @property
    def do_differ(self) -> bool:
        return self.told != self.honest


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What is on record of a run: rows told (none without a protocol), epochs measured, and the figures of its end."""

    rows: Sequence[Mapping[str, Any]]
    epochs: Sequence[EpochRecord]
    result: Mapping[str, Any]

    @property
    def kept(self) -> Mapping[str, Any]:
        """What was told of the epoch whose net was kept."""
        return self.rows[self.result["best_epoch"] - 1] if self.result["kept"] == "best" else self.rows[-1]

    @property
    def part(self) -> str:
        """The part that epochs are judged on, as it was called."""
        return "validation" if "validation" in self.rows[-1] else "test"


# What was told, what would have been honest, and the images that both are shares of (None for a loss).
_Pair = tuple[float, float, int | None]


def told_otherwise(
    recipe: Recipe, keys: Sequence[str], records: Sequence[RunRecord], store: Store
) -> tuple[TwoFigures, ...]:
    """A figure for each key (`protocol.evaluate_on` and so on) that makes one be told otherwise, accuracies first.

    records: finished runs of `recipe`, of which there must be one at least.

    Raises:
        DataError: a run folder that is gone or damaged.
    """
    runs = [_read(record, store) for record in records]
    return tuple(
        _figure(what, [pair(run) for run in runs])
        for (key, value), (what, pair) in _FIGURES.items()
        if key in keys and value_at(recipe, key) == value
    )


def tells_otherwise(recipe: Recipe, keys: Sequence[str]) -> bool:
    """Whether any of the keys makes a figure be told otherwise, known before any run."""
    return any(key in keys and value_at(recipe, key) == value for key, value in _FIGURES)


def _read(record: RunRecord, store: Store) -> _Run:
    folder = store.folder(record.id)
    return _Run(rows=read_told(folder).get("epochs", ()), epochs=store.epochs(record.id), result=read_result(folder))


def _figure(what: str, pairs: Sequence[_Pair]) -> TwoFigures:
    return TwoFigures(
        what=what,
        told=tuple(told for told, _, _ in pairs),
        honest=tuple(honest for _, honest, _ in pairs),
        count=pairs[0][2],
    )


def _accuracy(figure: Mapping[str, Any]) -> float:
    return float(figure["correct"] / figure["count"])


def _training_images(run: _Run) -> _Pair:
    """What was called test images were the training images; the real ones were measured beside them."""
    return _accuracy(run.kept["test"]), _accuracy(run.result["test"]), run.result["test"]["count"]


def _best_by_test(run: _Run) -> _Pair:
    """The best of all epochs on the test images; only the last epoch was not picked by them."""
    return max(_accuracy(row["test"]) for row in run.rows), _accuracy(run.rows[-1]["test"]), _count(run, "test")


def _best_of_every_epoch(run: _Run) -> _Pair:
    """The best of all epochs on the test images, against the epoch that validation, or the plan, kept."""
    return max(_accuracy(row["test"]) for row in run.rows), _accuracy(run.kept["test"]), _count(run, "test")


def _augmented(run: _Run) -> _Pair:
    """The last epoch, on augmented images and on the same images as they are."""
    return _accuracy(run.rows[-1][run.part]), _known(run.epochs[-1].validation_accuracy), _count(run, run.part)


def _luckiest(run: _Run) -> _Pair:
    """The epoch that validation picked, against the last one, which nothing picked."""
    picked = run.epochs[run.result["best_epoch"] - 1]
    count = run.result["validation"]["count"]
    return _known(picked.validation_accuracy), _known(run.epochs[-1].validation_accuracy), count


def _last_batch(run: _Run) -> _Pair:
    return run.rows[-1]["train"]["loss"], _known(run.epochs[-1].train_loss), None


def _divided_twice(run: _Run) -> _Pair:
    return run.rows[-1][run.part]["loss"], _known(run.epochs[-1].validation_loss), None


def _count(run: _Run, part: str) -> int:
    return int(run.rows[-1][part]["count"])


def _known(value: float | None) -> float:
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
