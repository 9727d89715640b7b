"""Fix a recipe: examine it, try the first remedy, keep it if it helps, and repeat.

In: a recipe. Out: a recipe, and each step with its trial. A function that examines finds faults and remedies;
`try_remedy` decides whether one helps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from flyweight.diagnose.trial import cleanly_evaluated, require_seeds, shortened, try_remedy, untried
from flyweight.diagnose.trial_record import Trial
from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Diagnosis, Finding, Remedy
from flyweight.errors import OverBudgetError, UsageError, in_one_line, require_counts
from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.executor import Executor
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import ResolvedRecipe, canonical_hash
from flyweight.recipe import Recipe, diff, override, recipe_hash
from flyweight.recipe.difference import CLEAN
from flyweight.records.record import OVER

if TYPE_CHECKING:
    from flyweight.records.store import Store

MAX_STEPS: Final = 8

Examine = Callable[[Recipe], Diagnosis]


@dataclass(frozen=True, kw_only=True)
class FixStep:
    """One remedy that was tried, or several together. recipe: after this step; line: the result.

    trial: None if it could not be trained.
    """

    findings: tuple[Finding, ...]
    trial: Trial | None
    recipe: Recipe
    line: str

    @property
    def remedy(self) -> Remedy:
        """All changes that were tried, as one remedy."""
        return together(self.findings)

    @property
    def has_helped(self) -> bool:
        return self.trial is not None and self.trial.has_helped


@dataclass(frozen=True, kw_only=True)
class FixOutcome:
    """The result of a fix. is_done: there is nothing left to try; False if it was stopped before.

    left: the alarms of the last recipe.
    """

    start: Recipe
    recipe: Recipe
    steps: tuple[FixStep, ...]
    left: tuple[Finding, ...]
    is_done: bool


@in_one_line
def fix_recipe(
    recipe: Recipe,
    *,
    store: Store,
    examine: Examine | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    is_full: bool = False,
    max_steps: int = MAX_STEPS,
    executor: Executor = AUTOMATIC,
    on_step: Callable[[FixStep], None] = ignore,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> FixOutcome:
    """Fix a recipe step by step; `on_step` is called after each trial.

    Remedies are tried one at a time in the order of the alarms, and kept if they help (see `try_remedy`). After a
    change the recipe is examined again, and remedies that failed before are tried again after all others. If no remedy
    for accuracy helps alone, they are tried together: one fault can hide the effect of fixing another. Changes of the
    protocol come last, in one step, because the trained net then shows best how the reported figures differ. The same
    two recipes are never compared twice, and no remedy leads back to an earlier recipe.

    max_steps: limit of steps that train something new; changes of the protocol do not count. examine: default
    `examiner(store)`.

    Raises:
        UsageError: fewer than two seeds, or no step.
        RecipeError, OverBudgetError: the recipe cannot be trained.
    """
    require_counts(seed=first_seed, max_steps=max_steps)
    require_seeds(seeds)
    resolved = plan(recipe).require()
    trial_of = functools.partial(
        try_remedy,
        store=store,
        seeds=seeds,
        first_seed=first_seed,
        is_full=is_full,
        executor=executor,
        watch=watch,
        should_stop=should_stop,
    )
    search = _Search(recipe, resolved, examine or examiner(store, first_seed=first_seed), is_full=is_full)
    steps, n_counted = list[FixStep](), 0
    while not should_stop():
        findings = search.next_try(only_switches=n_counted >= max_steps)
        if not findings:
            break
        over = {run.id for run in store.runs(purpose="all") if run.status in OVER}
        step = _step(search.recipe, findings, trial_of)
        if step is None:
            break
        n_counted += _counts(step, is_switch=_is_switch(search.recipe, findings), over=over)
        steps.append(step)
        on_step(step)
        search.go(step)
    is_done = not search.next_try()
    return FixOutcome(start=recipe, recipe=search.recipe, steps=tuple(steps), left=search.alarms, is_done=is_done)


def examiner(store: Store, *, first_seed: int = 0) -> Examine:
    """The default way to examine a recipe: its newest ended run, else the recipe with its probes.

    The runs of a full trial are runs of the recipe, so they are used after the first step. Those of a short trial are
    not: with so few images they show faults of their own, such as overfitting and too few updates.
    """

    def examine(recipe: Recipe) -> Diagnosis:
        from flyweight.diagnose.examine import examine_run
        from flyweight.diagnose.probes.collect import probe
        from flyweight.diagnose.subjects import subject_of_recipe

        over = [run for run in store.runs(recipe_hash=canonical_hash(recipe), purpose="all") if run.status in OVER]
        if over:
            return examine_run(over[0].id, store).diagnosis
        found = probe(recipe, seed=first_seed)
        return diagnose(replace(subject_of_recipe(recipe), images=found.images, reads=found.reads, start=found.start))

    return examine


class _Search:
    """The state of a fix: the present recipe and what was tried. Chooses the next trial, but does not run it."""

    def __init__(self, recipe: Recipe, resolved: ResolvedRecipe, examine: Examine, *, is_full: bool) -> None:
        self.recipe = recipe
        self.alarms = examine(recipe).alarms
        self._examine = examine
        self._is_full = is_full
        self._source = resolved.source
        self._left = set(_marks(recipe))  # every recipe so far
        self._tried: dict[Hashable, bool] = {}  # by the compared recipes: whether they were trained
        self._codes: set[str] = set()  # of all findings that were tried

    def next_try(self, *, only_switches: bool = False) -> tuple[Finding, ...]:
        """The findings whose remedies are tried next, together; empty if all were tried.

        only_switches: only changes of the protocol.
        """
        candidates = self._switches() if only_switches else (*self._remedies(), *self._switches())
        return next((one for one in candidates if not self._is_known(one)), ())

    def go(self, step: FixStep) -> None:
        """Record a step, and continue with its recipe if it helped."""
        self._tried[self._compared(step.findings)] = step.trial is not None
        self._codes |= {one.code for one in step.findings}
        if not step.has_helped:
            return
        self.recipe = step.recipe
        self._left |= set(_marks(step.recipe))
        self.alarms = self._examine(step.recipe).alarms

    def _remedies(self) -> Iterator[tuple[Finding, ...]]:
        """Each remedy alone, then those that failed: the first two together, the first three, and so on.

        New remedies come before those that failed on an earlier recipe. Combinations are in the order of the alarms.
        """
        remedies = [one for one in self.alarms if one.remedy is not None and not _is_switch(self.recipe, [one])]
        yield from ((one,) for one in sorted(remedies, key=lambda one: one.code in self._codes))
        apart = self._apart([one for one in remedies if self._has_failed(one)])
        yield from (apart[:count] for count in range(2, len(apart) + 1))

    def _has_failed(self, finding: Finding) -> bool:
        """Whether a remedy for accuracy was trained alone on the present recipe and not kept."""
        return together([finding]).gain == "accuracy" and self._tried.get(self._compared([finding]), False)

    def _switches(self) -> Iterator[tuple[Finding, ...]]:
        """Changes of the protocol: all together, or one by one if that fails."""
        switches = [one for one in self.alarms if one.remedy is not None and _is_switch(self.recipe, [one])]
        yield self._apart(switches)
        yield from ((one,) for one in switches)

    def _apart(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """The findings whose remedies change no key that an earlier one changes."""
        found, keys = list[Finding](), set[str]()
        for one in findings:
            own = _keys(self.recipe, [one])
            if keys.isdisjoint(own):
                found.append(one)
                keys |= own
        return tuple(found)

    def _is_known(self, findings: Sequence[Finding]) -> bool:
        """Whether there is nothing to try, it was tried already, or it leads back to an earlier recipe."""
        if not findings or self._compared(findings) in self._tried:
            return True
        changed = _changed(self.recipe, findings)
        if changed is None:
            return False
        reported, trained = _marks(changed)
        return (reported if together(findings).gain == "honesty" else trained) in self._left

    def _compared(self, findings: Sequence[Finding]) -> Hashable:
        """Key of a trial: the two recipes as they are trained, or the two protocols.

        A remedy whose changes are invalid is identified by them.
        """
        remedy, changed = together(findings), _changed(self.recipe, findings)
        if changed is None:
            return recipe_hash(self.recipe), remedy.changes
        if remedy.gain == "honesty":
            return remedy.gain, recipe_hash(self.recipe), recipe_hash(changed)
        arms = (cleanly_evaluated(self.recipe), cleanly_evaluated(changed))
        trained = arms if self._is_full else shortened(arms, self._source.sizes)
        return (remedy.gain, *(canonical_hash(arm, self._source) for arm in trained))


def together(findings: Sequence[Finding]) -> Remedy:
    """The remedies of findings as one; every finding has a remedy."""
    remedies = [one.remedy for one in findings if one.remedy is not None]
    return Remedy(
        changes=tuple(change for one in remedies for change in one.changes),
        gain=remedies[0].gain,
        expected=" ".join(one.expected for one in remedies),
    )


def _marks(recipe: Recipe) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two keys of a recipe: with its protocol, and without."""
    return ("reported", recipe_hash(recipe)), ("trained", recipe_hash(cleanly_evaluated(recipe)))


def _changed(recipe: Recipe, findings: Sequence[Finding]) -> Recipe | None:
    """The recipe with the changes of the remedies; None if they are invalid."""
    try:
        return override(recipe, together(findings).changes)
    except UsageError:
        return None


def _keys(recipe: Recipe, findings: Sequence[Finding]) -> set[str]:
    changed = _changed(recipe, findings)
    return set() if changed is None else {change.key for change in diff(recipe, changed)}


def _is_switch(recipe: Recipe, findings: Sequence[Finding]) -> bool:
    """Whether remedies only change the protocol to a clean evaluation."""
    keys = _keys(recipe, findings)
    return bool(keys) and keys <= CLEAN.keys() and together(findings).gain == "honesty"


def _counts(step: FixStep, *, is_switch: bool, over: set[str]) -> bool:
    """Whether a step counts towards max_steps: it trained something new. over: the runs on record before it."""
    if step.trial is None or is_switch:
        return False
    return not step.trial.run_ids or not over.issuperset(step.trial.run_ids)


def _step(
    recipe: Recipe, findings: tuple[Finding, ...], trial_of: Callable[[Recipe, Finding], Trial | None]
) -> FixStep | None:
    """Try remedies; None if stopped. Invalid changes and nets over the budget are noted."""
    try:
        trial = trial_of(recipe, _as_one(findings))
    except (UsageError, OverBudgetError) as error:
        return FixStep(findings=findings, trial=None, recipe=recipe, line=untried(error))
    if trial is None:
        return None
    changed = override(recipe, trial.changes) if trial.has_helped else recipe
    return FixStep(findings=findings, trial=trial, recipe=changed, line=trial.line)


def _as_one(findings: Sequence[Finding]) -> Finding:
    """The findings as one, with all their changes."""
    return replace(findings[0], code=" + ".join(one.code for one in findings), remedy=together(findings))
