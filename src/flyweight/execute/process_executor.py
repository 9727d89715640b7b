"""Runs in processes of their own, side by side on the cores, one process with one thread each.

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
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.train.device import DeviceName

PRELOAD: Final = "flyweight.execute.preload"  # a name: it is loaded in another process, while this one stays light


@dataclass(frozen=True, kw_only=True)
class Processes:
    """at_once: how many train side by side at most; default: one a core, and the last few beside each other."""

    device: DeviceName = "auto"
    at_once: int | None = None

    def __post_init__(self) -> None:
        require_counts(at_once=self.at_once)

    def make_ready(self) -> None:
        """Load what a training needs where processes are forked from."""
        processes.make_ready(PRELOAD)

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Do the jobs side by side, and close what a process that was ended leaves open."""
        try:
            processes.work_off(
                [
                    processes.Job(
                        name=f"seed {job.seed}",
                        work=functools.partial(_train, job, store.url, store.home, self.device),
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
        """From how many have begun to how many may train at once; a number that was asked for is never exceeded."""
        if self.at_once is not None:
            return lambda _started: self.at_once or 1
        from flyweight.train.device import usable_cores

        return functools.partial(worker_count, n_jobs=n_jobs, cores=usable_cores(), limit=seeds_in_memory())


PROCESSES: Final = Processes()


def _train(
    job: TrainingJob,
    url: str,
    home: Path,
    device: DeviceName,
    tell: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """One job, in a process of its own; only here is torch needed."""
    from flyweight.experiment.run import resume, run

    store = Store.open(url, home=home)
    if job.resumed:
        resume(job.resumed, store=store, device=device, monitor=job.monitor, watch=tell, should_stop=should_stop)
        return
    run(
        job.recipe,
        seed=job.seed,
        store=store,
        device=device,
        group_id=job.group_id,
        group_seeds=job.group_seeds,
        purpose=job.purpose,
        study=job.study,
        parent_hash=job.parent_hash,
        monitor=job.monitor,
        watch=tell,
        should_stop=should_stop,
    )
