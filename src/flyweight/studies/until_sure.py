"""More seeds for two recipes until their difference is shown, or as many as were planned have been looked at.

How often to look and how small p must be is decided and kept before anything is trained for it: looking at p < 0.05
after every seed would find a difference in nothing far more often than in 5 % of the cases (Pocock 1977).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from flyweight.data.facts import ImageSource
from flyweight.errors import UsageError, require_counts
from flyweight.evidence.compare import Comparison
from flyweight.evidence.compare import compare as compare_groups
from flyweight.evidence.groups import OVER, Group, groups
from flyweight.evidence.sequential import sequential_level
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.process_executor import PROCESSES
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import ResolvedRecipe, source_of
from flyweight.recipe import Recipe, recipe_hash
from flyweight.records.record import RESULTS, Part, Plan, RunRecord
from flyweight.studies.results import find, named_recipe

if TYPE_CHECKING:
    from flyweight.records.store import Store

FIRST_LOOK: Final = 3  # seeds a side at least: with two, the spread is hardly known
DEFAULT_MAX: Final = 10


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look of so many that are left, and what was seen; `was_stopped` if it is none, for want of seeds."""

    number: int
    of: int
    comparison: Comparison
    was_stopped: bool = False


def nobody(_look: Look) -> None:
    """Report to nobody."""


def until_sure(
    baseline: str,
    changed: str,
    *,
    store: Store,
    part: Part = "test",
    study: str | None = None,
    max_seeds: int | None = None,
    executor: Executor = PROCESSES,
    watch: Callable[[Event], None] = ignore,
    on_look: Callable[[Look], None] = nobody,
    should_stop: Callable[[], bool] = never,
) -> Comparison | None:
    """Compare two recipes, training seeds of both until the answer is clear or each side has `max_seeds` (10).

    Both may have runs on record or none yet. Asked again, it goes on with the plan that was made the first time.
    `on_look` gets each look; new runs belong to `study`. None is returned if it was stopped before there was
    anything to compare.

    Raises:
        UsageError: recipes that cannot be compared, a limit below what is on record, or one beyond the plan's.
    """
    require_counts(max_seeds=max_seeds)
    first = _side(baseline, store)
    sides = (first, _side(changed, store, known=first.source))
    looks = _looks(store, sides, part=part, max_seeds=max_seeds)
    if sides[1].parent_hash is None and not _n(sides[1], store):
        # Of two new recipes the changed one comes from the baseline; a journal cannot tell it from who began first.
        sides = (sides[0], replace(sides[1], parent_hash=sides[0].hash))
    comparison: Comparison | None = None
    for number, look in enumerate(looks, start=1):
        if not should_stop():
            requests = [_request(side, n, store, study) for side, n in zip(sides, look, strict=True)]
            wanted = [request for request in requests if request is not None]
            execute(wanted, store=store, executor=executor, watch=watch, should_stop=should_stop)
        ours, theirs = (_measured(side, store) for side in sides)
        if ours is None or theirs is None:
            break
        comparison = compare_groups(store, ours, theirs, part=part)
        was_stopped = should_stop() and (ours.n, theirs.n) != look
        on_look(Look(number=number, of=len(looks), comparison=comparison, was_stopped=was_stopped))
        if comparison.is_settled or comparison.verdict.kind == "diverged" or should_stop():
            break
    return comparison


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A recipe in canonical form, and what its runs have in common. data_hash: of the images of those on record."""

    recipe: Recipe
    source: ImageSource
    parent_hash: str | None = None
    known_data_hash: str | None = None

    @property
    def hash(self) -> str:
        return recipe_hash(self.recipe)

    @property
    def data_hash(self) -> str:
        return self.known_data_hash or self.resolved.images.fingerprint

    @cached_property
    def resolved(self) -> ResolvedRecipe:
        """Ready to be trained."""
        return plan(self.recipe, self.source).require()


def _side(selector: str, store: Store, *, known: ImageSource | None = None) -> _Side:
    """A result to add seeds to, or a recipe that has none yet. known: images that may have been read already."""
    recipe = named_recipe(selector) or recipe_of(find(selector, store=store).first)
    side = _Side(recipe=recipe, source=source_of(recipe, known))
    runs = store.runs(recipe_hash=side.hash, purpose=RESULTS, limit=1)
    return replace(side, parent_hash=runs[0].parent_hash, known_data_hash=runs[0].data_hash) if runs else side


def _looks(store: Store, sides: Sequence[_Side], *, part: Part, max_seeds: int | None) -> list[tuple[int, int]]:
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
    made = store.notebook.plan(ours.hash, theirs.hash, data_hash=ours.data_hash, part=part)
    if made is not None:
        return _left(made, n, max_seeds=max_seeds, is_turned=made.baseline_hash != ours.hash)
    limit = max(DEFAULT_MAX, *n) if max_seeds is None else max_seeds
    # Both sides alike from the first look on: Welch's test keeps its promise less well where they are not.
    fewest = max(FIRST_LOOK, *n)
    if limit < fewest:
        there = f", since {max(n)} of one side are on record" if max(n) == fewest else ""
        raise UsageError(f"--max-seeds must be {fewest} or more{there}, found {limit}.")
    looks = [(k, k) for k in range(fewest, limit + 1)]
    level = sequential_level(looks)
    store.notebook.make_plan(ours.hash, theirs.hash, data_hash=ours.data_hash, part=part, looks=looks, level=level)
    return looks


def _left(made: Plan, n: tuple[int, int], *, max_seeds: int | None, is_turned: bool) -> list[tuple[int, int]]:
    """The looks of a plan from the first that needs as many seeds as there are; at least its last one."""
    looks = [(b, a) if is_turned else (a, b) for a, b in made.looks]
    last = max(looks[-1])
    if max_seeds is not None and max_seeds > last:
        raise UsageError(
            f"--max-seeds must be at most {last}, which was planned when this question was first asked, found "
            f"{max_seeds}; a plan made longer after looking would err more often than it says."
        )
    allowed = [look for look in looks if max_seeds is None or max(look) <= max_seeds] or looks[:1]
    return [look for look in allowed if look[0] >= n[0] and look[1] >= n[1]] or allowed[-1:]


def _n(side: _Side, store: Store) -> int:
    """How many seeds of a side have a result."""
    measured = _measured(side, store)
    return measured.n if measured else 0


def _request(side: _Side, wanted: int, store: Store, study: str | None) -> TrainingRequest | None:
    """What a look needs and is not on record: seeds that were stopped first, then those that no run has had."""
    n_missing = wanted - _n(side, store)
    if n_missing <= 0:
        return None
    known = store.runs(recipe_hash=side.hash, purpose=RESULTS)
    over = {run.seed for run in known if run.status in OVER}
    stopped = [run.seed for run in known if run.status in ("interrupted", "lost") and run.seed not in over]
    used = {run.seed for run in known}
    fresh = [seed for seed in range(len(used) + n_missing) if seed not in used]
    return TrainingRequest(
        recipe=side.resolved,
        seeds=tuple(dict.fromkeys([*stopped, *fresh]))[:n_missing],
        study=study,
        parent_hash=side.parent_hash,
    )


def _measured(side: _Side, store: Store) -> Group[RunRecord] | None:
    """All seeds of a side that are over; None if there is none."""
    alike = groups(store.runs(recipe_hash=side.hash, data_hash=side.data_hash, purpose=RESULTS))
    return alike[-1] if alike else None
