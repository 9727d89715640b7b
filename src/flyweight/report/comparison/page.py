"""A comparison as one self-contained page, with its pictures, its figures as JSON, and the recipes between the two.

Everything is made from records and run folders; what a folder no longer has is left out, and the page says so.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import in_one_line
from flyweight.evidence.compare import Comparison, spread
from flyweight.evidence.groups import Group
from flyweight.evidence.stats import wilson
from flyweight.files import make_folder, write_bytes, write_json, write_text
from flyweight.recipe import dumps, has_effect, in_words
from flyweight.records.record import HeldOut, RunRecord
from flyweight.report.comparison.pictures import PICTURES, differing_images, images_note, pictures_of
from flyweight.report.comparison.significance import tests_of
from flyweight.report.comparison.text import (
    compare_command,
    costs_of,
    count,
    named_sides,
    newest,
    recipe_files,
    training_commands,
)
from flyweight.report.rendering import render, report_links
from flyweight.report.wording import stretches

if TYPE_CHECKING:
    from flyweight.records.store import Store

PAGE: Final = "comparison.html"


@in_one_line
def write_comparison(store: Store, comparison: Comparison, folder: Path | None = None, *, options: str = "") -> Path:
    """Write a comparison's page, pictures, figures and the recipes between the two; gives the page.

    What the run folders no longer have is left out, and the page says so.

    folder: where to; by default named after the newest run of each side, in the home's `comparisons`.
    options: what the commands shown need beside their files, as " --home elsewhere".

    Raises:
        UsageError, MissingError: a folder that cannot be made.
    """
    other = () if comparison.part == "test" else (comparison.part,)
    folder = make_folder(folder or store.home / "comparisons" / "-".join((*named_sides(comparison), *other)))
    pixels = differing_images(store, comparison)
    pictures = pictures_of(store, comparison, pixels)
    for name in PICTURES:
        if name in pictures:
            write_bytes(folder / f"{name}.png", pictures[name])
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier comparison that had it
    for path, recipe in zip(recipe_files(comparison, folder), comparison.ablation_path, strict=True):
        write_text(path, dumps(recipe))
    write_json(folder / "comparison.json", comparison.as_dict())
    write_text(folder / PAGE, _page(store, comparison, folder, pictures, pixels, options))
    return folder / PAGE


def _page(
    store: Store,
    comparison: Comparison,
    folder: Path,
    pictures: Mapping[str, bytes],
    pixels: Mapping[int, NDArray[np.uint8]],
    options: str,
) -> str:
    names = comparison.names()
    nets = [change for change in comparison.changes if change.key == "model.net"]
    return render(
        "comparison/page.html",
        comparison=comparison,
        names=names,
        count=count(comparison),
        kind=comparison.verdict.kind.replace(" ", "-"),
        sides=[
            _side(label, name, group, comparison.part)
            for label, name, group in zip(
                ("baseline", "changed"), names, (comparison.baseline, comparison.changed), strict=True
            )
        ],
        changes=[(change.key, in_words(change), has_effect(change)) for change in comparison.changes],
        nets=nets[0] if nets else None,
        tests=tests_of(comparison),
        costs=costs_of(comparison.cost),
        inlined={name: base64.b64encode(pictures.get(name, b"")).decode() for name in PICTURES},
        images_note=images_note(comparison, pixels),
        seeds=_seeds(store, comparison, folder),
        ablation_path=[
            (path.name, recipe)
            for path, recipe in zip(recipe_files(comparison, folder), comparison.ablation_path, strict=True)
        ],
        training=training_commands(comparison, folder, options),
        again=_again(store, comparison, options),
        between=_between(comparison, folder, options),
    )


def _side(label: str, name: str, group: Group[RunRecord], part: HeldOut) -> dict[str, Any]:
    """A line of the table of both sides; the interval is Student's over seeds, Wilson's for a single one."""
    found = group.summary(part)
    low, high = (None, None) if found is None else (found.low, found.high)
    if found is not None and found.n == 1:
        low, high = wilson(round(found.mean * group.count(part)), group.count(part))
    return {
        "label": label,
        "name": name,
        "spread": spread(group, part),
        "summary": found,
        "low": None if low is None else max(low, 0.0),
        "high": None if high is None else min(high, 1.0),
        "n_diverged": len(group.diverged),
    }


def _seeds(store: Store, comparison: Comparison, folder: Path) -> list[dict[str, Any]]:
    """A line for each run, with the way to its report from the folder of the page."""
    link = report_links(store, folder)
    return [
        {
            "side": side,
            "seed": run.seed,
            "status": run.status,
            "figures": run.figures(comparison.part),
            "epochs": run.epochs_done,
            "seconds": run.train_seconds,
            "run": run.id,
            "link": link(run.id),
        }
        for side, group in (("baseline", comparison.baseline), ("changed", comparison.changed))
        for run in (*group.runs, *group.diverged)
    ]


def _again(store: Store, comparison: Comparison, options: str) -> list[str]:
    """The commands that train both sides again, the very seeds, and compare them."""
    found = []
    for group in (comparison.baseline, comparison.changed):
        folder = store.folder(newest(group))
        if folder.has("recipe"):
            seeds = sorted(run.seed for run in (*group.runs, *group.diverged))
            train = f"flyweight train {shlex.quote(str(folder.file('recipe')))}"
            found += [f"{train} --seed {some[0]} --seeds {len(some)}{options}" for some in stretches(seeds, int)]
    return [*found, compare_command(*named_sides(comparison), comparison.part) + options]


def _between(comparison: Comparison, folder: Path, options: str) -> list[str]:
    """The commands that compare each recipe of the way with the one before it."""
    if not comparison.ablation_path:
        return []
    ours, theirs = named_sides(comparison)
    way = [ours, *(shlex.quote(str(path)) for path in recipe_files(comparison, folder)), theirs]
    return [compare_command(before, after, comparison.part) + options for before, after in pairwise(way)]
