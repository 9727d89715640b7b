"""The report of a run: its pictures and one self-contained page, made from the files of its folder alone.

It needs neither torch nor the database, so a folder can be copied to any machine and reported there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import in_one_line
from flyweight.evidence.stats import wilson
from flyweight.records.results import SPLITS, RunResult, Split
from flyweight.records.run_folder import RunFolder
from flyweight.records.weights import Weights
from flyweight.report.rendering import render
from flyweight.report.run import plots
from flyweight.report.run.summary import class_rows, confusions, judged_on, reported
from flyweight.report.run.variant import computed

MAX_CONFUSIONS: Final = 6

TITLES: Final = {
    "curves": "Learning curves",
    "confusion": "Confusion matrix",
    "misread": "Misclassified test images",
    "filters": "Filters of the first layer",
}


@in_one_line
def write_report(folder: RunFolder, *, title: str = "") -> Path:
    """Write the pictures of a run (PNG) and the page that shows them into its folder; gives the page.

    title: what the run is called; default: the name of its recipe.

    What the run does not have (a diverged one has no test figures) is left out.

    Raises:
        DataError: a folder without the figures of a run that is over.
    """
    result = folder.result()
    pictures = _pictures(folder, result)
    return folder.write_report(_page(folder, result, pictures, title or result.name), pictures)


def _pictures(folder: RunFolder, result: RunResult) -> dict[str, bytes]:
    """PNG files by name, as far as the run has what they show."""
    found: dict[str, bytes] = {}
    history = folder.history()
    if history:
        found["curves"] = plots.curves(history, judged_on=judged_on(result))
    if result.test is not None:
        names = result.class_names
        found["confusion"] = plots.confusion(folder.predictions("test").confusion(), names)
        found["misread"] = plots.misread(folder.misread(), names)
        filters = _first_filters(folder.weights())
        if filters is not None:
            found["filters"] = plots.filters(filters)
    return found


def _first_filters(weights: Weights) -> NDArray[np.float32] | None:
    """The weights of the first layer, (out, in, height, width), if it is a convolution larger than a pixel."""
    kernels = [tensor for name, tensor in weights.tensors.items() if name.endswith("weight") and tensor.ndim == 4]
    first = [tensor for tensor in kernels if tensor.shape[1] in (1, 3)]
    return first[0] if first and first[0].size and first[0].shape[-1] > 1 else None


def _page(folder: RunFolder, result: RunResult, pictures: Mapping[str, bytes], title: str) -> str:
    inlined = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return render(
        "run/page.html",
        result=result,
        title=title,
        computed=computed(folder),
        splits=[
            (_name(split, result), found, wilson(found.correct, found.count))
            for split in SPLITS
            if (found := result.figures(split)) is not None
        ],
        judged_on=judged_on(result),
        protocol=result.protocol,
        reported=reported(result.reported, judged_on=result.judged_on),
        confusions=_confusions(folder, result),
        classes=sorted(class_rows(folder, result), key=lambda row: (row["recall"] is None, row["recall"] or 0)),
        pictures=[(name, title, inlined[name]) for name, title in TITLES.items() if name in inlined],
        layers=[layer for layer in result.layers if layer["is_executed"]],
        unused=[layer["name"] for layer in result.layers if not layer["is_executed"] and layer["params"]],
        recipe=folder.recipe_text(),
        environment=folder.environment(),
    )


def _confusions(folder: RunFolder, result: RunResult) -> list[tuple[str, str, int]]:
    if result.test is None:
        return []
    return confusions(folder.predictions("test"), result.class_names, n=MAX_CONFUSIONS)


def _name(split: Split, result: RunResult) -> str:
    """Images that a protocol judges the epochs on are called what they are."""
    is_held_out = split != "validation" or judged_on(result) == "validation"
    return split if is_held_out else f"{judged_on(result)}, judged every epoch"
