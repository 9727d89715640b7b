"""Train the runs of the fault bench, side by side, in a store of their own; none that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.fault_bench.cases import BenchCase
from flyweight.execute.seeds import Asked, run_side_by_side
from flyweight.experiment.events import Ended, Event, never
from flyweight.experiment.plan import as_recorded
from flyweight.recipe import recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

STUDY: Final = "fault bench"


def train(
    cases: Sequence[BenchCase],
    store: Store,
    *,
    told: Callable[[str], None] = lambda _words: None,
    should_stop: Callable[[], bool] = never,
) -> dict[str, RunRecord]:
    """The record of each case by its name; those that were stopped are left out.

    A run counts for a case if it has its recipe and its seed: a fault that is planted otherwise is trained anew.
    """
    images = Path(store.home) / "images"
    images.mkdir(parents=True, exist_ok=True)
    recipes = {case.name: case.recipe(images) for case in cases}
    keys = {case.name: (recipe_hash(as_recorded(recipes[case.name])), case.seed) for case in cases}
    over = _over(store)
    left = [case for case in cases if keys[case.name] not in over]
    asked = [Asked(recipe=recipes[case.name], seeds=(case.seed,), study=STUDY) for case in left]
    n_over = 0

    def watch(event: Event) -> None:
        nonlocal n_over
        if isinstance(event, Ended):
            n_over += 1
            if n_over % 50 == 0:
                told(f"{n_over} of {len(left)} runs trained")

    if asked:
        run_side_by_side(asked, store=store, watch=watch, should_stop=should_stop)
    over = _over(store)
    return {name: over[key] for name, key in keys.items() if key in over}


def _over(store: Store) -> dict[tuple[str, int], RunRecord]:
    """The runs of the bench that came to an end, by recipe and seed."""
    runs = store.runs(study=STUDY)
    return {(run.recipe_hash, run.seed): run for run in runs if run.status in ("finished", "diverged")}
