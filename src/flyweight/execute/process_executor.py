"""Runs in parallel on the cores, each in its own process with one thread.

A small net does not fill two threads: two processes with one thread each do the work of both cores, while two
processes with two threads each wait for one another (docs/notebook.md has the measurement).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flyweight.errors import require_counts
from flyweight.execute import processes
from flyweight.execute.request import TrainingJob
from flyweight.execute.worker_count import seeds_in_memory, worker_count
from flyweight.experiment.events import Event
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.model.own_code import accept_only, hash_of
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.train.device import DeviceName

PRELOAD: Final = "flyweight.execute.preload"  # a name, because only another process imports it


@dataclass(frozen=True, kw_only=True)
class Processes:
    """at_once: maximum number of parallel runs; default: one per core, and more at the end (`worker_count`)."""

    device: DeviceName = "auto"
    at_once: int | None = None

    def __post_init__(self) -> None:
        require_counts(at_once=self.at_once)

    def make_ready(self) -> None:
        """Start to load torch in the process that workers are forked from."""
        processes.make_ready(PRELOAD)

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Run the jobs in parallel; then close the records of processes that were killed."""
        try:
            processes.run_jobs(
                [
                    processes.Job(
                        name=f"seed {job.seed}",
                        work=functools.partial(_train, job, hash_of(_net(job)), store.url, store.home, self.device),
                    )
                    for job in jobs
                ],
                worker_count=self._worker_count(len(jobs)),
                watch=watch,
                should_stop=should_stop,
            )
        finally:
            store.mark_lost()

    def _worker_count(self, n_jobs: int) -> Callable[[int], int]:
        """From the number of started jobs to the maximum number of parallel ones; `at_once` is never exceeded."""
        if self.at_once is not None:
            return lambda _started: self.at_once or 1
        from flyweight.train.device import usable_cores

        return functools.partial(worker_count, n_jobs=n_jobs, cores=usable_cores(), limit=seeds_in_memory())


def _net(job: TrainingJob) -> str:
    recipe = job.request.recipe
    return (recipe.recipe if isinstance(recipe, ResolvedRecipe) else recipe).model.net


def _train(
    job: TrainingJob,
    own_code: str | None,
    url: str,
    home: Path,
    device: DeviceName,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """One job, in its own process; only this function needs torch. own_code: the only code of a user that it runs."""
    from flyweight.execute.job import train_job

    accept_only(own_code)
    train_job(job, store=Store.open(url, home=home), device=device, watch=watch, should_stop=should_stop)
