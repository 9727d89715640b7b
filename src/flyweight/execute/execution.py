"""Many runs: requests go in, records come out; what is on record is not trained again.

Where the runs are computed is up to an executor, and how one run is made up to `experiment.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from flyweight.execute.executor import Executor
from flyweight.execute.on_record import OnRecord, look_up
from flyweight.execute.process_executor import PROCESSES
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.execute.reuse import fingerprint
from flyweight.experiment.events import Event, Reused, ignore, never
from flyweight.records.ids import new_run_id
from flyweight.records.record import RunRecord
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What came of a request. records: of each seed that began, in the order of the seeds; a stopped one is among them.

    elsewhere: those that were on record and have another fingerprint than the newest run.
    """

    request: TrainingRequest
    records: tuple[RunRecord, ...]
    elsewhere: tuple[RunRecord, ...] = ()

    @property
    def over(self) -> dict[int, RunRecord]:
        """The runs that came to an end, by seed."""
        return {run.seed: run for run in self.records if run.status in ("finished", "diverged")}

    @property
    def is_whole(self) -> bool:
        """Whether every seed is over."""
        return self.over.keys() == set(self.request.seeds)


def execute(
    requests: Sequence[TrainingRequest],
    *,
    store: Store,
    executor: Executor = PROCESSES,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[Executed, ...]:
    """The records of each request; what is on record stands, what was stopped goes on, and the rest is trained.

    `execute.reuse` has the rule of what stands for what. Runs that stand though they were computed under another
    fingerprint are named to `watch`. When asked to stop, each run is saved where it stands.

    A script that calls this needs the usual `if __name__ == "__main__":`, since each process imports it anew.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a run, when the others are done.
    """
    return carry_out(look_up(requests, store), store=store, executor=executor, watch=watch, should_stop=should_stop)


def carry_out(
    found: Sequence[OnRecord],
    *,
    store: Store,
    executor: Executor = PROCESSES,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[Executed, ...]:
    """`execute` for what was looked up already. The seeds of several recipes take turns, so that none waits for all."""
    group_ids = [new_run_id() for _ in found]
    jobs = [_jobs(one, group_id) for one, group_id in zip(found, group_ids, strict=True)]
    if any(jobs):
        executor.make_ready()
        for one in found:
            if one.n_left and one.source.is_named:
                one.source.images  # noqa: B018  # downloads happen once, and before any run begins
        in_turns = [job for turn in zip_longest(*jobs) for job in turn if job is not None]
        executor.train(in_turns, store=store, watch=watch, should_stop=should_stop)
    executed = tuple(_executed(one, group_id, store) for one, group_id in zip(found, group_ids, strict=True))
    for answer in executed:
        for run in answer.elsewhere:
            watch(Reused(run_id=run.id, seed=run.seed, name=run.name, fingerprint=fingerprint(run)))
    return executed


def _jobs(found: OnRecord, group_id: str) -> list[TrainingJob]:
    """What is left of a request, what was stopped first."""
    request, fresh = found.request, found.fresh
    resumed = {run.seed: run.id for run in found.stopped.values()}
    return [
        TrainingJob(
            recipe=found.recipe,
            seed=seed,
            group_id=group_id,
            group_seeds=fresh,
            purpose=request.purpose,
            resumed=resumed.get(seed),
            study=request.study,
            parent_hash=request.parent_hash,
            monitor=request.monitor,
        )
        for seed in (*resumed, *fresh)
    ]


def _executed(found: OnRecord, group_id: str, store: Store) -> Executed:
    began = {run.seed: run for run in store.runs(group_id=group_id, purpose="all")} if found.fresh else {}
    resumed = {seed: store.get(run.id) for seed, run in found.stopped.items()}
    by_seed = {**found.over, **resumed, **began}
    records = tuple(by_seed[seed] for seed in found.request.seeds if seed in by_seed)
    newest = max(records, key=lambda run: run.id, default=None)
    elsewhere = (
        tuple(run for run in records if run.seed in found.over and fingerprint(run) != fingerprint(newest))
        if newest is not None
        else ()
    )
    return Executed(request=found.request, records=records, elsewhere=elsewhere)
