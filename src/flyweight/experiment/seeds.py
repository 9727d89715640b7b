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
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from flyweight.data import sources
from flyweight.errors import FlyweightError, UsageError
from flyweight.experiment.events import Event, ignore
from flyweight.experiment.plan import plan, require_counts
from flyweight.experiment.run import never, resume, run
from flyweight.experiment.signals import stopping_on_signals
from flyweight.recipe import Recipe, load
from flyweight.records.ids import new_run_id
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.device import DeviceName, usable_cores

SECONDS_BETWEEN_QUESTIONS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run for a process of its own: a seed to begin, or a stopped run to go on with."""

    seed: int
    resumed: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What the runs of one result share."""

    id: str
    seeds: tuple[int, ...]
    recipe: Recipe
    store: Store
    device: DeviceName
    study: str | None
    parent_hash: str | None

    def records(self) -> tuple[RunRecord, ...]:
        """The runs that began, in the order of their seeds."""
        return tuple(sorted(self.store.runs(group_id=self.id), key=lambda record: record.seed))


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
    require_counts(seeds=len(seeds), at_once=at_once)
    plan(recipe).require()
    sources.load(recipe.data.name, resize=recipe.data.resize)  # a download happens once, not in every process
    group = _Group(
        id=new_run_id(),
        seeds=tuple(seeds),
        recipe=recipe,
        store=store,
        device=device,
        study=study,
        parent_hash=parent_hash,
    )
    _work_off([_Job(seed=seed) for seed in seeds], group, at_once=at_once, watch=watch, should_stop=should_stop)
    return group.records()


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
    jobs = [_Job(seed=r.seed, resumed=r.id) for r in records if r.status in ("interrupted", "lost")]
    jobs += [_Job(seed=seed) for seed in planned if seed not in begun]
    if not jobs:
        raise UsageError(f"a run that goes on must have been stopped, found all {len(planned)} seeds of this one over.")
    group = _Group(
        id=group_id,
        seeds=planned,
        recipe=recipe,
        store=store,
        device=device,
        study=records[0].study,
        parent_hash=records[0].parent_hash,
    )
    _work_off(jobs, group, at_once=at_once, watch=watch, should_stop=should_stop)
    return group.records()


def _work_off(
    jobs: Sequence[_Job],
    group: _Group,
    *,
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
            settings = {
                "device": group.device,
                "group_id": group.id,
                "group_seeds": group.seeds,
                "study": group.study,
                "parent_hash": group.parent_hash,
            }
            arguments = (job, group.recipe, group.store.url, group.store.home, settings, told)
            running.append(_start(context.Process(target=_work, args=arguments, name=f"seed {job.seed}", daemon=True)))
        _pass_on(told, watch, errors, until=time.monotonic() + SECONDS_BETWEEN_QUESTIONS)
        ended = [process for process in running if not process.is_alive()]
        errors += [_died(process) for process in ended if process.exitcode and not is_stopping]
        running = [process for process in running if process not in ended]
    _pass_on(told, watch, errors, until=math.inf)
    group.store.mark_lost()
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


def _work(job: _Job, recipe: Recipe, url: str, home: Path, settings: dict[str, Any], told: Any) -> None:
    """One job, in a process of its own; its errors travel to the parent as values."""
    store = Store.open(url, home=home)
    with stopping_on_signals() as should_stop:
        try:
            if job.resumed:
                device = settings["device"]
                resume(job.resumed, store=store, device=device, watch=told.put, should_stop=should_stop)
            else:
                run(recipe, seed=job.seed, store=store, watch=told.put, should_stop=should_stop, **settings)
        except Exception as error:
            told.put(_Failed(error=error))
