"""The report of a run: its pictures and one self-contained page, made from the files of its folder alone.

It needs neither torch nor the database, so a folder can be copied to any machine and reported there.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.evidence.stats import wilson
from flyweight.records.folder import read_result, write_bytes, write_text
from flyweight.report.rendering import REPORT, render
from flyweight.report.run import plots
from flyweight.report.run.summary import accuracy, confusions, judged_on, told

MOST_CONFUSIONS: Final = 6

TITLES: Final = {
    "curves": "How it learned",
    "confusion": "What it mistakes for what",
    "misread": "The test images it misread",
    "filters": "The filters of its first layer",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A line of the table of accuracies; fractions."""

    name: str
    accuracy: float
    low: float
    high: float
    correct: int
    count: int
    loss: float


def write_report(folder: Path) -> Path:
    """Write curves.png, confusion.png, misread.png, filters.png and report.html into a run folder; gives the page.

    What the run does not have (a diverged one has no test figures) is left out.

    Raises:
        DataError: a folder without the figures of a run that is over.
    """
    result = read_result(folder)
    pictures = _pictures(folder, result)
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
    write_text(folder / REPORT, _page(folder, result, pictures))
    return folder / REPORT


def _pictures(folder: Path, result: Mapping[str, Any]) -> dict[str, bytes]:
    """PNG files by name, as far as the run has what they show."""
    found: dict[str, bytes] = {}
    metrics = _metrics(folder)
    if metrics["epoch"]:
        found["curves"] = plots.curves(metrics, judged_on=judged_on(result))
    if result["test"]:
        names = result["class_names"]
        found["confusion"] = plots.confusion(_confusion_counts(folder, len(names)), names)
        with np.load(folder / "misread.npz", allow_pickle=False) as kept:
            found["misread"] = plots.misread(
                kept["images"], kept["labels"], kept["answers"], kept["probabilities"], names
            )
        weights = _first_filters(folder)
        if weights is not None:
            found["filters"] = plots.filters(weights)
    return found


def _metrics(folder: Path) -> dict[str, list[float]]:
    """The columns of metrics.csv."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
        return {name: [float(row[name]) for row in rows] for name in reader.fieldnames or ()}


def _confusion_counts(folder: Path, n_classes: int) -> NDArray[np.int64]:
    with np.load(folder / "predictions.npz", allow_pickle=False) as predictions:
        answers = predictions["test_probabilities"].argmax(1)
        labels = predictions["test_labels"]
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, answers), 1)
    return counts


def _first_filters(folder: Path) -> NDArray[np.float32] | None:
    """The weights of the first layer, (out, in, height, width), if it is a convolution larger than a pixel."""
    from safetensors import safe_open

    with safe_open(folder / "weights.safetensors", framework="numpy") as stored:
        kernels = [name for name in stored.keys() if name.endswith("weight")]  # noqa: SIM118  # not a mapping
        tensors = [stored.get_tensor(name) for name in kernels if stored.get_slice(name).get_shape()[2:]]
    first = [tensor for tensor in tensors if tensor.ndim == 4 and tensor.shape[1] in (1, 3)]
    return first[0] if first and first[0].shape[-1] > 1 else None


def _page(folder: Path, result: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    inlined = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return render(
        "run/page.html",
        result=result,
        parts=[_part(name, result) for name in ("train", "validation", "test") if result[name]],
        judged_on=judged_on(result),
        protocol=result.get("protocol", []),
        told=told(result),
        confusions=confusions(folder, most=MOST_CONFUSIONS) if result["test"] else [],
        pictures=[(name, title, inlined[name]) for name, title in TITLES.items() if name in inlined],
        layers=[layer for layer in result["layers"] if layer["is_executed"]],
        unused=[layer["name"] for layer in result["layers"] if not layer["is_executed"] and layer["params"]],
        recipe=(folder / "recipe.toml").read_text(encoding="utf-8"),
        environment=json.loads((folder / "environment.json").read_text(encoding="utf-8")),
    )


def _part(name: str, result: Mapping[str, Any]) -> Part:
    """Images that a protocol judges the epochs on are called what they are."""
    figures = result[name]
    is_held_out = name != "validation" or judged_on(result) == "validation"
    low, high = wilson(figures["correct"], figures["count"])
    return Part(
        name=name if is_held_out else f"{judged_on(result)}, judged every epoch",
        accuracy=accuracy(figures),
        low=low,
        high=high,
        correct=figures["correct"],
        count=figures["count"],
        loss=figures["loss"],
    )
