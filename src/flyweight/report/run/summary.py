"""Runs in words: what came out of one, of several seeds of a recipe, and the list of all of them.

Goes in: the figures of run folders (result.json), and records with their attributes. Comes out: text of 80 columns.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from flyweight.evidence.stats import mean_interval, wilson
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.tables import WIDTH

MOST_CONFUSIONS: Final = 3
LABEL_WIDTH: Final = 11
PARTS: Final = ("train", "validation", "test")

# What images are called that a protocol judges the epochs on: they are no validation images.
JUDGED_ON: Final = {"validation": "validation", "test": "test images", "train": "training images"}


def run_summary(result: Mapping[str, Any], folder: Path, *, options: str = "") -> str:
    """One run: budget, parameters, the kept epoch, accuracies with their intervals, confusions, seconds, places.

    options: what the commands shown need beside the run's id, as " --home elsewhere".
    """
    lines = [f"{result['name']}, seed {result['seed']}: {result['status']}"]
    if result["message"]:
        lines.append(_line("note", result["message"]))
    lines += [_line("parameters", _cost(result)), _line("epochs", _kept(result))]
    lines += [_line(part, figures(result[part], part)) for part in honest_parts(result) if result[part]]
    lines += _otherwise(result)
    confused = confusions(folder) if result["test"] else []
    if confused:
        lines.append(_line("confused", ", ".join(f"{true} read as {read} ({n})" for true, read, n in confused)))
    lines += [
        _line("seconds", _seconds(result)),
        _line("test set", "opened once" if result["test_openings"] == 1 else f"opened {result['test_openings']} times"),
    ]
    report = folder / "report.html"
    lines.append(_line("lies in", str(folder)))
    if report.exists():
        lines.append(_line("report", str(report)))
    if result["test"]:
        lines.append(_line("next", f"flyweight predict {result['run']} PICTURE.png{options}"))
    return "\n".join(lines)


def group_summary(results: Sequence[Mapping[str, Any]], *, options: str = "") -> str:
    """Several seeds as one result: mean, spread and interval of each accuracy, then a line per seed.

    options: what the command shown needs beside the run's id, as " --home elsewhere".
    """
    first = results[0]
    finished = [result for result in results if result["test"]]
    lines = [f"{first['name']}: {len(finished)} of {len(results)} seeds finished", _line("parameters", _cost(first))]
    if finished:
        parts = honest_parts(first)
        lines += [_line(part, spread([accuracy(result[part]) for result in finished])) for part in parts]
        lines += [*_measured_otherwise(first), *_told_of_seeds(finished)]
        seconds = [float(result["train_seconds"]) for result in finished]
        lines.append(_line("seconds", f"{np.mean(seconds):.1f} of training a seed (longest {max(seconds):.1f})"))
    lines += ["", *_seed_lines(results), ""]
    best = max(finished, key=lambda result: accuracy(result["validation"]), default=None)
    if best is not None:
        lines.append(_line("next", f"flyweight report {best['run']}{options}  (best by {judged_on(first)})"))
    return "\n".join(lines)


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
            "validation_accuracy": record.validation_accuracy,
            "test_accuracy": record.test_accuracy,
            "train_seconds": record.train_seconds,
        }
        for record in records
    ]


def short_run_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row per run for people, together less than 80 columns wide: the beginning of the id, accuracies in percent.

    Where a protocol held nothing out there is no validation accuracy.
    """
    return [
        {
            "run": record.id[:SHORT_ID],
            "started": record.started_at.astimezone().strftime("%m-%d %H:%M"),
            "recipe": record.name,
            "seed": record.seed,
            "status": record.status,
            "params": record.params,
            "val %": _percent(record.validation_accuracy if _evaluate_on(record) == "validation" else None),
            "test %": _percent(record.test_accuracy),
        }
        for record in records
    ]


def _evaluate_on(record: RunRecord) -> str:
    """The images that epochs were judged on; recipes from before there were protocols do not say."""
    return str(record.recipe.get("protocol", {}).get("evaluate_on", "validation"))


def judged_on(result: Mapping[str, Any]) -> str:
    """What the best epoch is best by.

    >>> judged_on({}), judged_on({"judged_on": "test"})
    ('validation', 'test images')
    """
    return JUDGED_ON[result.get("judged_on", "validation")]


def honest_parts(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts with figures of their own: images that a protocol judges epochs on are not shown as if held out."""
    return PARTS if judged_on(result) == "validation" else ("train", "test")


def told(result: Mapping[str, Any]) -> str:
    """What the protocol of a run tells of its last epoch; empty where there is none.

    >>> told({"judged_on": "test", "told": {"epoch": 1, "train": {"accuracy": 0.9166, "loss": 0.1287, "count": 32},
    ...     "test": {"correct": 9568, "count": 10_000, "loss": 0.0049}}})
    'epoch 1: train 91.66%, loss 0.1287 of the last batch; test 95.68% of 10,000, loss 0.0049'
    """
    row = result.get("told")
    if not row:
        return ""
    last_batch = " of the last batch" if "count" in row["train"] else ""
    parts = [f"train {row['train']['accuracy']:.2%}, loss {_loss(row['train'])}{last_batch}"]
    parts += [
        f"{_told_name(part, result)} {accuracy(row[part]):.2%} of {row[part]['count']:,}, loss {_loss(row[part])}"
        for part in PARTS[1:]
        if part in row
    ]
    return f"epoch {row['epoch']}: {'; '.join(parts)}"


def _told_name(part: str, result: Mapping[str, Any]) -> str:
    """What the experiment called its test images may be others."""
    return "training images again" if part == "test" and result.get("judged_on") == "train" else part


def _loss(figures: Mapping[str, Any]) -> str:
    """What is not a number is null in JSON."""
    return "nan" if figures["loss"] is None else f"{figures['loss']:.4f}"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"


def accuracy(part: Mapping[str, Any]) -> float:
    """The fraction of images answered rightly."""
    return float(part["correct"]) / float(part["count"])


def figures(part: Mapping[str, Any], name: str) -> str:
    """Percent and counts; of images that were not trained on, the 95 % Wilson interval too.

    >>> figures({"correct": 9940, "count": 10000, "loss": 0.02}, "test")
    '99.40%  9,940 of 10,000, 95% interval 99.23 to 99.53%, loss 0.0200'
    """
    text = f"{accuracy(part):.2%}  {part['correct']:,} of {part['count']:,}"
    if name != "train":
        low, high = wilson(part["correct"], part["count"])
        text += f", 95% interval {100 * low:.2f} to {high:.2%}"
    return f"{text}, loss {part['loss']:.4f}"


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


def confusions(folder: Path, *, most: int = MOST_CONFUSIONS) -> list[tuple[str, str, int]]:
    """The most frequent mistakes on the test images: (true class, class read, how often), more than once each."""
    names = json.loads((folder / "result.json").read_text(encoding="utf-8"))["class_names"]
    with np.load(folder / "predictions.npz", allow_pickle=False) as predictions:
        labels, answers = predictions["test_labels"], predictions["test_probabilities"].argmax(1)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels, answers), 1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(names)) for place in order]
    return [(names[true], names[read], int(counts[true, read])) for true, read in places if counts[true, read] > 1]


def _line(label: str, text: str) -> str:
    return f"  {label.ljust(LABEL_WIDTH)} {text}"


def _lines(label: str, text: str) -> list[str]:
    """A label and its text beside it, wrapped."""
    wrapped = textwrap.wrap(text, WIDTH - len(_line("", "")))
    return [_line(label if number == 0 else "", line) for number, line in enumerate(wrapped)]


def _otherwise(result: Mapping[str, Any]) -> list[str]:
    """What the figures of a run with a protocol must be read with, and what it tells beside the honest ones."""
    words = told(result)
    beside = "the honest figures are above" if result["test"] else "there are no honest figures"
    return [*_measured_otherwise(result), *(_lines("told", f"{words} ({beside})") if words else [])]


def _measured_otherwise(result: Mapping[str, Any]) -> list[str]:
    words = result.get("protocol")
    return _lines("measured", f"otherwise: {'; '.join(words)}") if words else []


def _told_of_seeds(finished: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [result["told"]["test"] for result in finished if result.get("told")]
    if not rows:
        return []
    name = _told_name("test", finished[0])
    return _lines("told", f"{name} {spread([accuracy(row) for row in rows])} (the honest figures are above)")


def _cost(result: Mapping[str, Any]) -> str:
    allowed = f" of {result['budget']['params']:,}" if "params" in result["budget"] else ""
    unused = result["registered_params"] - result["params"]
    more = f", {unused:,} more registered and never used" if unused else ""
    kilobytes = result["flash_bytes"] / 1000
    return f"{result['params']:,}{allowed}{more}; {result['macs']:,} MACs; {kilobytes:.1f} kB in float32"


def _kept(result: Mapping[str, Any]) -> str:
    if not result["best_epoch"]:
        return f"{result['epochs']} done, none measured"
    kept = (
        f"the best by {judged_on(result)}"
        if result["kept"] == "best"
        else f"the last; epoch {result['best_epoch']} was best"
    )
    epoch = result["best_epoch"] if result["kept"] == "best" else result["epochs"]
    return f"{result['epochs']} done, epoch {epoch} kept ({kept})"


def _seconds(result: Mapping[str, Any]) -> str:
    memory = f", at most {result['peak_memory_bytes'] / 1e6:,.0f} MB" if result.get("peak_memory_bytes") else ""
    return (
        f"{result['train_seconds']:.1f} of training, {result['total_seconds']:.1f} in all, "
        f"{result['images_per_second']:,.0f} images/s{memory}"
    )


def _seed_lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for result in results:
        parts = honest_parts(result)[1:]
        measured = " ".join(f"{part} {accuracy(result[part]):.2%}" for part in parts if result[part])
        lines.append(f"  seed {result['seed']}  {result['run']}  {measured or result['status']}")
    return lines
