"""Several seeds of one recipe as one result: side by side on the cores, one process with one thread each.

A small net does not fill two threads: two processes with one thread each do the work of both cores, while two
processes with two threads each wait for one another (docs/notebook.md has the measurement).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flyweight.data import sources
from flyweight.errors import UsageError
from flyweight.execute import processes as workers
from flyweight.execute.worker_count import places, seeds_in_memory
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan, require_counts
from flyweight.recipe import Recipe, load
from flyweight.records.ids import new_run_id
from flyweight.records.record import Purpose, RunRecord
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.experiment.monitor import MakeMonitor
    from flyweight.train.device import DeviceName

PRELOAD: Final = "flyweight.execute.preload"  # a name: it is loaded in another process, while this one stays light


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A recipe and the seeds to train of it, as one group; `study`, `parent_hash` and `purpose` are those of `run`.

    resumed: stopped runs of it to go on with first, which stay in their own groups.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    resumed: tuple[str, ...] = ()
    study: str | None = None
    parent_hash: str | None = None
    purpose: Purpose = "run"


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What the runs of one result share."""

    id: str
    asked: Asked

    def records(self, store: Store) -> tuple[RunRecord, ...]:
        """The runs that began, in the order of their seeds."""
        return tuple(sorted(store.runs(group_id=self.id, purpose="all"), key=lambda record: record.seed))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run for a process of its own: a seed to begin, or a stopped run to go on with."""

    group: _Group
    seed: int
    resumed: str | None = None


def run_seeds(
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    study: str | None = None,
    parent_hash: str | None = None,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Train every seed and return their records in the order of `seeds`; all share one `group_id`.

    `at_once` is how many train side by side at most, by default one per core and those that are left over beside the
    last of them. When asked to stop, each run is saved where it stands. `study`, `parent_hash` and `monitor` are
    those of `run`: a seed that a monitor stops leaves the others to go on.

    A script that calls this needs the usual `if __name__ == "__main__":`, since each process imports it anew.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a seed, when the others are done.
    """
    asked = Asked(recipe=recipe, seeds=tuple(seeds), study=study, parent_hash=parent_hash)
    (records,) = run_side_by_side(
        [asked], store=store, device=device, at_once=at_once, monitor=monitor, watch=watch, should_stop=should_stop
    )
    return records


def run_side_by_side(
    asked: Sequence[Asked],
    *,
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[tuple[RunRecord, ...], ...]:
    """`run_seeds` of several recipes at a time: a group of records for each, in the order in which they were asked.

    The seeds of the recipes take turns, so that those of one do not wait for all of another.
    """
    for one in asked:
        require_counts(seeds=len(one.seeds) + len(one.resumed), at_once=at_once)
        plan(one.recipe).require()
    workers.make_ready(PRELOAD)
    for one in asked:
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
    _work_off(
        in_turns, store=store, device=device, at_once=at_once, monitor=monitor, watch=watch, should_stop=should_stop
    )
    return tuple(group.records(store) for group in groups)


def resume_seeds(
    group_id: str,
    *,
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Go on with what is left of a group: its stopped runs, and its seeds that never began."""
    workers.make_ready(PRELOAD)
    records = store.group(group_id)
    planned = tuple(records[0].environment["group_seeds"])
    recipe = load(store.run_folder(records[0].id).file("recipe"))
    begun = {record.seed for record in records}
    first = records[0]
    asked = Asked(recipe=recipe, seeds=planned, study=first.study, parent_hash=first.parent_hash, purpose=first.purpose)
    group = _Group(id=group_id, asked=asked)
    jobs = [_Job(group=group, seed=r.seed, resumed=r.id) for r in records if r.status in ("interrupted", "lost")]
    jobs += [_Job(group=group, seed=seed) for seed in planned if seed not in begun]
    if not jobs:
        raise UsageError(f"a run that goes on must have been stopped, found all {len(planned)} seeds of this one over.")
    _work_off(jobs, store=store, device=device, at_once=at_once, monitor=monitor, watch=watch, should_stop=should_stop)
    return group.records(store)


def _work_off(
    jobs: Sequence[_Job],
    *,
    store: Store,
    device: DeviceName,
    at_once: int | None,
    monitor: MakeMonitor | None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Do the jobs side by side, and close what a process that was ended leaves open."""
    try:
        workers.work_off(
            [
                workers.Job(
                    name=f"seed {job.seed}",
                    work=functools.partial(_train, job, store.url, store.home, device, monitor),
                )
                for job in jobs
            ],
            places=_places(len(jobs), at_once),
            watch=watch,
            should_stop=should_stop,
        )
    finally:
        store.mark_lost()


def _places(n_jobs: int, at_once: int | None) -> Callable[[int], int]:
    """From how many have begun to how many may train at once; a number that was asked for is never exceeded."""
    if at_once is not None:
        return lambda _started: at_once
    from flyweight.train.device import usable_cores

    return functools.partial(places, n_jobs=n_jobs, cores=usable_cores(), most=seeds_in_memory())


def _train(
    job: _Job,
    url: str,
    home: Path,
    device: DeviceName,
    monitor: MakeMonitor | None,
    tell: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """One job, in a process of its own; only here is torch needed."""
    from flyweight.experiment.run import resume, run

    store, asked = Store.open(url, home=home), job.group.asked
    if job.resumed:
        resume(job.resumed, store=store, device=device, monitor=monitor, watch=tell, should_stop=should_stop)
        return
    run(
        asked.recipe,
        seed=job.seed,
        store=store,
        device=device,
        group_id=job.group.id,
        group_seeds=asked.seeds,
        study=asked.study,
        parent_hash=asked.parent_hash,
        purpose=asked.purpose,
        monitor=monitor,
        watch=tell,
        should_stop=should_stop,
    )
