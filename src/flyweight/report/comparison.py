"""A comparison in words and on one page: the verdict, what it rests on, and how to look further.

Goes in: a `Comparison`, and the store for what its runs left. Comes out: text of 80 columns, and a folder with the
page, its pictures, and the recipes between the two. Nothing is computed here that a verdict rests on.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError
from flyweight.evidence.compare import Comparison, CostLine, ImageDifference, spread
from flyweight.evidence.groups import Group
from flyweight.evidence.stats import wilson
from flyweight.evidence.verdict import interval, p_value, points
from flyweight.recipe import dumps, has_effect, in_words
from flyweight.records.folder import make_folder, read_result, write_bytes, write_json, write_text
from flyweight.records.record import RunRecord

if TYPE_CHECKING:
    from flyweight.records.store import Store

PAGE: Final = "comparison.html"
PICTURES: Final = ("curves", "images")
REPORT: Final = "report.html"
WIDTH: Final = 80
INDENT: Final = 13
SHORT_ID: Final = 12
LONGEST_FILE_NAME: Final = 60
FEWEST_SEEDS: Final = 3  # below, a bridge would tell no more than the comparison it is to explain
UNANSWERED: Final = ("one seed", "no evidence")
ENOUGH_SEEDS: Final = 10  # what `flyweight compare --until-sure` adds seeds up to

Lines = list[tuple[str, str]]


def comparison_text(comparison: Comparison, *, page: Path | None = None, options: str = "") -> str:
    """Both sides, the changes, the effect, the cost and the verdict, in lines of at most 80 columns.

    Only what cannot be broken is longer: a path, a command, a single word.

    page: what `write_comparison` wrote; with it the files are named and the recipes to try next are commands.
    options: what the commands shown need beside their files, as " --home elsewhere".
    """
    lines: Lines = [
        *_told_changes(comparison),
        *_told_effect(comparison),
        *_told_images(comparison),
        *_told_cost(comparison),
        ("verdict", comparison.verdict.sentence),
        *(("mind", caution) for caution in comparison.cautions),
    ]
    return "\n".join(
        [
            *_told_sides(comparison),
            *(hanging(label, text) for label, text in lines),
            *_told_bridges(comparison, page, options),
            *_told_more_seeds(comparison, options),
            *([] if page is None else [_margin("files") + str(page)]),
        ]
    )


def write_comparison(store: Store, comparison: Comparison, folder: Path | None = None, *, options: str = "") -> Path:
    """Write a comparison's page, pictures, figures and the recipes between the two; gives the page.

    What the run folders no longer have is left out, and the page says so.

    folder: where to; by default named after the newest run of each side, in the home's `comparisons`.
    options: what the commands shown need beside their files, as " --home elsewhere".

    Raises:
        UsageError, MissingError: a folder that cannot be made.
    """
    folder = make_folder(folder or store.home / "comparisons" / "-".join(_sides(comparison)))
    pixels = _pixels(store, comparison)
    pictures = _pictures(store, comparison, pixels)
    for name in PICTURES:
        if name in pictures:
            write_bytes(folder / f"{name}.png", pictures[name])
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier comparison that had it
    for path, recipe in zip(_recipe_files(comparison, folder), comparison.bridges, strict=True):
        write_text(path, dumps(recipe))
    write_json(folder / "comparison.json", comparison.as_dict())
    write_text(folder / PAGE, _page(store, comparison, folder, pictures, pixels, options))
    return folder / PAGE


def newest(group: Group[Any]) -> str:
    """The id of the newest run of a group."""
    found: str = max(run.id for run in (*group.runs, *group.diverged))
    return found


def _told_sides(comparison: Comparison) -> list[str]:
    """Name and accuracy of both, below each other where they fit."""
    names = [plain(name) for name in comparison.names()]
    figures = [spread(group, comparison.part) for group in (comparison.baseline, comparison.changed)]
    figures[0] += f"  [{comparison.part}]"
    wide = max(map(columns, names))
    labels = ("baseline", "changed")
    if INDENT + wide + 2 + max(map(columns, figures)) > WIDTH:
        return [hanging(label, f"{name}: {figure}") for label, name, figure in zip(labels, names, figures, strict=True)]
    return [
        f"{_margin(label)}{padded(name, wide)}  {figure}"
        for label, name, figure in zip(labels, names, figures, strict=True)
    ]


def _told_changes(comparison: Comparison) -> Lines:
    if not comparison.changes:
        return [("what", "nothing in the recipe; the images were split otherwise")]
    return [("what" if place == 0 else "", in_words(change)) for place, change in enumerate(comparison.changes)]


def _told_effect(comparison: Comparison) -> Lines:
    effect, images, permuted = comparison.effect, comparison.images, comparison.permutation
    if effect is None:
        return []
    told = f"{points(effect.effect)} on the {_count(comparison):,} {comparison.part} images"
    if effect.p is not None:
        told += f", {interval(effect, level=comparison.level)}, {p_value(effect.p)} (Welch's t test over seeds)"
    found = [("effect", told)]
    if images is not None and images.bootstrap is not None:
        reach = _reach(images.bootstrap.low, images.bootstrap.high)
        found.append(("elsewhere", f"{reach} points with other seeds on other such images (95%, bootstrap over both)"))
    if permuted is not None:
        seeds = f"{effect.n_a} and {effect.n_b} seeds"
        found.append(("permuted", f"{p_value(permuted.p)}; {seeds} can give no less than {permuted.smallest_p:.2g}"))
    return found


def _told_images(comparison: Comparison) -> Lines:
    images = comparison.images
    if images is None:
        return []
    if not images.gained and not images.lost:
        return [("images", "none is read by one side and not by the other")]
    return [("images", f"{images.gained:,} read now and not before, {images.lost:,} the other way round")]


def _told_cost(comparison: Comparison) -> Lines:
    """What both sides have on record and differ in; that the nets cost the same is told too."""
    known = {line.name for line in comparison.cost if line.baseline is not None and line.changed is not None}
    costs = [cost for cost in _costs(comparison.cost) if cost.name in known]
    same = [cost.name for cost in costs if cost.is_same and cost.name in ("parameters", "MACs")]
    told = [f"the same {' and '.join(same)}"] if same else []
    told += [
        f"{cost.name} {cost.baseline} → {cost.changed}" + (f" ({cost.ratio})" if cost.ratio else "")
        for cost in costs
        if not cost.is_same
    ]
    return [("cost" if place == 0 else "", text) for place, text in enumerate(told)]


def _told_bridges(comparison: Comparison, page: Path | None, options: str) -> list[str]:
    if not comparison.bridges:
        return []
    if page is None:
        names = ", ".join(recipe.name for recipe in comparison.bridges)
        return [hanging("try", f"the recipes between the two, to tell what each change did: {names}")]
    commands = _training(comparison, page.parent, options)
    return [
        hanging("try", "to tell what each change did, train what lies between the two:"),
        *(_margin("") + command for command in commands),
    ]


def _told_more_seeds(comparison: Comparison, options: str) -> list[str]:
    """How to go on where the seeds at hand did not answer, as far as nobody has planned it yet."""
    n = max(comparison.baseline.n, comparison.changed.n)
    if comparison.plan is not None or comparison.verdict.kind not in UNANSWERED or n >= ENOUGH_SEEDS:
        return []
    return [f"{_margin('try')}{_compare(*_sides(comparison), comparison.part)} --until-sure{options}"]


def _sides(comparison: Comparison) -> tuple[str, str]:
    """What both sides are called in a command."""
    return newest(comparison.baseline)[:SHORT_ID], newest(comparison.changed)[:SHORT_ID]


def _compare(baseline: str, changed: str, part: str) -> str:
    return f"flyweight compare {baseline} {changed}" + ("" if part == "test" else f" --on {part}")


def _training(comparison: Comparison, folder: Path, options: str) -> list[str]:
    """The commands that train the recipes between the two."""
    n = max(FEWEST_SEEDS, comparison.baseline.n, comparison.changed.n)
    return [
        f"flyweight train {shlex.quote(str(path))} --seeds {n}{options}" for path in _recipe_files(comparison, folder)
    ]


def _recipe_files(comparison: Comparison, folder: Path) -> list[Path]:
    """A file for each bridge; the number keeps two of one name apart, and in the order of the way."""
    return [
        folder / "recipes" / f"{number}-{file_name(recipe.name)}.toml"
        for number, recipe in enumerate(comparison.bridges, 1)
    ]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost of both sides as shown, and how much more the changed one costs, where that can be told."""

    name: str
    baseline: str
    changed: str
    ratio: str

    @property
    def is_same(self) -> bool:
        return self.baseline == self.changed


def _costs(lines: Sequence[CostLine]) -> list[Cost]:
    """Those that at least one side has on record."""
    return [
        Cost(
            name=line.name,
            baseline=_with_unit(line.baseline, line.unit),
            changed=_with_unit(line.changed, line.unit),
            ratio=_ratio(line.baseline, line.changed),
        )
        for line in lines
        if line.baseline is not None or line.changed is not None
    ]


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "not on record"
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB" if value >= 1e6 else f"{value / 1e3:,.1f} kB"
    return f"{value:,.1f} {unit}" if unit else f"{value:,.0f}"


def _ratio(old: float | None, new: float | None) -> str:
    """By how many per cent; nothing where either is unknown or there was none before."""
    if old is None or new is None or not old:
        return ""
    more = new / old - 1
    return f"{more:+.1%}" if abs(more) < 0.1 else f"{more:+.0%}"


def _count(comparison: Comparison) -> int:
    return max(comparison.baseline.count(comparison.part), comparison.changed.count(comparison.part))


def _reach(low: float, high: float) -> str:
    return f"{in_points(low)} to {in_points(high)}"


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
        "comparison.html",
        comparison=comparison,
        names=names,
        count=_count(comparison),
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
        costs=_costs(comparison.cost),
        inlined={name: base64.b64encode(pictures.get(name, b"")).decode() for name in PICTURES},
        images_note=_images_note(comparison, pixels),
        seeds=_seeds(store, comparison, folder),
        bridges=[
            (path.name, recipe)
            for path, recipe in zip(_recipe_files(comparison, folder), comparison.bridges, strict=True)
        ],
        training=_training(comparison, folder, options),
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
    """One way to ask whether the difference is more than luck, with its answer and what it means."""

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
                f"would part them this far in about {_share(effect.p)} of all such comparisons.",
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
                reach=f"95% interval {_reach(resampled.low, resampled.high)}",
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
                means="Only the images on which these two nets disagree can tell them apart: the first alone reads "
                f"{nets.only_a} of them, the second {nets.only_b}. It says nothing about other seeds of the recipes.",
            )
        )
    return found


def _share(p: float) -> str:
    """A probability in words that need no statistics.

    >>> _share(0.5), _share(0.012), _share(0.00001)
    ('50%', '1.2%', 'less than 0.1%')
    """
    return "less than 0.1%" if p < 0.001 else f"{p:.0%}" if p >= 0.1 else f"{p:.1%}"


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
    """The commands that train both sides again and compare them."""
    found = []
    for group in (comparison.baseline, comparison.changed):
        recipe = store.folder(newest(group)) / "recipe.toml"
        seeds = [run.seed for run in (*group.runs, *group.diverged)]
        if os.path.exists(recipe):
            first = f" --seed {min(seeds)}" if min(seeds) else ""
            found.append(f"flyweight train {shlex.quote(str(recipe))}{first} --seeds {len(seeds)}{options}")
    return [*found, _compare(*_sides(comparison), comparison.part) + options]


def _between(comparison: Comparison, folder: Path, options: str) -> list[str]:
    """The commands that compare each recipe of the way with the one before it."""
    if not comparison.bridges:
        return []
    ours, theirs = _sides(comparison)
    way = [ours, *(shlex.quote(str(path)) for path in _recipe_files(comparison, folder)), theirs]
    return [_compare(before, after, comparison.part) + options for before, after in pairwise(way)]


def _pictures(store: Store, comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> dict[str, bytes]:
    """PNG files by name, as far as there is something to show."""
    from flyweight.report import plots

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


def _class_names(store: Store, comparison: Comparison) -> list[str]:
    """From the first run folder that has them; none if no folder has."""
    for run in _measured(comparison):
        try:
            result = read_result(store.folder(run.id))
        except (DataError, OSError):
            continue
        names = result.get("class_names") if isinstance(result, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return []


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
        found |= {index: image for index, image in _kept(store.folder(run.id)) if index in wanted}
    return found


def _kept(folder: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The misread images of a run folder with their places; none where they are gone or damaged."""
    try:
        # Opened here: of a file that is cut off, numpy leaves its own open.
        with (folder / "misread.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
            images, indices = kept["images"], kept["indices"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError):
        return
    are_images = images.ndim == 4 and images.dtype == np.uint8 and images.shape[1] in (1, 3)
    if are_images and indices.ndim == 1 and len(indices) == len(images) and indices.dtype.kind in "iu":
        yield from zip(map(int, indices), images, strict=True)


def _measured(comparison: Comparison) -> tuple[RunRecord, ...]:
    return (*comparison.baseline.runs, *comparison.changed.runs)


def _images_note(comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> str:
    """What the picture shows, and which images it should show and cannot."""
    images = comparison.images
    if images is None:
        return "Which images they read differently cannot be told; the cautions say why."
    if not images.differing:
        return "Most seeds of both read the same images."
    told = f"{images.gained:,} images are read now and were not before, {images.lost:,} the other way round."
    if comparison.part != "test":
        return f"{told} They cannot be shown: run folders keep images of the test set alone."
    if pixels:
        told += " Above each: what it is, and how many seeds read it, before → now; the clearest first."
    missing = len(images.differing) - len(pixels)
    if missing:
        told += (
            f" {missing} of the clearest {len(images.differing)} cannot be shown: they are not among the 100 most "
            "confident mistakes that a run folder keeps, or a folder is not here."
        )
    return told


def hanging(label: str, text: str) -> str:
    """A label and its text beside it, wrapped at 80 columns; a longer word stays whole."""
    return _margin(label) + f"\n{_margin('')}".join(_wrapped(text, WIDTH - INDENT))


def _margin(label: str) -> str:
    return f"  {label}".ljust(INDENT)


def _wrapped(text: str, width: int) -> list[str]:
    text = plain(text)
    if columns(text) <= width:
        return [text]
    lines: list[list[str]] = [[]]
    used = -1
    for word in text.split(" "):
        if lines[-1] and used + 1 + columns(word) > width:
            lines.append([])
            used = -1
        lines[-1].append(word)
        used += 1 + columns(word)
    return [" ".join(line) for line in lines]


def plain(text: str) -> str:
    """The text in one line, without what could move a terminal's cursor or turn the direction of reading.

    >>> plain("two\\nlines, \\x1b[31mred")
    'two lines, �[31mred'
    """
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def plain_lines(text: str) -> str:
    """The text without the same, its lines kept."""
    return "\n".join(map(plain, text.splitlines()))


def columns(text: str) -> int:
    """How wide a terminal shows it: Chinese and Japanese characters fill two columns, accents none."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def padded(text: str, width: int) -> str:
    """Blanks after a text up to a width in columns."""
    return text + " " * (width - columns(text))


def in_points(effect: float) -> str:
    """A difference of accuracies in percentage points, the number alone.

    >>> in_points(-0.0123)
    '-1.23'
    """
    return points(effect).removesuffix(" points")


def file_name(text: str) -> str:
    """What a file may be called on any system, as like the text as that allows.

    >>> file_name("own/20k-fast"), file_name("../../etc"), file_name("数字")
    ('own-20k-fast', 'etc', 'unnamed')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    return safe[:LONGEST_FILE_NAME].rstrip("-.") or "unnamed"


def report_links(store: Store, folder: Path) -> Callable[[str], str | None]:
    """Gives a function from a run's id to its report as a page in `folder` links to it; None if it has none."""
    runs = os.path.relpath((store.home / "runs").resolve(), folder.resolve())

    def link(run_id: str) -> str | None:
        return quote(f"{runs}/{run_id}/{REPORT}") if os.path.exists(store.folder(run_id) / REPORT) else None

    return link


def render(template: str, **values: Any) -> str:
    """A page of this room, with every value escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flyweight.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["plain_lines"] = plain_lines
    environment.filters["points"] = in_points
    return environment.get_template(template).render(**values)
