"""Runs in words: the result of one, and of several seeds of a recipe.

Goes in: results and predictions of runs. Comes out: text of 80 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from flyweight.evidence.stats import mean_interval, wilson
from flyweight.records.ids import SHORT_ID
from flyweight.records.results import (
    SPLITS,
    Figures,
    Predictions,
    ReportedEpoch,
    RunResult,
    Split,
)
from flyweight.records.run_folder import RunFolder
from flyweight.report.run.variant import computed
from flyweight.report.wording import hanging, margin, text_width
from flyweight.tables import wrapped

MAX_CONFUSIONS: Final = 3

NOT_OPENED: Final = "not opened"
OPENED: Final = {0: NOT_OPENED, 1: "opened once"}

# What images are called that a protocol judges the epochs on: they are no validation images.
JUDGED_ON: Final = {"validation": "validation", "test": "test images", "train": "training images"}


def run_summary(
    result: RunResult, folder: RunFolder, *, title: str = "", equal_run: str | None = None, options: str = ""
) -> str:
    """One run: budget, parameters, the kept epoch, accuracies with their intervals, confusions, seconds, places.

    title: of `variant.titles`; default: the name of the recipe. equal_run: of `variant.equal_run`. options: what the
    commands shown need beside the run's id, as " --home elsewhere".
    """
    lines = _title(f"{title or result.name}, seed {result.seed}: {result.status}")
    if equal_run is not None:
        lines.append(hanging("same as", f"run {equal_run[:SHORT_ID]}: the weights are equal to the bit"))
    if result.message:
        lines.append(hanging("note", result.message))
    lines += [hanging("parameters", _cost(result)), hanging("epochs", _kept(result))]
    lines += [
        hanging(split, figures(found, split))
        for split in evaluated_splits(result)
        if (found := result.figures(split)) is not None
    ]
    lines += _otherwise(result)
    confused = [] if result.test is None else confusions(folder.predictions("test"), result.class_names)
    if confused:
        lines.append(hanging("confused", ", ".join(f"{true} read as {read} ({n})" for true, read, n in confused)))
    lines += [
        hanging("seconds", _seconds(result)),
        *([hanging("computed", how)] if (how := computed(folder)) else []),
        hanging("test set", OPENED.get(result.test_openings, f"opened {result.test_openings} times")),
        margin("folder") + str(folder.path),
    ]
    if folder.has("report"):
        lines.append(margin("report") + str(folder.file("report")))
    if result.test is not None:
        lines.append(f"{margin('next')}flyweight predict {result.run[:SHORT_ID]} PICTURE.png{options}")
    return "\n".join(lines)


def group_summary(results: Sequence[RunResult], *, title: str = "", options: str = "") -> str:
    """Several seeds as one result: mean, spread and interval of each accuracy, then a line per seed.

    title: of `variant.titles`; default: the name of the recipe. options: what the command shown needs beside the run's
    id, as " --home elsewhere".
    """
    first = results[0]
    finished = [result for result in results if (result.validation or result.test) is not None]
    heading = f"{title or first.name}: {len(finished)} of {len(results)} seeds finished"
    lines = [*_title(heading), hanging("parameters", _cost(first))]
    if finished:
        parts = evaluated_splits(first)
        lines += [
            hanging(split, spread(found) if (found := _accuracies(finished, split)) else NOT_OPENED) for split in parts
        ]
        lines += [*_measured_otherwise(first), *_reported_by_seeds(finished)]
        seconds = [result.train_seconds for result in finished]
        lines.append(hanging("seconds", f"{np.mean(seconds):.1f} of training a seed (longest {max(seconds):.1f})"))
    lines += ["", *_seed_lines(results), ""]
    best = max(finished, key=lambda result: _accuracies([result], "validation"), default=None)
    if best is not None:
        why = f"  (best by {judged_on(first)})" if best.validation is not None else ""
        lines.append(f"{margin('next')}flyweight report {best.run[:SHORT_ID]}{options}{why}")
    return "\n".join(lines)


def _title(text: str) -> list[str]:
    first, *more = wrapped(text, text_width() - 2)
    return [first, *(f"  {line}" for line in more)]


def judged_on(result: RunResult) -> str:
    """What the best epoch is best by."""
    return JUDGED_ON[result.judged_on]


def evaluated_splits(result: RunResult) -> tuple[Split, ...]:
    """The splits with figures of their own: images that a protocol judges epochs on are not shown as if held out."""
    has_validation = judged_on(result) == "validation" and (result.validation is not None or result.train is None)
    return SPLITS if has_validation else ("train", "test")


def reported(epoch: ReportedEpoch | None, *, judged_on: Split = "validation") -> str:
    """The reported metrics of an epoch in words; empty where there are none.

    >>> from flyweight.records.results import ReportedFigures, ReportedTraining
    >>> train = ReportedTraining(accuracy=0.9166, loss=0.1287, count=32)
    >>> test = ReportedFigures(correct=9568, count=10_000, loss=0.0049)
    >>> reported(ReportedEpoch(epoch=1, train=train, test=test), judged_on="test")
    'epoch 1: train 91.66%, loss 0.1287 of the last batch; test 95.68% of 10,000, loss 0.0049'
    """
    if epoch is None:
        return ""
    last_batch = "" if epoch.train.count is None else " of the last batch"
    parts = [f"train {epoch.train.accuracy:.2%}, loss {_loss(epoch.train.loss)}{last_batch}"]
    parts += [
        f"{name} {found.accuracy:.2%} of {found.count:,}, loss {_loss(found.loss)}"
        for name, found in (("validation", epoch.validation), (_reported_name(judged_on), epoch.test))
        if found is not None
    ]
    return f"epoch {epoch.epoch}: {'; '.join(parts)}"


def _reported_name(judged_on: Split) -> str:
    """What the experiment called its test images may be others."""
    return "training images again" if judged_on == "train" else "test"


def _loss(loss: float | None) -> str:
    return "nan" if loss is None else f"{loss:.4f}"


def figures(found: Figures, split: Split) -> str:
    """Percent and counts; of images that were not trained on, the 95 % Wilson interval too.

    >>> figures(Figures(correct=9940, count=10000, loss=0.02), "test")
    '99.40%  9,940 of 10,000, 95% interval 99.23 to 99.53%, loss 0.0200'
    """
    text = f"{found.accuracy:.2%}  {found.correct:,} of {found.count:,}"
    if split != "train":
        low, high = wilson(found.correct, found.count)
        text += f", 95% interval {100 * low:.2f} to {high:.2%}"
    return f"{text}, loss {_loss(found.loss)}"


def _accuracies(results: Sequence[RunResult], split: Split) -> list[float]:
    return [found.accuracy for result in results if (found := result.figures(split)) is not None]


def spread(accuracies: Sequence[float]) -> str:
    """Mean and sample standard deviation, extremes, and the t interval of the mean; one value has no spread.

    >>> spread([0.9940, 0.9950, 0.9960])
    '99.50 ± 0.10% (n=3), min 99.40, max 99.60, 95% CI 99.25 to 99.75%'
    >>> spread([0.9940])
    '99.40% (n=1: no spread)'
    """
    found = mean_interval(accuracies)
    if found.sd is None or found.low is None or found.high is None:
        return f"{found.mean:.2%} (n=1: no spread)"
    return (
        f"{100 * found.mean:.2f} ± {found.sd:.2%} (n={found.n}), min {100 * found.minimum:.2f}, "
        f"max {100 * found.maximum:.2f}, 95% CI {100 * max(found.low, 0):.2f} to {min(found.high, 1):.2%}"
    )


def confusions(
    predictions: Predictions, names: Sequence[str], *, n: int = MAX_CONFUSIONS
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: (true class, predicted class, how often), more than once each."""
    counts = predictions.confusion()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:n]
    places = [divmod(int(place), len(names)) for place in order]
    return [(names[true], names[read], int(counts[true, read])) for true, read in places if counts[true, read] > 1]


def class_rows(folder: RunFolder, result: RunResult) -> list[dict[str, Any]]:
    """A row for each class: its test images, and recall and precision as fractions; None where there is no image."""
    if result.test is None:
        return []
    counts = folder.predictions("test").confusion()
    right, images, read = counts.diagonal(), counts.sum(1), counts.sum(0)
    return [
        {
            "class": name,
            "images": int(images[at]),
            "recall": float(right[at] / images[at]) if images[at] else None,
            "precision": float(right[at] / read[at]) if read[at] else None,
        }
        for at, name in enumerate(result.class_names)
    ]


def _otherwise(result: RunResult) -> list[str]:
    """What the figures of a run with a protocol must be read with, and what it reports beside the clean evaluation."""
    words = reported(result.reported, judged_on=result.judged_on)
    beside = "there are no clean figures" if result.test is None else "the clean figures are above"
    return [*_measured_otherwise(result), *([hanging("reported", f"{words} ({beside})")] if words else [])]


def _measured_otherwise(result: RunResult) -> list[str]:
    return [hanging("measured", f"otherwise: {'; '.join(result.protocol)}")] if result.protocol else []


def _reported_by_seeds(finished: Sequence[RunResult]) -> list[str]:
    tests = [result.reported.test for result in finished if result.reported is not None]
    if not tests:
        return []
    accuracies = spread([test.accuracy for test in tests if test is not None])
    return [hanging("reported", f"{_reported_name(finished[0].judged_on)} {accuracies} (the clean figures are above)")]


def _cost(result: RunResult) -> str:
    allowed = f" of {result.budget['params']:,}" if "params" in result.budget else ""
    unused = result.registered_params - result.params
    more = f", {unused:,} more registered and never used" if unused else ""
    return f"{result.params:,}{allowed}{more}; {result.macs:,} MACs; {result.flash_bytes / 1000:.1f} kB in float32"


def _kept(result: RunResult) -> str:
    if not result.best_epoch:
        measured = f"the last, epoch {result.epochs}, kept (no validation images)" if result.test else "none measured"
        return f"{result.epochs} done, {measured}"
    is_best = result.kept == "best"
    kept = f"the best by {judged_on(result)}" if is_best else f"the last; epoch {result.best_epoch} was best"
    return f"{result.epochs} done, epoch {result.kept_epoch} kept ({kept})"


def _seconds(result: RunResult) -> str:
    memory = f", at most {result.peak_memory_bytes / 1e6:,.0f} MB" if result.peak_memory_bytes else ""
    return (
        f"{result.train_seconds:.1f} of training, {result.total_seconds:.1f} in all, "
        f"{result.images_per_second:,.0f} images/s{memory}"
    )


def _seed_lines(results: Sequence[RunResult]) -> list[str]:
    lines = []
    for result in results:
        splits = evaluated_splits(result)[1:]
        measured = " ".join(
            f"{split} {found.accuracy:.2%}" for split in splits if (found := result.figures(split)) is not None
        )
        lines.append(f"  seed {result.seed}  {result.run[:SHORT_ID]}  {measured or result.status}")
    return lines
