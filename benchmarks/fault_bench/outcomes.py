"""The findings of the doctor in each run of the fault bench, examined in parallel processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.fault_bench.cases import BenchCase
from benchmarks.fault_bench.healthy import Half
from flyweight.diagnose.examine import examine_run
from flyweight.execute import processes as workers
from flyweight.execute.process_executor import PRELOAD
from flyweight.experiment.events import never
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.device import usable_cores

# Examined one after the other in one process, so that none waits for its process to start.
RUNS_PER_PROCESS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Named:
    """A finding as the bench counts it."""

    code: str
    severity: str
    rank: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run: what was planted (kind, empty for a healthy one), how it ended, and what was found.

    accuracy: on clean validation images, None for a run that diverged.
    """

    name: str
    kind: str
    design: str
    half: Half
    n_train: int
    seed: int
    status: str
    accuracy: float | None
    findings: tuple[Named, ...]

    @property
    def alarms(self) -> tuple[Named, ...]:
        """Findings above the severity of a note."""
        return tuple(found for found in self.findings if found.severity != "note")


def examine(
    cases: Sequence[BenchCase],
    records: Mapping[str, RunRecord],
    store: Store,
    *,
    should_stop: Callable[[], bool] = never,
) -> tuple[Outcome, ...]:
    """The outcome of every case that has a run, in the order of the cases."""
    workers.make_ready(PRELOAD)
    ready = [case for case in cases if case.name in records]
    found: dict[str, tuple[Named, ...]] = {}
    portions = [ready[start : start + RUNS_PER_PROCESS] for start in range(0, len(ready), RUNS_PER_PROCESS)]
    jobs = [
        workers.Job(
            name=portion[0].name,
            work=functools.partial(_examine, tuple(records[case.name].id for case in portion), store.url, store.home),
        )
        for portion in portions
    ]
    workers.run_jobs(
        jobs,
        worker_count=lambda _started: usable_cores(),
        watch=lambda message: found.update([message]),
        should_stop=should_stop,
    )
    return tuple(
        _outcome(case, records[case.name], found[records[case.name].id])
        for case in ready
        if records[case.name].id in found
    )


def _examine(
    run_ids: tuple[str, ...],
    url: str,
    home: Path,
    tell: Callable[[tuple[str, tuple[Named, ...]]], None],
    should_stop: Callable[[], bool],
) -> None:
    """A portion of the runs, in a process of its own."""
    store = Store.open(url, home=home)
    for run_id in run_ids:
        if should_stop():
            return
        findings = examine_run(run_id, store).diagnosis.findings
        tell((run_id, tuple(Named(code=one.code, severity=one.severity, rank=one.rank) for one in findings)))


def _outcome(case: BenchCase, record: RunRecord, findings: tuple[Named, ...]) -> Outcome:
    return Outcome(
        name=case.name,
        kind=case.kind.name if case.kind else "",
        design=case.design.name,
        half=case.design.half,
        n_train=case.n_train,
        seed=case.seed,
        status=record.status,
        accuracy=record.validation_accuracy,
        findings=findings,
    )
