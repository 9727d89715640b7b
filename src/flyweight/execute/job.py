"""One job in this process: a new run, or a stopped one that is resumed."""

from __future__ import annotations

from collections.abc import Callable

from flyweight.execute.request import TrainingJob
from flyweight.experiment.events import Event
from flyweight.experiment.run import resume, run
from flyweight.records.store import Store
from flyweight.train.device import DeviceName


def train_job(
    job: TrainingJob,
    *,
    store: Store,
    device: DeviceName,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train the run of a job until it ends or is stopped."""
    request = job.request
    if job.resumed:
        resume(job.resumed, store=store, device=device, monitor=request.monitor, watch=watch, should_stop=should_stop)
        return
    run(
        request.recipe,
        seed=job.seed,
        store=store,
        device=device,
        group_id=job.group_id,
        group_seeds=request.seeds,
        purpose=request.purpose,
        opens_test=request.opens_test,
        study=request.study,
        parent_hash=request.parent_hash,
        monitor=request.monitor,
        watch=watch,
        should_stop=should_stop,
    )
