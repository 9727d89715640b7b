"""A guided walk from a broken recipe to a good one: examine, try the first remedy, keep it if it helped, and again.

Goes in: a recipe. Comes out: a recipe, and each step with its proof. What is wrong and what would help is up to the
function that examines; whether it helped is up to `prove`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Diagnosis, Finding, Remedy
from flyweight.errors import OverBudgetError, UsageError
from flyweight.evidence.groups import OVER
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import as_recorded, plan, require_counts
from flyweight.experiment.prove import Proof, prove, require_seeds
from flyweight.recipe import Recipe, override, recipe_hash

if TYPE_CHECKING:
    from flyweight.records.store import Store
    from flyweight.train.device import DeviceName

MOST_STEPS: Final = 8

Examine = Callable[[Recipe], Diagnosis]


@dataclass(frozen=True, kw_only=True)
class HealStep:
    """A remedy that was tried. recipe: from here on; line: what came of it. proof: None if it could not be trained."""

    finding: Finding
    proof: Proof | None
    recipe: Recipe
    line: str

    @property
    def has_helped(self) -> bool:
        return self.proof is not None and self.proof.has_helped


@dataclass(frozen=True, kw_only=True)
class Healing:
    """The whole walk. is_done: nothing more was found, or nothing of it helped; False where it was stopped before.

    left: the alarms that the last recipe still has.
    """

    start: Recipe
    recipe: Recipe
    steps: tuple[HealStep, ...]
    left: tuple[Finding, ...]
    is_done: bool


def nobody(_step: HealStep) -> None:
    """Tell nobody."""


def heal(
    recipe: Recipe,
    *,
    store: Store,
    examine: Examine | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    is_full: bool = False,
    most_steps: int = MOST_STEPS,
    device: DeviceName = "auto",
    at_once: int | None = None,
    on_step: Callable[[HealStep], None] = nobody,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> Healing:
    """Mend a recipe step by step; `on_step` hears of each remedy when it has been tried.

    Each time the first alarm with a remedy that was not tried on this very recipe is proved, and kept if it helped by
    the rule of its gain. After a change everything is examined anew, so remedies of the same key never add up blindly,
    and a remedy that would lead back to a recipe that was left is not tried. `examine` is by default `examiner(store)`.

    Raises:
        UsageError: fewer than two seeds, or no step.
        RecipeError, OverBudgetError: a recipe that could not be trained.
    """
    require_counts(seed=first_seed, most_steps=most_steps, at_once=at_once)
    require_seeds(seeds)
    plan(recipe).require()
    look = examine or examiner(store, first_seed=first_seed)
    try_remedy = functools.partial(
        prove,
        store=store,
        seeds=seeds,
        first_seed=first_seed,
        is_full=is_full,
        device=device,
        at_once=at_once,
        watch=watch,
        should_stop=should_stop,
    )
    now, diagnosis, steps = recipe, look(recipe), list[HealStep]()
    known = {recipe_hash(recipe)}
    is_done = False
    while len(steps) < most_steps and not should_stop():
        finding = next((one for one in diagnosis.alarms if one.remedy and _outcome(now, one.remedy) not in known), None)
        if finding is None:
            is_done = True
            break
        step = _step(now, finding, try_remedy)
        if step is None:
            break
        steps.append(step)
        on_step(step)
        known.add(_outcome(now, finding.remedy))
        if step.has_helped:
            now = step.recipe
            diagnosis = look(now)
    return Healing(start=recipe, recipe=now, steps=tuple(steps), left=diagnosis.alarms, is_done=is_done)


def examiner(store: Store, *, first_seed: int = 0) -> Examine:
    """What looks at a recipe by default: its newest run if one is over, else the recipe with what can be probed.

    The runs of a full proof are runs of the recipe, so after the first step they are there to be looked at. Those of a
    short proof are not asked: so few images make faults of their own, such as overfitting and too few updates.
    """

    def examine(recipe: Recipe) -> Diagnosis:
        from flyweight.experiment.examine import case_of_recipe, examine_run
        from flyweight.experiment.probes import probe

        over = [run for run in store.runs(recipe_hash=recipe_hash(as_recorded(recipe))) if run.status in OVER]
        if over:
            return examine_run(over[0].id, store).diagnosis
        found = probe(recipe, seed=first_seed)
        return diagnose(replace(case_of_recipe(recipe), images=found.images, reads=found.reads, start=found.start))

    return examine


def _outcome(recipe: Recipe, remedy: Remedy | None) -> str:
    """The recipe that a remedy leads to, by its hash; one that leads to none, by its own words."""
    changes = remedy.changes if remedy else ()
    try:
        return recipe_hash(override(recipe, changes))
    except UsageError:
        return f"{recipe_hash(recipe)} with {changes}"


def _step(recipe: Recipe, finding: Finding, try_remedy: Callable[[Recipe, Finding], Proof | None]) -> HealStep | None:
    """A remedy tried; None if it was stopped. One that makes no recipe, or too dear a net, is told and left."""
    try:
        proof = try_remedy(recipe, finding)
    except (UsageError, OverBudgetError) as error:
        told = " ".join(str(error).split())
        return HealStep(finding=finding, proof=None, recipe=recipe, line=f"cannot be tried: {told}")
    if proof is None:
        return None
    mended = override(recipe, proof.changes) if proof.has_helped else recipe
    return HealStep(finding=finding, proof=proof, recipe=mended, line=proof.line)
