"""What a reader must know before believing a comparison: a line for each thing that was not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flyweight.evidence.effect import Effect
from flyweight.evidence.groups import Group
from flyweight.recipe import Change, has_effect, in_words
from flyweight.records.record import FINGERPRINT, HeldOut, RunRecord, SeedPlan
from flyweight.records.results import RunResult
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.records.store import Store

# What changes the last digits of a run, and so its prediction of a few images, without being a change of the recipe.
ROUNDING: Final = (*FINGERPRINT, "memory_format")


def of_runs(baseline: Group[RunRecord], changed: Group[RunRecord], changes: Sequence[Change]) -> tuple[str, ...]:
    """What is odd about either side, and where they ran otherwise than the recipes say."""
    return (*_within(baseline), *_within(changed), *_between(baseline, changed, changes), *other_length(changes))


def other_length(changes: Sequence[Change]) -> list[str]:
    """That one side was trained for longer, where this is not the very thing that was changed."""
    is_alone = not any(has_effect(change) and change.key != "train.epochs" for change in changes)
    longer = [change for change in changes if change.key == "train.epochs" and not is_alone]
    return [f"{in_words(change)}: the effect includes the other length of training" for change in longer]


def _within(group: Group[RunRecord]) -> list[str]:
    """What is odd about one side alone."""
    total = group.n + len(group.diverged)
    found = []
    if group.diverged and group.runs:
        found.append(f"{len(group.diverged)} of {total} seeds of {group.name} diverged; the figures are of the others")
    if group.n_repeats:
        found.append(
            f"{group.name}: {counted(group.n_repeats, 'run')} of seeds that ran again; the newest of a seed counts, "
            "once"
        )
    if group.n_open:
        found.append(f"{group.name}: {counted(group.n_open, 'run')} not over or without a result; left out")
    if len({run.environment.get("code") for run in _all(group)}) > 1:
        found.append(f"the seeds of {group.name} ran on different versions of flyweight's code")
    for name in ROUNDING:
        if len(counts := _counts(group, name)) > 1:
            words = ", ".join(f"{value} ({counted(n, 'run')})" for value, n in sorted(counts.items()))
            found.append(f"the seeds of {group.name} were computed with different {name}: {words}")
    others = sorted({run.other_precision for run in _all(group) if run.other_precision is not None})
    if others:
        wanted = group.first.recipe["train"]["precision"]
        found.append(f"{group.name}: the recipe has precision {wanted}, computed in {' and '.join(others)}")
    return found


def _all(group: Group[RunRecord]) -> tuple[RunRecord, ...]:
    return (*group.runs, *group.diverged)


def _counts(group: Group[RunRecord], name: str) -> Counter[str]:
    """How many runs have each value of a fact of the environment; runs without it, from before, count as unknown."""
    if not any(name in run.environment for run in _all(group)):
        return Counter()
    return Counter(str(run.environment.get(name, "not on record")) for run in _all(group))


def _between(baseline: Group[RunRecord], changed: Group[RunRecord], changes: Sequence[Change]) -> list[str]:
    """Where the two sides ran otherwise without being asked to."""
    found = []
    if baseline.first.split_hash != changed.first.split_hash:
        found.append("they were trained on different splits: the images that one held out, the other may have learnt")
    for name in ROUNDING:
        ours, theirs = (sorted(_counts(group, name)) for group in (baseline, changed))
        # The precision can be the very change that is compared.
        if ours != theirs and not (name == "precision" and any(change.key == "train.precision" for change in changes)):
            found.append(f"{name} differ: {_or_unknown(ours)} and {_or_unknown(theirs)}; the last digits may too")
    return found


def without_figures(group: Group[RunRecord], results: Sequence[RunResult]) -> tuple[str, ...]:
    """That bytes and memory are those of some runs only; results: the figures that could be read of the group."""
    lacking = group.n + len(group.diverged) - len(results)
    if not lacking:
        return ()
    return (f"{group.name}: {counted(lacking, 'run')} without readable figures; its bytes are of the others",)


def planned(plan: SeedPlan | None, effect: Effect | None) -> tuple[str, ...]:
    """That seeds were added until the result was clear, which makes every single test worth less."""
    if plan is None or effect is None:
        return ()
    last = max(plan.looks[-1])
    planned = f"{counted(len(plan.looks), 'planned test')}, threshold p <= {plan.level:.3g}"
    n = max(effect.n_a, effect.n_b)
    end = "; these are more seeds than planned" if n > last else "; the plan has come to its end" if n == last else ""
    return (planned + end,)


def planned_elsewhere(
    store: Store, baseline: Group[RunRecord], changed: Group[RunRecord], part: HeldOut
) -> tuple[str, ...]:
    """That the number of seeds was decided by looking at the other images."""
    ours, theirs = baseline.first, changed.first
    other: HeldOut = "validation" if part == "test" else "test"
    if store.notebook.plan(ours.recipe_hash, theirs.recipe_hash, data_hash=ours.data_hash, part=other) is None:
        return ()
    return (f"seeds were added by a plan that looked at the {other} images; it does not hold for these",)


def _or_unknown(values: Sequence[str]) -> str:
    return " or ".join(values) or "not on record"
