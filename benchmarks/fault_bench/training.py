"""Train the runs of the fault bench, side by side, in a store of their own; none that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.fault_bench.cases import BenchCase
from flyweight.execute.execution import execute
from flyweight.execute.on_record import look_up
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import Ended, Event, never
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

STUDY: Final = "fault bench"


def train(
    cases: Sequence[BenchCase],
    store: Store,
    *,
    on_progress: Callable[[str], None] = lambda _words: None,
    should_stop: Callable[[], bool] = never,
) -> dict[str, RunRecord]:
    """The record of each case by its name; those that were stopped are left out.

    A run counts for a case if it has its recipe and its seed: a fault that is planted otherwise is trained anew.
    """
    images = Path(store.home) / "images"
    images.mkdir(parents=True, exist_ok=True)
    requests = [TrainingRequest(recipe=case.recipe(images), seeds=(case.seed,), study=STUDY) for case in cases]
    found = look_up(requests, store)
    n_left = sum(one.n_remaining for one in found)
    n_over = 0

    def watch(event: Event) -> None:
        nonlocal n_over
        if isinstance(event, Ended):
            n_over += 1
            if n_over % 50 == 0:
                on_progress(f"{n_over} of {n_left} runs trained")

    executed = execute(found, store=store, watch=watch, should_stop=should_stop)
    return {case.name: one.records[0] for case, one in zip(cases, executed, strict=True) if one.is_complete}
