"""Several seeds of one recipe as one result: side by side on the cores, one process with one thread each.

A small net does not fill two threads: two processes with one thread each do the work of both cores, while two
processes with two threads each wait for one another (docs/notebook.md has the measurement).
"""

from __future__ import annotations

import math
import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from flyweight.data import sources
from flyweight.errors import FlyweightError, UsageError
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan, require_counts
from flyweight.experiment.run import resume, run
from flyweight.experiment.signals import stopping_on_signals
from flyweight.recipe import Recipe, load
from flyweight.records.ids import new_run_id
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.device import DeviceName, usable_cores

SECONDS_BETWEEN_QUESTIONS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A recipe and the seeds to train of it, as one group; `study` and `parent_hash` are those of `run`.

    resumed: stopped runs of it to go on with first, which stay in their own groups.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    resumed: tuple[str, ...] = ()
    study: str | None = None
    parent_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What the runs of one result share."""

    id: str
    asked: Asked

    def records(self, store: Store) -> tuple[RunRecord, ...]:
        """The runs that began, in the order of their seeds."""
        return tuple(sorted(store.runs(group_id=self.id), key=lambda record: record.seed))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run for a process of its own: a seed to begin, or a stopped run to go on with."""

    group: _Group
    seed: int
    resumed: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """What kept a process from doing its job."""

    error: Exception


def run_seeds(
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    study: str | None = None,
    parent_hash: str | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Train every seed and return their records in the order of `seeds`; all share one `group_id`.

    `at_once` is how many train side by side, by default one per core. When asked to stop, each run is saved where
    it stands. `study` and `parent_hash` are those of `run`.

    A script that calls this needs the usual `if __name__ == "__main__":`, since processes are spawned.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a seed, when the others are done.
    """
    asked = Asked(recipe=recipe, seeds=tuple(seeds), study=study, parent_hash=parent_hash)
    (records,) = run_side_by_side(
        [asked], store=store, device=device, at_once=at_once, watch=watch, should_stop=should_stop
    )
    return records


def run_side_by_side(
    asked: Sequence[Asked],
    *,
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[tuple[RunRecord, ...], ...]:
    """`run_seeds` of several recipes at a time: a group of records for each, in the order in which they were asked.

    The seeds of the recipes take turns, so that those of one do not wait for all of another.
    """
    for one in asked:
        require_counts(seeds=len(one.seeds) + len(one.resumed), at_once=at_once)
        plan(one.recipe).require()
        sources.load(one.recipe.data.name, resize=one.recipe.data.resize)  # downloads happen once, not in each process
    groups = [_Group(id=new_run_id(), asked=one) for one in asked]
    jobs = [
        [
            *(_Job(group=group, seed=store.get(run_id).seed, resumed=run_id) for run_id in group.asked.resumed),
            *(_Job(group=group, seed=seed) for seed in group.asked.seeds),
        ]
        for group in groups
    ]
    in_turns = [job for turn in zip_longest(*jobs) for job in turn if job is not None]
    _work_off(in_turns, store=store, device=device, at_once=at_once, watch=watch, should_stop=should_stop)
    return tuple(group.records(store) for group in groups)


def resume_seeds(
    group_id: str,
    *,
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Go on with what is left of a group: its stopped runs, and its seeds that never began."""
    records = store.group(group_id)
    planned = tuple(records[0].environment["group_seeds"])
    recipe = load(store.folder(records[0].id) / "recipe.toml")
    begun = {record.seed for record in records}
    asked = Asked(recipe=recipe, seeds=planned, study=records[0].study, parent_hash=records[0].parent_hash)
    group = _Group(id=group_id, asked=asked)
    jobs = [_Job(group=group, seed=r.seed, resumed=r.id) for r in records if r.status in ("interrupted", "lost")]
    jobs += [_Job(group=group, seed=seed) for seed in planned if seed not in begun]
    if not jobs:
        raise UsageError(f"a run that goes on must have been stopped, found all {len(planned)} seeds of this one over.")
    _work_off(jobs, store=store, device=device, at_once=at_once, watch=watch, should_stop=should_stop)
    return group.records(store)


def _work_off(
    jobs: Sequence[_Job],
    *,
    store: Store,
    device: DeviceName,
    at_once: int | None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Start a process per job, so many at once, pass on what they tell, and close what they leave open."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    waiting, running = list(jobs), list[BaseProcess]()
    errors: list[Exception] = []
    is_stopping = False
    while waiting or running:
        if should_stop() and not is_stopping:
            is_stopping = True  # once: a second SIGTERM would end a process before it has saved
            waiting.clear()
            for process in running:
                process.terminate()
        while waiting and len(running) < (at_once or usable_cores()):
            job = waiting.pop(0)
            arguments = (job, store.url, store.home, device, told)
            running.append(_start(context.Process(target=_work, args=arguments, name=f"seed {job.seed}", daemon=True)))
        _pass_on(told, watch, errors, until=time.monotonic() + SECONDS_BETWEEN_QUESTIONS)
        ended = [process for process in running if not process.is_alive()]
        errors += [_died(process) for process in ended if process.exitcode and not is_stopping]
        running = [process for process in running if process not in ended]
    _pass_on(told, watch, errors, until=math.inf)
    store.mark_lost()
    if errors:
        raise errors[0]


def _start(process: BaseProcess) -> BaseProcess:
    """A process that never sees Ctrl-C: the terminal sends it to all of us, and the parent asks each to stop."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    return process


def _pass_on(told: Any, watch: Callable[[Event], None], errors: list[Exception], *, until: float) -> None:
    """What the processes told, until they are silent for a moment or the clock (time.monotonic) is at `until`."""
    while time.monotonic() < until:
        try:
            event = told.get(timeout=SECONDS_BETWEEN_QUESTIONS)
        except queue.Empty:
            return
        if isinstance(event, _Failed):
            errors.append(event.error)
        else:
            watch(event)


def _died(process: BaseProcess) -> FlyweightError:
    return FlyweightError(
        f"{process.name}: its process must end by itself, found it ended with code {process.exitcode} "
        "(a negative code is a signal, -9 often means too little memory); train fewer seeds at once."
    )


def _work(job: _Job, url: str, home: Path, device: DeviceName, told: Any) -> None:
    """One job, in a process of its own; its errors travel to the parent as values."""
    store, asked = Store.open(url, home=home), job.group.asked
    with stopping_on_signals() as should_stop:
        try:
            if job.resumed:
                resume(job.resumed, store=store, device=device, watch=told.put, should_stop=should_stop)
            else:
                run(
                    asked.recipe,
                    seed=job.seed,
                    store=store,
                    device=device,
                    group_id=job.group.id,
                    group_seeds=asked.seeds,
                    study=asked.study,
                    parent_hash=asked.parent_hash,
                    watch=told.put,
                    should_stop=should_stop,
                )
        except Exception as error:
            told.put(_Failed(error=error))
