"""Two results beside each other: what differs in what was asked, what it costs and what it gives, and how sure that is.

Goes in: groups of runs on record, and their folders. Comes out: one value with the verdict, recomputed every time.
Needs neither torch nor the images.
"""

from __future__ import annotations

import html
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flyweight.errors import DataError, UsageError
from flyweight.evidence.ablation import ablation_path
from flyweight.evidence.caveats import of_runs, planned, planned_elsewhere, without_figures
from flyweight.evidence.effect import (
    Bootstrapped,
    Effect,
    McNemar,
    Permuted,
    bootstrap,
    difference,
    mcnemar,
    permutation,
)
from flyweight.evidence.groups import Group
from flyweight.evidence.integrity import changed_files, require_figures
from flyweight.evidence.power import seeds_needed, smallest_effect
from flyweight.evidence.predictions import CorrectByRun, correct_by_run
from flyweight.evidence.verdict import LEVEL, Outlook, Verdict, judge, p_value
from flyweight.recipe import Change, Recipe, diff_stored, factor, has_effect, in_words
from flyweight.records.record import HeldOut, RunRecord, SeedPlan
from flyweight.records.results import RunResult

if TYPE_CHECKING:
    from flyweight.records.store import Store

MOST_IMAGES: Final = 40
FEWEST_PAIRS_TO_PERMUTE: Final = 6  # five pairs cannot give a p below 0.05


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One cost of both sides; None where it is not on record."""

    name: str
    unit: str
    baseline: float | None
    changed: float | None


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """An image that one side classifies right more often than the other, with the share of seeds that do."""

    index: int
    label: int
    baseline: float
    changed: float


@dataclass(frozen=True, kw_only=True)
class ImageEvidence:
    """Both sides on the same images.

    gained, lost: how many images the changed side reads in most of its seeds and the baseline does not, and the
    other way round. differing: the clearest of them. mcnemar: of two single runs. bootstrap: of two groups.
    """

    gained: int
    lost: int
    differing: tuple[ImageDifference, ...]
    mcnemar: McNemar | None
    bootstrap: Bootstrapped | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that can be said of two results; `verdict` sums it up.

    effect: accuracy of the changed side less that of the baseline, as a fraction, on the images of `part`.
    level: the p below which the effect counts as shown; lower than 0.05 where seeds were added by a plan.
    images: None where predictions are missing; `caveats` says which.
    ablation_path: recipes between the two, each one change further, to show what each of several changes did.
    """

    part: HeldOut
    baseline: Group[RunRecord]
    changed: Group[RunRecord]
    changes: tuple[Change, ...]
    cost: tuple[CostLine, ...]
    effect: Effect | None
    level: float
    plan: SeedPlan | None
    permutation: Permuted | None
    images: ImageEvidence | None
    outlook: Outlook | None
    caveats: tuple[str, ...]
    ablation_path: tuple[Recipe, ...]
    verdict: Verdict

    @property
    def is_settled(self) -> bool:
        """Whether the effect is shown, whatever its cause."""
        return self.effect is not None and self.effect.p is not None and self.effect.p <= self.level

    def names(self) -> tuple[str, str]:
        """What both sides are called; where they share a name, the changed one says what is different."""
        ours, theirs = self.baseline.name, self.changed.name
        if ours == theirs and self.changes:
            theirs = f"{theirs} with {in_words(self.changes[0])}" + (" ..." if len(self.changes) > 1 else "")
        return ours, theirs

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "part": self.part,
            "baseline": side_as_dict(self.baseline, self.part),
            "changed": side_as_dict(self.changed, self.part),
            "changes": [asdict(change) for change in self.changes],
            "cost": [asdict(line) for line in self.cost],
            "effect": None if self.effect is None else asdict(self.effect),
            "level": self.level,
            "plan": None if self.plan is None else self.plan.looks,
            "permutation": None if self.permutation is None else asdict(self.permutation),
            "images": None if self.images is None else asdict(self.images),
            "outlook": None if self.outlook is None else asdict(self.outlook),
            "caveats": list(self.caveats),
            "ablation_path": [recipe.model_dump(mode="json") for recipe in self.ablation_path],
            "verdict": asdict(self.verdict),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: both sides, the changes, the verdict."""
        rows = [
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(spread(group, self.part))}</td></tr>"
            for name, group in zip(self.names(), (self.baseline, self.changed), strict=True)
        ]
        changes = html.escape(", ".join(map(in_words, self.changes)) or "nothing")
        caveats = "".join(f"<li>{html.escape(caveat)}</li>" for caveat in self.caveats)
        return (
            f"<table><thead><tr><th>recipe</th><th>{self.part} accuracy</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>"
            f"<p>changed: {changes}</p><p><b>{html.escape(self.verdict.sentence)}</b></p>"
            + (f"<ul>{caveats}</ul>" if caveats else "")
        )


def compare(
    store: Store, baseline: Group[RunRecord], changed: Group[RunRecord], *, part: HeldOut = "test"
) -> Comparison:
    """Hold two results against each other on the same images.

    Raises:
        UsageError: results on other images, which no figure can compare, or a result compared with itself.
        DataError: figures in the database that are not those of the files of their run.
    """
    _require_comparable(baseline, changed, part)
    for group in (baseline, changed):
        require_figures((*group.runs, *group.diverged), store)
    changes = diff_stored(baseline.first.recipe, changed.first.recipe)
    plan = store.notebook.plan(
        baseline.first.recipe_hash, changed.first.recipe_hash, data_hash=baseline.first.data_hash, part=part
    )
    level = LEVEL if plan is None else plan.level
    effect = _effect(baseline, changed, part, level)
    outlook = _outlook(effect, level)
    results = _results(store, baseline), _results(store, changed)
    images, missing = _image_evidence(store, baseline, changed, part, level)
    factors = tuple(dict.fromkeys(factor(change.key) for change in changes if has_effect(change)))
    between = ablation_path(changed.first.recipe, changes) if len(factors) > 1 else ()
    verdict = _verdict(effect, baseline, changed, level=level, factors=factors, outlook=outlook, images=images)
    if verdict.kind == "confounded" and between:
        verdict = replace(verdict, sentence=f"{verdict.sentence}; to credit one, run {_counted(len(between))} between")
    return Comparison(
        part=part,
        baseline=baseline,
        changed=changed,
        changes=changes,
        cost=_cost(baseline, changed, results),
        effect=effect,
        level=level,
        plan=plan,
        permutation=_permutation(baseline, changed, part),
        images=images,
        outlook=outlook,
        caveats=(
            *of_runs(baseline, changed, changes),
            *planned(plan, effect),
            *planned_elsewhere(store, baseline, changed, part),
            *without_figures(baseline, results[0]),
            *without_figures(changed, results[1]),
            *missing,
            *_changed_files(store, baseline),
            *_changed_files(store, changed),
        ),
        ablation_path=between,
        verdict=verdict,
    )


def spread(group: Group[Any], part: HeldOut) -> str:
    """Mean and spread of a group in percent, or what it has instead.

    One seed has no spread, and a group that diverged or left the test images closed no figure.
    """
    found = group.summary(part)
    if found is None and group.runs:
        return "not opened"
    if found is None:
        return f"{len(group.diverged)} of {len(group.diverged)} seeds diverged"
    if found.sd is None:
        return f"{found.mean:.2%} (n=1)"
    return f"{100 * found.mean:.2f} ± {found.sd:.2%} (n={found.n})"


def side_as_dict(group: Group[Any], part: HeldOut) -> dict[str, Any]:
    """One side of a comparison as plain values."""
    found = group.summary(part)
    return {
        "name": group.name,
        "recipe_hash": group.first.recipe_hash,
        "runs": [run.id for run in group.runs],
        "seeds": list(group.seeds),
        "accuracies": group.accuracies(part),
        "diverged": [run.id for run in group.diverged],
        "summary": None if found is None else asdict(found),
    }


def _require_comparable(baseline: Group[RunRecord], changed: Group[RunRecord], part: HeldOut) -> None:
    ours, theirs = baseline.first, changed.first
    if ours.data_hash != theirs.data_hash:
        raise UsageError(
            f"two results must be measured on the same images, found {ours.data_name} (hash {ours.data_hash[:12]}) and "
            f"{theirs.data_name} (hash {theirs.data_hash[:12]}); train one of the recipes on the other's."
        )
    for group in (baseline, changed):
        if part == "validation" and group.first.recipe.get("data", {}).get("validation") == 0:
            raise UsageError(
                f"{group.name} was trained on all training images (data.validation is 0), so it has no validation "
                "accuracy; compare on the test images, or train it with images held out."
            )
    if part == "validation" and ours.split_hash != theirs.split_hash:
        raise UsageError(
            "two results must be validated on the same images, found two splits (data.validation or data.split_seed "
            "differ); compare them on the test images, or train one with the other's split."
        )
    closed = [group.name for group in (baseline, changed) if group.runs and not group.accuracies(part)]
    if closed:
        raise UsageError(
            f"the {part} images were not opened for {' and '.join(closed)}; compare on the validation images: "
            "--on validation"
        )
    if ours.recipe_hash == theirs.recipe_hash and ours.split_hash == theirs.split_hash:
        raise UsageError(
            f"a comparison needs two recipes, found {baseline.name} on both sides: its runs are seeds of one result; "
            "`flyweight journal` shows it."
        )


def _effect(baseline: Group[RunRecord], changed: Group[RunRecord], part: HeldOut, level: float) -> Effect | None:
    """The effect with the interval that belongs to the level, so that the two never disagree."""
    ours, theirs = baseline.accuracies(part), changed.accuracies(part)
    if not ours or not theirs:
        return None
    return difference(ours, theirs, resolution=1 / baseline.count(part), confidence=1 - level)


def _permutation(baseline: Group[RunRecord], changed: Group[RunRecord], part: HeldOut) -> Permuted | None:
    ours, theirs = baseline.accuracies(part), changed.accuracies(part)
    if min(len(ours), len(theirs)) < 2:
        return None
    paired = baseline.seeds == changed.seeds and len(ours) >= FEWEST_PAIRS_TO_PERMUTE
    return permutation(ours, theirs, paired=paired, generator=np.random.default_rng(0))


def _outlook(effect: Effect | None, level: float) -> Outlook | None:
    """What the seeds at hand can show, and how many would show half as much."""
    if effect is None or not effect.sd:
        return None
    n = min(effect.n_a, effect.n_b)
    shows = smallest_effect(effect.sd, n, alpha=level)
    known = effect.n_a + effect.n_b - 2
    more = None if shows is None else seeds_needed(shows / 2, effect.sd, degrees_of_freedom=known, alpha=level)
    return None if shows is None or more is None else Outlook(n=n, shows=shows, more=more, more_shows=shows / 2)


def _verdict(
    effect: Effect | None,
    baseline: Group[RunRecord],
    changed: Group[RunRecord],
    *,
    level: float,
    factors: Sequence[str],
    outlook: Outlook | None,
    images: ImageEvidence | None,
) -> Verdict:
    if effect is None:
        sides = {"the baseline": baseline, "the changed side": changed}
        gone = " and of ".join(side for side, group in sides.items() if not group.runs)
        return Verdict(kind="diverged", sentence=f"diverged: no seed of {gone} has a figure to compare")
    found = judge(effect, p=effect.p, level=level, factors=factors, outlook=outlook)
    if found.kind == "one seed" and images is not None and images.mcnemar is not None:
        return replace(found, sentence=f"{found.sentence}; {_two_nets(images.mcnemar)}")
    if found.kind == "no evidence" and len(factors) > 1:
        return replace(found, sentence=f"{found.sentence}; {', '.join(factors)} changed together")
    return found


def _two_nets(found: McNemar) -> str:
    """What the images say about two single nets, which is less than anything about their recipes."""
    differ = "these two nets differ" if found.p <= LEVEL else "these two nets cannot be distinguished"
    return f"{differ} on these images (exact McNemar test, {p_value(found.p)})"


def _cost(
    baseline: Group[RunRecord], changed: Group[RunRecord], results: tuple[Sequence[RunResult], Sequence[RunResult]]
) -> tuple[CostLine, ...]:
    ours, theirs = results
    lines = [
        CostLine(name="parameters", unit="", baseline=baseline.first.params, changed=changed.first.params),
        CostLine(name="MACs", unit="", baseline=baseline.first.macs, changed=changed.first.macs),
    ]
    lines += [
        CostLine(name=name, unit="bytes", baseline=_median(ours, key), changed=_median(theirs, key))
        for name, key in (
            ("weights", "flash_bytes"),
            ("activations", "activation_bytes"),
            ("training memory", "peak_memory_bytes"),
        )
    ]
    seconds = [[run.train_seconds for run in group.runs if run.train_seconds] for group in (baseline, changed)]
    medians = [statistics.median(found) if found else None for found in seconds]
    lines.append(CostLine(name="training a seed", unit="s", baseline=medians[0], changed=medians[1]))
    return tuple(lines)


def _results(store: Store, group: Group[RunRecord]) -> list[RunResult]:
    """The figures of the run folders that are here."""
    found: list[RunResult] = []
    for run in (*group.runs, *group.diverged):
        try:
            found.append(store.folder(run.id).result())
        except DataError:
            continue
    return found


def _changed_files(store: Store, group: Group[RunRecord]) -> tuple[str, ...]:
    """Files of the folders that are here and were changed since their run ended."""
    folders = [store.folder(run.id) for run in (*group.runs, *group.diverged)]
    return tuple(fault for folder in folders if folder.has("checksums") for fault in changed_files(folder))


def _median(results: Sequence[RunResult], name: str) -> float | None:
    found = [float(value) for result in results if (value := getattr(result, name)) is not None]
    return statistics.median(found) if found else None


def _image_evidence(
    store: Store, baseline: Group[RunRecord], changed: Group[RunRecord], part: HeldOut, level: float
) -> tuple[ImageEvidence | None, tuple[str, ...]]:
    """What the images say, or the caveat that says what is not known."""
    if not baseline.runs or not changed.runs:
        return None, ()
    try:
        folders = [store.folder(run.id) for group in (baseline, changed) for run in group.runs]
        both = correct_by_run(folders, part)
    except DataError as error:
        lacking = "no list of images that differ and no bootstrap; the effect over seeds needs none"
        return None, (f"{lacking}: {error}",)
    n = baseline.n
    return _on_images(replace(both, correct=both.correct[:n]), replace(both, correct=both.correct[n:]), level), ()


def _on_images(ours: CorrectByRun, theirs: CorrectByRun, level: float) -> ImageEvidence:
    shares = ours.correct.mean(0), theirs.correct.mean(0)
    gained, lost = (shares[1] > 0.5) & (shares[0] < 0.5), (shares[0] > 0.5) & (shares[1] < 0.5)
    apart = np.abs(shares[1] - shares[0]) * (gained | lost)
    clearest = np.argsort(-apart, kind="stable")[: min(MOST_IMAGES, int((gained | lost).sum()))]
    single = len(ours.correct) == len(theirs.correct) == 1
    several = min(len(ours.correct), len(theirs.correct)) > 1
    return ImageEvidence(
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        differing=tuple(
            ImageDifference(
                index=int(index),
                label=int(ours.labels[index]),
                baseline=float(shares[0][index]),
                changed=float(shares[1][index]),
            )
            for index in clearest
        ),
        mcnemar=mcnemar(ours.correct[0], theirs.correct[0]) if single else None,
        bootstrap=bootstrap(ours.correct, theirs.correct, generator=np.random.default_rng(0), confidence=1 - level)
        if several
        else None,
    )


def _counted(n: int) -> str:
    return "the recipe" if n == 1 else f"the {n} recipes"
