"""More seeds for two recipes until their difference is shown, or as many as were planned have been looked at.

How often to look and how small p must be is decided and kept before anything is trained for it: looking at p < 0.05
after every seed would find a difference in nothing far more often than in 5 % of the cases (Pocock 1977).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from flyweight.errors import UsageError
from flyweight.evidence.compare import Comparison
from flyweight.evidence.compare import compare as compare_groups
from flyweight.evidence.groups import Group, groups
from flyweight.evidence.sequential import sequential_level
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan, require_counts
from flyweight.recipe import Recipe, recipe_hash
from flyweight.records.record import RESULTS, Part, Plan, RunRecord
from flyweight.studies.results import find, named_recipe

if TYPE_CHECKING:
    from flyweight.records.store import Store
    from flyweight.train.device import DeviceName

FIRST_LOOK: Final = 3  # seeds a side at least: with two, the spread is hardly known
DEFAULT_MOST: Final = 10


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look of so many that are left, and what was seen; `was_stopped` if it is none, for want of seeds."""

    number: int
    of: int
    comparison: Comparison
    was_stopped: bool = False


def nobody(_look: Look) -> None:
    """Tell nobody."""


def until_sure(
    baseline: str,
    changed: str,
    *,
    store: Store,
    part: Part = "test",
    study: str | None = None,
    max_seeds: int | None = None,
    device: DeviceName = "auto",
    at_once: int | None = None,
    watch: Callable[[Event], None] = ignore,
    told: Callable[[Look], None] = nobody,
    should_stop: Callable[[], bool] = never,
) -> Comparison | None:
    """Compare two recipes, training seeds of both until the answer is clear or each side has `max_seeds` (10).

    Both may have runs on record or none yet. Asked again, it goes on with the plan that was made the first time.
    `told` hears of each look; new runs belong to `study`. None is returned if it was stopped before there was
    anything to compare.

    Raises:
        UsageError: recipes that cannot be compared, a limit below what is on record, or one beyond the plan's.
    """
    require_counts(max_seeds=max_seeds, at_once=at_once)
    sides = tuple(_side(selector, store) for selector in (baseline, changed))
    looks = _looks(store, sides, part=part, most=max_seeds)
    if sides[1].parent_hash is None and not _n(sides[1], store):
        # Of two new recipes the changed one comes from the baseline; a journal cannot tell it from who began first.
        sides = (sides[0], replace(sides[1], parent_hash=sides[0].hash))
    comparison: Comparison | None = None
    for number, look in enumerate(looks, start=1):
        if not should_stop():
            _grow(sides, look, store, study, device=device, at_once=at_once, watch=watch, should_stop=should_stop)
        ours, theirs = (_measured(side, store) for side in sides)
        if ours is None or theirs is None:
            break
        comparison = compare_groups(store, ours, theirs, part=part)
        was_stopped = should_stop() and (ours.n, theirs.n) != look
        told(Look(number=number, of=len(looks), comparison=comparison, was_stopped=was_stopped))
        if comparison.is_settled or comparison.verdict.kind == "diverged" or should_stop():
            break
    return comparison


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A recipe as it is recorded, and what its runs have in common."""

    recipe: Recipe
    parent_hash: str | None
    data_hash: str

    @property
    def hash(self) -> str:
        return recipe_hash(self.recipe)


def _side(selector: str, store: Store) -> _Side:
    """A result to add seeds to, or a recipe that has none yet."""
    recipe = named_recipe(selector)
    if recipe is None:
        recipe = Recipe.model_validate(find(selector, store=store).first.recipe)
    known = store.runs(recipe_hash=recipe_hash(recipe), purpose=RESULTS, limit=1)
    if known:
        return _Side(recipe=recipe, parent_hash=known[0].parent_hash, data_hash=known[0].data_hash)
    from flyweight.data.sources import load as load_images

    images = load_images(recipe.data.name, resize=recipe.data.resize)
    return _Side(recipe=recipe, parent_hash=None, data_hash=images.fingerprint)


def _looks(store: Store, sides: Sequence[_Side], *, part: Part, most: int | None) -> list[tuple[int, int]]:
    """The looks that are left, of the plan on record or of a new one, which is kept."""
    ours, theirs = sides
    if ours.hash == theirs.hash:
        raise UsageError("a comparison needs two recipes, found the same one twice.")
    if ours.data_hash != theirs.data_hash:
        raise UsageError(
            "two results must be measured on the same images, found "
            f"{ours.recipe.data.name} and {theirs.recipe.data.name}."
        )
    held_out = [(side.recipe.data.validation, side.recipe.data.split_seed) for side in sides]
    if part == "validation" and held_out[0] != held_out[1]:
        raise UsageError(
            "two results must be validated on the same images, found two splits (data.validation or data.split_seed "
            "differs); compare them on the test images."
        )
    n = (_n(ours, store), _n(theirs, store))
    made = store.plan(ours.hash, theirs.hash, data_hash=ours.data_hash, part=part)
    if made is not None:
        return _left(made, n, most=most, is_turned=made.baseline_hash != ours.hash)
    most = max(DEFAULT_MOST, *n) if most is None else most
    # Both sides alike from the first look on: Welch's test keeps its promise less well where they are not.
    least = max(FIRST_LOOK, *n)
    if most < least:
        there = f", since {max(n)} of one side are on record" if max(n) == least else ""
        raise UsageError(f"--max-seeds must be {least} or more{there}, found {most}.")
    looks = [(k, k) for k in range(least, most + 1)]
    level = sequential_level(looks)
    store.make_plan(ours.hash, theirs.hash, data_hash=ours.data_hash, part=part, looks=looks, level=level)
    return looks


def _left(made: Plan, n: tuple[int, int], *, most: int | None, is_turned: bool) -> list[tuple[int, int]]:
    """The looks of a plan from the first that needs as many seeds as there are; at least its last one."""
    looks = [(b, a) if is_turned else (a, b) for a, b in made.looks]
    last = max(looks[-1])
    if most is not None and most > last:
        raise UsageError(
            f"--max-seeds must be at most {last}, which was planned when this question was first asked, found {most}; "
            "a plan made longer after looking would err more often than it says."
        )
    allowed = [look for look in looks if most is None or max(look) <= most] or looks[:1]
    return [look for look in allowed if look[0] >= n[0] and look[1] >= n[1]] or allowed[-1:]


def _n(side: _Side, store: Store) -> int:
    """How many seeds of a side have a result."""
    alike = groups(store.runs(recipe_hash=side.hash, data_hash=side.data_hash, purpose=RESULTS))
    return alike[-1].n if alike else 0


def _grow(
    sides: Sequence[_Side],
    look: tuple[int, int],
    store: Store,
    study: str | None,
    *,
    device: DeviceName,
    at_once: int | None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train what a look needs and is not on record, with seeds that no run of the side has had."""
    from flyweight.execute.seeds import Asked, run_side_by_side

    asked = []
    for side, wanted in zip(sides, look, strict=True):
        missing = wanted - _n(side, store)
        if missing > 0:
            plan(side.recipe).require()
            known = store.runs(recipe_hash=side.hash, purpose=RESULTS)
            stopped = tuple(run.id for run in known if run.status in ("interrupted", "lost"))[:missing]
            used = {run.seed for run in known}
            fresh = [seed for seed in range(len(used) + missing) if seed not in used]
            asked.append(
                Asked(
                    recipe=side.recipe,
                    seeds=tuple(fresh[: missing - len(stopped)]),
                    resumed=stopped,
                    study=study,
                    parent_hash=side.parent_hash,
                )
            )
    if asked:
        run_side_by_side(asked, store=store, device=device, at_once=at_once, watch=watch, should_stop=should_stop)


def _measured(side: _Side, store: Store) -> Group[RunRecord] | None:
    """All seeds of a side that are over; None if there is none."""
    alike = groups(store.runs(recipe_hash=side.hash, data_hash=side.data_hash, purpose=RESULTS))
    return alike[-1] if alike else None
