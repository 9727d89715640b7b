"""A guided walk from a broken recipe to a good one: examine, try what is first, keep it if it helped, and again.

Goes in: a recipe. Comes out: a recipe, and each step with its trial. What is wrong and what would help is up to the
function that examines; whether it helped is up to `try_remedy`.
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
from flyweight.errors import OverBudgetError, UsageError, require_counts
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

MOST_STEPS: Final = 8

Examine = Callable[[Recipe], Diagnosis]


@dataclass(frozen=True, kw_only=True)
class FixStep:
    """A remedy that was tried, or several at once. recipe: from here on; line: what came of it.

    trial: None if it could not be trained.
    """

    findings: tuple[Finding, ...]
    trial: Trial | None
    recipe: Recipe
    line: str

    @property
    def remedy(self) -> Remedy:
        """What was tried: all changes."""
        return together(self.findings)

    @property
    def has_helped(self) -> bool:
        return self.trial is not None and self.trial.has_helped


@dataclass(frozen=True, kw_only=True)
class FixOutcome:
    """The whole walk. is_done: nothing more was found, or nothing of it helped; False where it was stopped before.

    left: the alarms that the last recipe still has.
    """

    start: Recipe
    recipe: Recipe
    steps: tuple[FixStep, ...]
    left: tuple[Finding, ...]
    is_done: bool


def fix_recipe(
    recipe: Recipe,
    *,
    store: Store,
    examine: Examine | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    is_full: bool = False,
    most_steps: int = MOST_STEPS,
    executor: Executor = AUTOMATIC,
    on_step: Callable[[FixStep], None] = ignore,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> FixOutcome:
    """Mend a recipe step by step; `on_step` hears of each remedy when it has been tried.

    Remedies are tried in the order of the alarms, each by itself, and kept if they helped by the rule of their gain.
    After a change everything is examined anew, so remedies of the same key never add up blindly, and what failed before
    is tried again when all else was tried. Where none of those that promise accuracy helps by itself, they are tried at
    once: a fault may hide what mending another gives. What only switches the protocol comes last, in one step, since a
    net that has learnt shows best what was reported otherwise. No two recipes are compared twice, however their
    protocols differ, and a remedy that would lead back to a recipe that was left is not tried.

    most_steps counts what has to be trained for a better or cheaper net: neither protocols, nor what is on record
    already, nor what cannot be trained. `examine` is by default `examiner(store)`.

    Raises:
        UsageError: fewer than two seeds, or no step.
        RecipeError, OverBudgetError: a recipe that could not be trained.
    """
    require_counts(seed=first_seed, most_steps=most_steps)
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
    walk = _Walk(recipe, resolved, examine or examiner(store, first_seed=first_seed), is_full=is_full)
    steps, n_counted = list[FixStep](), 0
    while not should_stop():
        findings = walk.next_try(only_switches=n_counted >= most_steps)
        if not findings:
            break
        over = {run.id for run in store.runs(purpose="all") if run.status in OVER}
        step = _step(walk.recipe, findings, trial_of)
        if step is None:
            break
        n_counted += _counts(step, is_switch=_is_switch(walk.recipe, findings), over=over)
        steps.append(step)
        on_step(step)
        walk.go(step)
    is_done = not walk.next_try()
    return FixOutcome(start=recipe, recipe=walk.recipe, steps=tuple(steps), left=walk.alarms, is_done=is_done)


def examiner(store: Store, *, first_seed: int = 0) -> Examine:
    """What looks at a recipe by default: its newest run if one is over, else the recipe with what can be probed.

    The runs of a full trial are runs of the recipe, so after the first step they are there to be looked at. Those of a
    short trial are not asked: so few images make faults of their own, such as overfitting and too few updates.
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


class _Walk:
    """Where a walk stands, and what it has tried; it chooses what is next, and does nothing of it."""

    def __init__(self, recipe: Recipe, resolved: ResolvedRecipe, examine: Examine, *, is_full: bool) -> None:
        self.recipe = recipe
        self.alarms = examine(recipe).alarms
        self._examine = examine
        self._is_full = is_full
        self._source = resolved.source
        self._left = set(_marks(recipe))  # each recipe that was reached
        self._tried: dict[Hashable, bool] = {}  # by what was compared: whether it was trained
        self._codes: set[str] = set()  # of what was tried on any recipe

    def next_try(self, *, only_switches: bool = False) -> tuple[Finding, ...]:
        """The findings whose remedies are to be tried next, at once; none where all was tried.

        only_switches: only what switches the protocol and nothing else.
        """
        candidates = self._switches() if only_switches else (*self._remedies(), *self._switches())
        return next((one for one in candidates if not self._is_known(one)), ())

    def go(self, step: FixStep) -> None:
        """Note what was tried, and move on to the recipe that came of it."""
        self._tried[self._compared(step.findings)] = step.trial is not None
        self._codes |= {one.code for one in step.findings}
        if not step.has_helped:
            return
        self.recipe = step.recipe
        self._left |= set(_marks(step.recipe))
        self.alarms = self._examine(step.recipe).alarms

    def _remedies(self) -> Iterator[tuple[Finding, ...]]:
        """Each remedy by itself, then those that failed: the first two at once, the first three, and so on.

        What was never tried comes first, then what failed on another recipe. Those at once are taken in the order of
        the alarms: what each gives alone says nothing where faults hide each other.
        """
        remedies = [one for one in self.alarms if one.remedy is not None and not _is_switch(self.recipe, [one])]
        yield from ((one,) for one in sorted(remedies, key=lambda one: one.code in self._codes))
        apart = self._apart([one for one in remedies if self._has_failed(one)])
        yield from (apart[:count] for count in range(2, len(apart) + 1))

    def _has_failed(self, finding: Finding) -> bool:
        """Whether a remedy for a better net was trained by itself on this very recipe; it was not kept."""
        return together([finding]).gain == "accuracy" and self._tried.get(self._compared([finding]), False)

    def _switches(self) -> Iterator[tuple[Finding, ...]]:
        """What switches the protocol: all of it at once, and one by one if that cannot be."""
        switches = [one for one in self.alarms if one.remedy is not None and _is_switch(self.recipe, [one])]
        yield self._apart(switches)
        yield from ((one,) for one in switches)

    def _apart(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Those whose remedies change no key that one before them changes."""
        found, keys = list[Finding](), set[str]()
        for one in findings:
            own = _keys(self.recipe, [one])
            if keys.isdisjoint(own):
                found.append(one)
                keys |= own
        return tuple(found)

    def _is_known(self, findings: Sequence[Finding]) -> bool:
        """Whether there is nothing to try, it was tried, or it would lead back."""
        if not findings or self._compared(findings) in self._tried:
            return True
        changed = _changed(self.recipe, findings)
        if changed is None:
            return False
        reported, trained = _marks(changed)
        return (reported if together(findings).gain == "honesty" else trained) in self._left

    def _compared(self, findings: Sequence[Finding]) -> Hashable:
        """What a trial compares: two recipes as they are trained, or what a protocol reports with a clean evaluation.

        A remedy that leads to no recipe is known by its own words.
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
    """The remedies of findings, which have some, as one."""
    remedies = [one.remedy for one in findings if one.remedy is not None]
    return Remedy(
        changes=tuple(change for one in remedies for change in one.changes),
        gain=remedies[0].gain,
        expected=" ".join(one.expected for one in remedies),
    )


def _marks(recipe: Recipe) -> tuple[tuple[str, str], tuple[str, str]]:
    """What a recipe trains and tells, and what it trains whatever it tells, to know one that was reached before."""
    return ("reported", recipe_hash(recipe)), ("trained", recipe_hash(cleanly_evaluated(recipe)))


def _changed(recipe: Recipe, findings: Sequence[Finding]) -> Recipe | None:
    """The recipe that remedies lead to; None if they lead to none."""
    try:
        return override(recipe, together(findings).changes)
    except UsageError:
        return None


def _keys(recipe: Recipe, findings: Sequence[Finding]) -> set[str]:
    changed = _changed(recipe, findings)
    return set() if changed is None else {change.key for change in diff(recipe, changed)}


def _is_switch(recipe: Recipe, findings: Sequence[Finding]) -> bool:
    """Whether remedies only switch the protocol to a clean evaluation: what they give is known before any run."""
    keys = _keys(recipe, findings)
    return bool(keys) and keys <= CLEAN.keys() and together(findings).gain == "honesty"


def _counts(step: FixStep, *, is_switch: bool, over: set[str]) -> bool:
    """Whether a step is one of the most that there may be. over: the runs that were on record before it."""
    if step.trial is None or is_switch:
        return False
    return not step.trial.run_ids or not over.issuperset(step.trial.run_ids)


def _step(
    recipe: Recipe, findings: tuple[Finding, ...], trial_of: Callable[[Recipe, Finding], Trial | None]
) -> FixStep | None:
    """Remedies tried; None if it was stopped. What makes no recipe, or too dear a net, is noted and left."""
    try:
        trial = trial_of(recipe, _as_one(findings))
    except (UsageError, OverBudgetError) as error:
        return FixStep(findings=findings, trial=None, recipe=recipe, line=untried(error))
    if trial is None:
        return None
    mended = override(recipe, trial.changes) if trial.has_helped else recipe
    return FixStep(findings=findings, trial=trial, recipe=mended, line=trial.line)


def _as_one(findings: Sequence[Finding]) -> Finding:
    """What a trial is asked for: one finding, with all that is to be changed."""
    return replace(findings[0], code=" + ".join(one.code for one in findings), remedy=together(findings))
