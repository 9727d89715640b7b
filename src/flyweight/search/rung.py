"""Trains one trial to its next rung, and reads from the records what it reached.

A trial is a run whose schedule is laid out for its full length. A monitor stops it at a rung, and it is resumed from
its checkpoint if it is promoted, as an interrupted run is: the weights are those of a run without the stop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flyweight.data.facts import ImageSource
from flyweight.errors import FlyweightError
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import EpochDone, Event, Found
from flyweight.experiment.plan import plan as make_plan
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.records.record import STOPPED, RunRecord
from flyweight.records.search_record import TrialRecord, TrialStatus
from flyweight.records.store import Store
from flyweight.search.design import design_of
from flyweight.search.plan import SearchPlan
from flyweight.train.metrics import EpochMetrics

SLOW: Final = "too slow"


@dataclass
class UntilEpoch:
    """Ends a run after an epoch, or when its epochs take too long; a monitor of `experiment`."""

    last: int
    max_seconds: float
    reason: str = ""

    def watch(self, event: Event) -> Sequence[Found]:
        """Nothing is found; the reason is set at the end of the last epoch."""
        if isinstance(event, EpochDone):
            self.see(event.metrics)
        return ()

    def see(self, metrics: EpochMetrics) -> None:
        if metrics.epoch >= self.last:
            self.reason = f"rung after epoch {self.last}"
        elif metrics.seconds > self.max_seconds:
            self.reason = f"{SLOW}: an epoch took {metrics.seconds:.1f} s, the limit is {self.max_seconds:.1f} s"


def until_epoch(
    _resolved: ResolvedRecipe, history: Sequence[EpochMetrics], *, last: int, max_seconds: float
) -> UntilEpoch:
    """The monitor of a run; history: the epochs that it has done already."""
    monitor = UntilEpoch(last=last, max_seconds=max_seconds)
    if history and history[-1].epoch >= last:
        monitor.see(history[-1])
    return monitor


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """What a trial reached; status None: it was stopped before its rung and can be taken up again."""

    status: TrialStatus | None
    accuracies: tuple[float, ...] = ()
    seconds: float = 0.0
    message: str = ""


def train_rung(
    plan: SearchPlan,
    trial: TrialRecord,
    *,
    source: ImageSource,
    store: Store,
    executor: Executor,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> RungResult:
    """Train a claimed trial to the rung after those that it has ended.

    Raises:
        FlyweightError: its process was killed, the disk is full, the database is away.
    """
    rungs = plan.rungs
    rung = min(len(trial.accuracies), len(rungs) - 1)
    known = _run_of(trial, store)
    if known is None or not _has_ended(known, rungs[rung]):
        executor.train(
            [_job(plan, trial, known, source, until=rungs[rung])], store=store, watch=watch, should_stop=should_stop
        )
        known = _run_of(trial, store)
    return _result(plan, known, rung, store)


def _job(
    plan: SearchPlan, trial: TrialRecord, known: RunRecord | None, source: ImageSource, *, until: int
) -> TrainingJob:
    is_last = until == plan.epochs
    monitor = functools.partial(until_epoch, last=until + is_last, max_seconds=plan.max_epoch_seconds)
    recipe = design_of(trial.design).recipe(plan.recipe, name=f"{plan.name}-{trial.number}")
    request = TrainingRequest(
        recipe=make_plan(recipe, source).require(),
        seeds=(plan.train_seed,),
        purpose="search",
        figures=("validation",),
        retrain=True,
        opens_test=False,
        monitor=monitor,
    )
    resumed = known.id if known is not None and known.status in (*STOPPED, "running") else None
    return TrainingJob(request=request, seed=plan.train_seed, group_id=trial.group_id, resumed=resumed)


def _run_of(trial: TrialRecord, store: Store) -> RunRecord | None:
    """The run of a trial: it is found by its group, which was on record before it started."""
    store.mark_lost()
    found = store.runs(group_id=trial.group_id, purpose="search", limit=1)
    return found[0] if found and found[0].status != "failed" else None


def _has_ended(run: RunRecord, epochs: int) -> bool:
    """Whether it is where it should be, as after a kill between the end of a run and that of its trial."""
    return run.status in ("finished", "diverged") or (run.status in STOPPED and run.epochs_done >= epochs)


def _result(plan: SearchPlan, run: RunRecord | None, rung: int, store: Store) -> RungResult:
    if run is None:
        return RungResult(status="failed", message="its run failed; flyweight runs --purpose search shows it")
    epochs = {one.epoch: one.validation_accuracy for one in store.epochs(run.id)}
    accuracies = tuple(found for rung_end in plan.rungs[: rung + 1] if (found := epochs.get(rung_end)) is not None)
    seconds = run.train_seconds or 0.0
    if run.status == "diverged":
        return RungResult(status="diverged", accuracies=accuracies, seconds=seconds, message=run.message)
    if run.status == "finished":
        return RungResult(status="finished", accuracies=accuracies, seconds=seconds)
    if SLOW in run.message:
        return RungResult(status="slow", accuracies=accuracies, seconds=seconds, message=run.message)
    if run.epochs_done >= plan.rungs[rung]:
        return RungResult(status="paused", accuracies=accuracies, seconds=seconds)
    return RungResult(status=None, seconds=seconds)


def forget_files(group_id: str, store: Store) -> None:
    """Remove the folder of a trial's run; its row and its curve stay."""
    for run in store.runs(group_id=group_id, purpose="search"):
        store.folder(run.id).remove()


def require_runnable(error: FlyweightError) -> None:
    """Let an error rise that would meet every other trial too."""
    if error.exit_code in (2, 6, 7):
        raise error
