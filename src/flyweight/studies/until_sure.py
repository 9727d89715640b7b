"""A sequential test of two recipes: train more seeds until the difference is significant or the plan is used up.

The number of tests and their threshold p are planned and recorded before any training: testing p < 0.05 after every
seed would report a difference between equal recipes far more often than in 5 % of the cases (Pocock 1977).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from flyweight.data.facts import ImageSource
from flyweight.errors import UsageError, in_one_line, require_counts
from flyweight.evidence.compare import Comparison
from flyweight.evidence.compare import compare as compare_groups
from flyweight.evidence.groups import Group, groups
from flyweight.evidence.sequential import sequential_level
from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import ResolvedRecipe, source_of
from flyweight.recipe import Recipe, recipe_hash
from flyweight.records.record import OVER, RESULTS, STOPPED, HeldOut, RunRecord, SeedPlan
from flyweight.studies.results import find, named_recipe

if TYPE_CHECKING:
    from flyweight.records.store import Store

FIRST_LOOK: Final = 3  # minimum seeds per recipe: two say little about the spread
DEFAULT_MAX: Final = 10


@dataclass(frozen=True, kw_only=True)
class Look:
    """A planned test, `number` of `of` remaining ones; was_stopped: seeds were missing, so it does not count."""

    number: int
    of: int
    comparison: Comparison
    was_stopped: bool = False


@in_one_line
def until_sure(
    baseline: str,
    changed: str,
    *,
    store: Store,
    part: HeldOut = "test",
    study: str | None = None,
    max_seeds: int | None = None,
    executor: Executor = AUTOMATIC,
    watch: Callable[[Event], None] = ignore,
    on_look: Callable[[Look], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> Comparison | None:
    """Compare two recipes, training seeds of both until the result is clear or each has `max_seeds` (default: 10).

    Runs on record are used. A second call continues with the plan of the first. `on_look` gets each test; new runs
    belong to `study`. Returns None if it was stopped before both recipes had results.

    Raises:
        UsageError: recipes that cannot be compared, or a `max_seeds` below the seeds on record or above the plan.
    """
    require_counts(max_seeds=max_seeds)
    first = _side(baseline, store)
    sides = (first, _side(changed, store, known=first.source))
    looks = _looks(store, sides, part=part, max_seeds=max_seeds)
    if sides[1].parent_hash is None and not _n(sides[1], store):
        # Of two new recipes, the journal needs to know that the changed one comes from the baseline.
        sides = (sides[0], replace(sides[1], parent_hash=sides[0].hash))
    comparison: Comparison | None = None
    for number, look in enumerate(looks, start=1):
        if not should_stop():
            requests = [_request(side, n, store, study) for side, n in zip(sides, look, strict=True)]
            wanted = [request for request in requests if request is not None]
            execute(wanted, store=store, executor=executor, watch=watch, should_stop=should_stop)
        before, after = (_measured(side, store) for side in sides)
        if before is None or after is None:
            break
        comparison = compare_groups(store, before, after, part=part)
        was_stopped = should_stop() and (before.n, after.n) != look
        on_look(Look(number=number, of=len(looks), comparison=comparison, was_stopped=was_stopped))
        if comparison.is_settled or comparison.verdict.kind == "diverged" or should_stop():
            break
    return comparison


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A recipe in canonical form, and what its runs on record share."""

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
        """The recipe ready to be trained."""
        return plan(self.recipe, self.source).require()


def _side(selector: str, store: Store, *, known: ImageSource | None = None) -> _Side:
    """A result on record, or a recipe without runs. known: images that may have been read already."""
    recipe = named_recipe(selector) or recipe_of(find(selector, store=store).first)
    side = _Side(recipe=recipe, source=source_of(recipe, known))
    runs = store.runs(recipe_hash=side.hash, purpose=RESULTS, limit=1)
    return replace(side, parent_hash=runs[0].parent_hash, known_data_hash=runs[0].data_hash) if runs else side


def _looks(store: Store, sides: Sequence[_Side], *, part: HeldOut, max_seeds: int | None) -> list[tuple[int, int]]:
    """The remaining tests of the plan on record, or of a new plan, which is recorded."""
    baseline, changed = sides
    if baseline.hash == changed.hash:
        raise UsageError("a comparison needs two recipes, found the same one twice.")
    if baseline.data_hash != changed.data_hash:
        raise UsageError(
            "two results must be measured on the same images, found "
            f"{baseline.recipe.data.name} and {changed.recipe.data.name}."
        )
    held_out = [(side.recipe.data.validation, side.recipe.data.split_seed) for side in sides]
    if part == "validation" and held_out[0] != held_out[1]:
        raise UsageError(
            "two results must be validated on the same images, found two splits (data.validation or data.split_seed "
            "differs); compare them on the test images."
        )
    n = (_n(baseline, store), _n(changed, store))
    made = store.notebook.plan(baseline.hash, changed.hash, data_hash=baseline.data_hash, part=part)
    if made is not None:
        return _remaining(made, n, max_seeds=max_seeds, is_turned=made.baseline_hash != baseline.hash)
    limit = max(DEFAULT_MAX, *n) if max_seeds is None else max_seeds
    # Equal numbers from the first test on: Welch's test is less exact with unequal ones.
    min_seeds = max(FIRST_LOOK, *n)
    if limit < min_seeds:
        there = f", since {max(n)} of one side are on record" if max(n) == min_seeds else ""
        raise UsageError(f"--max-seeds must be {min_seeds} or more{there}, found {limit}.")
    looks = [(k, k) for k in range(min_seeds, limit + 1)]
    level = sequential_level(looks)
    store.notebook.make_plan(
        baseline.hash, changed.hash, data_hash=baseline.data_hash, part=part, looks=looks, level=level
    )
    return looks


def _remaining(made: SeedPlan, n: tuple[int, int], *, max_seeds: int | None, is_turned: bool) -> list[tuple[int, int]]:
    """The tests of a plan that need at least the seeds on record, or else its last one."""
    looks = [(b, a) if is_turned else (a, b) for a, b in made.looks]
    last = max(looks[-1])
    if max_seeds is not None and max_seeds > last:
        raise UsageError(
            f"--max-seeds must be at most {last}, the plan of the first comparison, found {max_seeds}; a plan that is "
            "extended after a test has more false positives than it states."
        )
    allowed = [look for look in looks if max_seeds is None or max(look) <= max_seeds] or looks[:1]
    return [look for look in allowed if look[0] >= n[0] and look[1] >= n[1]] or allowed[-1:]


def _n(side: _Side, store: Store) -> int:
    """How many seeds of a side have a result."""
    measured = _measured(side, store)
    return measured.n if measured else 0


def _request(side: _Side, wanted: int, store: Store, study: str | None) -> TrainingRequest | None:
    """The missing runs of a test: stopped seeds first, then seeds without a run."""
    n_missing = wanted - _n(side, store)
    if n_missing <= 0:
        return None
    known = store.runs(recipe_hash=side.hash, purpose=RESULTS)
    over = {run.seed for run in known if run.status in OVER}
    stopped = [run.seed for run in known if run.status in STOPPED and run.seed not in over]
    used = {run.seed for run in known}
    fresh = [seed for seed in range(len(used) + n_missing) if seed not in used]
    return TrainingRequest(
        recipe=side.resolved,
        seeds=tuple(dict.fromkeys([*stopped, *fresh]))[:n_missing],
        study=study,
        parent_hash=side.parent_hash,
    )


def _measured(side: _Side, store: Store) -> Group[RunRecord] | None:
    """All ended seeds of a side; None if there are none."""
    alike = groups(store.runs(recipe_hash=side.hash, data_hash=side.data_hash, purpose=RESULTS))
    return alike[-1] if alike else None
