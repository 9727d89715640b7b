"""Train the runs of the fault bench, side by side, in a store of their own; none that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flyweight.bench.faults.cases import BenchCase
from flyweight.experiment.events import Ended, Event, never
from flyweight.experiment.seeds import Asked, run_side_by_side
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
    """The record of each case by its name; those that were stopped are left out."""
    images = Path(store.home) / "images"
    images.mkdir(parents=True, exist_ok=True)
    left = [case for case in cases if case.name not in _over(store)]
    asked = [Asked(recipe=case.recipe(images), seeds=(case.seed,), study=STUDY) for case in left]
    n_over = 0

    def watch(event: Event) -> None:
        nonlocal n_over
        if isinstance(event, Ended):
            n_over += 1
            if n_over % 50 == 0:
                told(f"{n_over} of {len(left)} runs trained")

    if asked:
        run_side_by_side(asked, store=store, watch=watch, should_stop=should_stop)
    wanted = {case.name for case in cases}
    return {name: record for name, record in _over(store).items() if name in wanted}


def _over(store: Store) -> dict[str, RunRecord]:
    """The runs of the bench that came to an end."""
    return {record.name: record for record in store.runs(study=STUDY) if record.status in ("finished", "diverged")}
