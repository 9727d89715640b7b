"""A comparison in words: both sides, what changed, the effect, the cost and the verdict, for a terminal of 80 columns.

Goes in: a `Comparison`. Comes out: text, and the commands and files that go with it; nothing is read or written here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyweight.evidence.compare import Comparison, CostLine, spread
from flyweight.evidence.groups import Group
from flyweight.evidence.verdict import interval, p_value, points
from flyweight.recipe import in_words
from flyweight.records.ids import SHORT_ID
from flyweight.report.rendering import file_name
from flyweight.report.wording import INDENT, hanging, in_points, margin, text_width
from flyweight.tables import display_width, padded, plain

FEWEST_SEEDS: Final = 3  # below, a recipe of the path shows no more than the comparison itself
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
        *_changes(comparison),
        *_effect(comparison),
        *_images(comparison),
        *_cost(comparison),
        ("verdict", comparison.verdict.sentence),
        *(("note", caveat) for caveat in comparison.caveats),
    ]
    return "\n".join(
        [
            *_sides(comparison),
            *(hanging(label, text) for label, text in lines),
            *_ablation(comparison, page, options),
            *_more_seeds(comparison, options),
            *([] if page is None else [margin("files") + str(page)]),
        ]
    )


def newest(group: Group[Any]) -> str:
    """The id of the newest run of a group."""
    found: str = max(run.id for run in (*group.runs, *group.diverged))
    return found


def _sides(comparison: Comparison) -> list[str]:
    """Name and accuracy of both, below each other where they fit."""
    names = [plain(name) for name in comparison.names()]
    figures = [spread(group, comparison.part) for group in (comparison.baseline, comparison.changed)]
    figures[0] += f"  [{comparison.part}]"
    wide = max(map(display_width, names))
    labels = ("baseline", "changed")
    if INDENT + wide + 2 + max(map(display_width, figures)) > text_width():
        return [hanging(label, f"{name}: {figure}") for label, name, figure in zip(labels, names, figures, strict=True)]
    return [
        f"{margin(label)}{padded(name, wide)}  {figure}"
        for label, name, figure in zip(labels, names, figures, strict=True)
    ]


def _changes(comparison: Comparison) -> Lines:
    if not comparison.changes:
        return [("what", "nothing in the recipe; only the split of the images differs")]
    return [("what" if place == 0 else "", in_words(change)) for place, change in enumerate(comparison.changes)]


def _effect(comparison: Comparison) -> Lines:
    effect, images, permuted = comparison.effect, comparison.images, comparison.permutation
    if effect is None:
        return []
    words = f"{points(effect.effect)} on the {count(comparison):,} {comparison.part} images"
    if effect.p is not None:
        words += f", {interval(effect, level=comparison.level)}, {p_value(effect.p)} (Welch's t test over seeds)"
    found = [("effect", words)]
    if images is not None and images.bootstrap is not None:
        reach = range_in_points(images.bootstrap.low, images.bootstrap.high)
        sure = confidence(comparison.level)
        found.append(
            ("elsewhere", f"{reach} points with other seeds on other such images ({sure}, bootstrap over both)")
        )
    if permuted is not None:
        seeds = f"{effect.n_a} and {effect.n_b} seeds"
        found.append(
            ("permuted", f"{p_value(permuted.p)}; the smallest possible with {seeds} is {permuted.smallest_p:.2g}")
        )
    return found


def _images(comparison: Comparison) -> Lines:
    images = comparison.images
    if images is None:
        return []
    if not images.gained and not images.lost:
        return [("images", "both classify the same images correctly")]
    whose = "" if comparison.baseline.n == comparison.changed.n == 1 else " in most seeds"
    return [("images", f"{images.gained:,} newly correct{whose}, {images.lost:,} newly wrong")]


def _cost(comparison: Comparison) -> Lines:
    """What both sides have on record and differ in; and that the nets cost the same."""
    known = {line.name for line in comparison.cost if line.baseline is not None and line.changed is not None}
    costs = [cost for cost in costs_of(comparison.cost) if cost.name in known]
    same = [cost.name for cost in costs if cost.is_same and cost.name in ("parameters", "MACs")]
    costs_words = [f"the same {' and '.join(same)}"] if same else []
    costs_words += [
        f"{cost.name} {cost.baseline} → {cost.changed}" + (f" ({cost.ratio})" if cost.ratio else "")
        for cost in costs
        if not cost.is_same
    ]
    return [("cost" if place == 0 else "", text) for place, text in enumerate(costs_words)]


def _ablation(comparison: Comparison, page: Path | None, options: str) -> list[str]:
    if not comparison.ablation_path:
        return []
    if page is None:
        names = ", ".join(recipe.name for recipe in comparison.ablation_path)
        return [hanging("try", f"the recipes between the two, to see what each change did: {names}")]
    commands = training_commands(comparison, page.parent, options)
    return [
        hanging("try", "to see what each change did, train the recipes between the two:"),
        *(margin("") + command for command in commands),
    ]


def _more_seeds(comparison: Comparison, options: str) -> list[str]:
    """How to go on where the seeds at hand are too few, unless a plan for more exists."""
    n = max(comparison.baseline.n, comparison.changed.n)
    if comparison.plan is not None or comparison.verdict.kind not in UNANSWERED or n >= ENOUGH_SEEDS:
        return []
    question = compare_command(*named_sides(comparison), comparison.part)
    return [f"{margin('try')}{question} --until-sure{study_option(comparison)}{options}"]


def study_option(comparison: Comparison) -> str:
    """The study of the changed side as an option, so that what is tried next stands in its journal."""
    study = comparison.changed.oldest.study
    return "" if study is None else f" --study {shlex.quote(study)}"


def confidence(level: float) -> str:
    """How sure an interval is that belongs to a level.

    >>> confidence(0.05), confidence(0.0153)
    ('95%', '98.5%')
    """
    return f"{100 * (1 - level):.3g}%"


def named_sides(comparison: Comparison) -> tuple[str, str]:
    """What both sides are called in a command."""
    return newest(comparison.baseline)[:SHORT_ID], newest(comparison.changed)[:SHORT_ID]


def compare_command(baseline: str, changed: str, part: str) -> str:
    return f"flyweight compare {baseline} {changed}" + ("" if part == "test" else f" --on {part}")


def training_commands(comparison: Comparison, folder: Path, options: str) -> list[str]:
    """The commands that train the recipes between the two."""
    n = max(FEWEST_SEEDS, comparison.baseline.n, comparison.changed.n)
    return [
        f"flyweight train {shlex.quote(str(path))} --seeds {n}{study_option(comparison)}{options}"
        for path in recipe_files(comparison, folder)
    ]


def recipe_files(comparison: Comparison, folder: Path) -> list[Path]:
    """A file for each recipe of the path; the number keeps two of one name apart, and in order."""
    return [
        folder / "recipes" / f"{number}-{file_name(recipe.name)}.toml"
        for number, recipe in enumerate(comparison.ablation_path, 1)
    ]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost of both sides as shown, and how much more the changed one costs, where that is known."""

    name: str
    baseline: str
    changed: str
    ratio: str

    @property
    def is_same(self) -> bool:
        return self.baseline == self.changed


def costs_of(lines: Sequence[CostLine]) -> list[Cost]:
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


def count(comparison: Comparison) -> int:
    return max(comparison.baseline.count(comparison.part), comparison.changed.count(comparison.part))


def range_in_points(low: float, high: float) -> str:
    return f"{in_points(low)} to {in_points(high)}"
