"""Many runs: requests go in, records come out. A run that is on record already is not trained again.

An executor decides where the runs are computed; `experiment.run` makes one run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.executor import Executor
from flyweight.execute.on_record import OnRecord, look_up
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import Event, Reused, ignore, never
from flyweight.records.ids import new_run_id
from flyweight.records.record import OVER, RunRecord
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class Executed:
    """The result of a request. records: one for each seed that was started, in the order of the seeds, stopped or not.

    other_fingerprint: reused records whose fingerprint is not that of the newest run.
    """

    request: TrainingRequest
    records: tuple[RunRecord, ...]
    other_fingerprint: tuple[RunRecord, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every seed has finished or diverged."""
        return {run.seed for run in self.records if run.status in OVER} == set(self.request.seeds)


def execute(
    requests: Sequence[TrainingRequest | OnRecord],
    *,
    store: Store,
    executor: Executor = AUTOMATIC,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[Executed, ...]:
    """The records of each request: runs on record are reused, stopped runs are resumed, all others are trained.

    `execute.reuse` decides which runs can be reused; `watch` gets a `Reused` event for those with another fingerprint.
    The seeds of several recipes take turns, so that none waits for all runs of another. When `should_stop` becomes
    true, each run is saved at its current step.

    A script that calls this needs the usual `if __name__ == "__main__":`, because each process imports the script.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a run, after the others have ended.
    """
    found = look_up(requests, store)
    group_ids = [new_run_id() for _ in found]
    jobs = [_jobs(one, group_id) for one, group_id in zip(found, group_ids, strict=True)]
    if any(jobs):
        executor.make_ready()
        for one in found:
            if one.n_remaining and one.source.is_named:
                one.source.images  # noqa: B018  # downloads happen once, and before any run starts
        in_turns = [job for turn in zip_longest(*jobs) for job in turn if job is not None]
        executor.train(in_turns, store=store, watch=watch, should_stop=should_stop)
    executed = tuple(_executed(one, group_id, store) for one, group_id in zip(found, group_ids, strict=True))
    for result in executed:
        for run in result.other_fingerprint:
            watch(Reused(run_id=run.id, seed=run.seed, name=run.name, fingerprint=run.fingerprint))
    return executed


def _jobs(found: OnRecord, group_id: str) -> list[TrainingJob]:
    """The runs that remain for a request, stopped ones first."""
    request = replace(found.request, recipe=found.recipe, seeds=found.new_seeds)
    resumed = {run.seed: run.id for run in found.stopped.values()}
    return [
        TrainingJob(request=request, seed=seed, group_id=group_id, resumed=resumed.get(seed))
        for seed in (*resumed, *request.seeds)
    ]


def _executed(found: OnRecord, group_id: str, store: Store) -> Executed:
    started = {run.seed: run for run in store.runs(group_id=group_id, purpose="all")} if found.new_seeds else {}
    resumed = {seed: store.get(run.id) for seed, run in found.stopped.items()}
    by_seed = {**found.reused, **resumed, **started}
    records = tuple(by_seed[seed] for seed in found.request.seeds if seed in by_seed)
    newest = max(records, key=lambda run: run.id, default=None)
    others = (run for run in records if newest is not None and run.fingerprint != newest.fingerprint)
    return Executed(
        request=found.request,
        records=records,
        other_fingerprint=tuple(run for run in others if run.seed in found.reused),
    )
