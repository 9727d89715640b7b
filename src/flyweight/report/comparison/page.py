"""A comparison as one self-contained page, with its pictures, its figures as JSON, and the recipes between the two.

Everything is made from records and run folders; what a folder no longer has is left out, and the page says so.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError
from flyweight.evidence.compare import Comparison, ImageDifference, spread
from flyweight.evidence.groups import Group
from flyweight.evidence.stats import wilson
from flyweight.evidence.verdict import interval, p_value
from flyweight.recipe import dumps, has_effect, in_words
from flyweight.records.files import make_folder, write_bytes, write_json, write_text
from flyweight.records.record import RunRecord
from flyweight.report.comparison.text import (
    compare_command,
    confidence,
    costs_of,
    count,
    named_sides,
    newest,
    range_in_points,
    recipe_files,
    training_commands,
)
from flyweight.report.rendering import render, report_links
from flyweight.tables import plain

if TYPE_CHECKING:
    from flyweight.records.store import Store

PAGE: Final = "comparison.html"
PICTURES: Final = ("curves", "images")


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
    pixels = _pixels(store, comparison)
    pictures = _pictures(store, comparison, pixels)
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
        tests=_tests(comparison),
        costs=costs_of(comparison.cost),
        inlined={name: base64.b64encode(pictures.get(name, b"")).decode() for name in PICTURES},
        images_note=_images_note(comparison, pixels),
        seeds=_seeds(store, comparison, folder),
        ablation_path=[
            (path.name, recipe)
            for path, recipe in zip(recipe_files(comparison, folder), comparison.ablation_path, strict=True)
        ],
        training=training_commands(comparison, folder, options),
        again=_again(store, comparison, options),
        between=_between(comparison, folder, options),
    )


def _side(label: str, name: str, group: Group[RunRecord], part: str) -> dict[str, Any]:
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


@dataclass(frozen=True, kw_only=True)
class Test:
    """One way to ask whether the difference is more than chance, with its result and what it means."""

    name: str
    reach: str
    p: str
    means: str


def _tests(comparison: Comparison) -> list[Test]:
    """Every test that could be made, the one of the verdict first."""
    effect, permuted, images = comparison.effect, comparison.permutation, comparison.images
    found = []
    if effect is not None and effect.p is not None:
        found.append(
            Test(
                name="Welch's t test over seeds",
                reach=interval(effect, level=comparison.level),
                p=p_value(effect.p),
                means="Would other seeds of the same recipes differ too? Were the recipes equally good, chance alone "
                f"would part them this far in {_share(effect.p)} of all such comparisons.",
            )
        )
    if permuted is not None:
        found.append(
            Test(
                name="permutation of the seeds",
                reach="",
                p=p_value(permuted.p),
                means="The same question without supposing a bell curve: the results are dealt to the two recipes "
                f"anew, and it is counted how often they part this far. So few seeds can give no p below "
                f"{permuted.smallest_p:.2g}.",
            )
        )
    if images is not None and images.bootstrap is not None:
        resampled = images.bootstrap
        leads = "images" if resampled.images_error > resampled.seeds_error else "seeds"
        more = (
            "more seeds would not settle it, more images would" if leads == "images" else "more seeds make it tighter"
        )
        found.append(
            Test(
                name="bootstrap over images and seeds",
                reach=f"{confidence(comparison.level)} interval {range_in_points(resampled.low, resampled.high)}",
                p="",
                means="Would it hold for other images as well? Images and seeds are drawn anew, thousands of times. "
                f"Most of this width comes from the {leads}: {more}.",
            )
        )
    if images is not None and images.mcnemar is not None:
        nets = images.mcnemar
        found.append(
            Test(
                name="McNemar's exact test of two nets",
                reach="",
                p=p_value(nets.p),
                means="Only the images on which these two nets disagree can distinguish them: the first alone gets "
                f"{nets.only_a} of them, the second {nets.only_b}. It says nothing about other seeds of the recipes.",
            )
        )
    return found


def _share(p: float) -> str:
    """A probability in words that need no statistics.

    >>> _share(0.5), _share(0.012), _share(0.00001)
    ('about 50%', 'about 1.2%', 'less than 0.1%')
    """
    return "less than 0.1%" if p < 0.001 else f"about {p:.0%}" if p >= 0.1 else f"about {p:.1%}"


def _seeds(store: Store, comparison: Comparison, folder: Path) -> list[dict[str, Any]]:
    """A line for each run, with the way to its report from the folder of the page."""
    link = report_links(store, folder)
    is_test = comparison.part == "test"
    return [
        {
            "side": side,
            "seed": run.seed,
            "status": run.status,
            "accuracy": run.test_accuracy if is_test else run.validation_accuracy,
            "correct": run.test_correct if is_test else run.validation_correct,
            "count": run.test_count if is_test else run.validation_count,
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
            found += [f"{train} --seed {first} --seeds {n}{options}" for first, n in _stretches(seeds)]
    return [*found, compare_command(*named_sides(comparison), comparison.part) + options]


def _stretches(seeds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Seeds that follow each other, as the first and how many.

    >>> list(_stretches([0, 2, 3, 4]))
    [(0, 1), (2, 3)]
    """
    starts = [seed for seed in seeds if seed - 1 not in seeds]
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        yield start, sum(start <= seed < end for seed in seeds)


def _between(comparison: Comparison, folder: Path, options: str) -> list[str]:
    """The commands that compare each recipe of the way with the one before it."""
    if not comparison.ablation_path:
        return []
    ours, theirs = named_sides(comparison)
    way = [ours, *(shlex.quote(str(path)) for path in recipe_files(comparison, folder)), theirs]
    return [compare_command(before, after, comparison.part) + options for before, after in pairwise(way)]


def _pictures(store: Store, comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> dict[str, bytes]:
    """PNG files by name, as far as there is something to show."""
    from flyweight.report.run import plots

    found = {}
    sides = [
        (f"{name} (n={group.n})", seeds)
        for name, group in zip(comparison.names(), (comparison.baseline, comparison.changed), strict=True)
        if (seeds := _learned(store, group))
    ]
    if sides:
        found["curves"] = plots.learning(sides)
    if pixels:
        found["images"] = plots.captioned(_blocks(store, comparison, pixels))
    return found


def _learned(store: Store, group: Group[RunRecord]) -> list[dict[int, float]]:
    """Validation accuracy by epoch, seed by seed; of diverged runs only where there are no others."""
    found = [
        {line.epoch: line.validation_accuracy for line in store.epochs(run.id) if line.validation_accuracy is not None}
        for run in (group.runs or group.diverged)
    ]
    return [seed for seed in found if seed]


def _blocks(
    store: Store, comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]
) -> list[tuple[str, list[NDArray[np.uint8]], list[str]]]:
    """What is gained and what is lost, each with its images and what stands above them."""
    assert comparison.images is not None
    names = _class_names(store, comparison)
    n = comparison.baseline.n, comparison.changed.n
    shown = [image for image in comparison.images.differing if image.index in pixels]
    gained = [image for image in shown if image.changed > image.baseline]
    lost = [image for image in shown if image.changed < image.baseline]
    return [
        (heading, [pixels[image.index] for image in some], [_caption(image, n, names) for image in some])
        for heading, some in (
            (f"read now and not before ({len(gained)} of {comparison.images.gained})", gained),
            (f"read before and not now ({len(lost)} of {comparison.images.lost})", lost),
        )
    ]


def _caption(image: ImageDifference, n: tuple[int, int], names: Sequence[str]) -> str:
    """The true class, and how many seeds read it, before and now."""
    name = plain(names[image.label]) if image.label < len(names) else str(image.label)
    before, now = (f"{round(share * of)}/{of}" for share, of in zip((image.baseline, image.changed), n, strict=True))
    return f"{name}\n{before} → {now}"


def _class_names(store: Store, comparison: Comparison) -> tuple[str, ...]:
    """From the first run folder that has them; none if no folder has."""
    for run in _measured(comparison):
        try:
            return store.folder(run.id).result().class_names
        except DataError:
            continue
    return ()


def _pixels(store: Store, comparison: Comparison) -> dict[int, NDArray[np.uint8]]:
    """The images that the sides read differently, by their place in the test set, as far as run folders keep them.

    An image that most seeds of a side misread is likely among the images that one of them kept.
    """
    if comparison.part != "test" or comparison.images is None:
        return {}
    wanted = {image.index for image in comparison.images.differing}
    found: dict[int, NDArray[np.uint8]] = {}
    for run in _measured(comparison):
        if wanted <= found.keys():
            break
        try:
            misread = store.folder(run.id).misread()
        except DataError:
            continue
        indices = map(int, misread.indices)
        found |= {index: image for index, image in zip(indices, misread.images, strict=True) if index in wanted}
    return found


def _measured(comparison: Comparison) -> tuple[RunRecord, ...]:
    return (*comparison.baseline.runs, *comparison.changed.runs)


def _images_note(comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> str:
    """What the picture shows, and which images it should show and cannot."""
    images = comparison.images
    if images is None:
        return "Which images they classify differently is not known; the notes say why."
    if not images.differing:
        return "Most seeds of both read the same images."
    counted = f"{images.gained:,} images are newly correct, {images.lost:,} newly wrong."
    if comparison.part != "test":
        return f"{counted} They cannot be shown: run folders keep images of the test set alone."
    if pixels:
        counted += " Above each: its class, and how many seeds classify it right, before → now; the clearest first."
    missing = len(images.differing) - len(pixels)
    if missing:
        counted += (
            f" {missing} of the clearest {len(images.differing)} cannot be shown: they are not among the 100 most "
            "confident mistakes that a run folder keeps, or a folder is not here."
        )
    return counted
