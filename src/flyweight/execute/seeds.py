"""Several seeds of one recipe as one result, always trained anew; and what is left of such a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flyweight.errors import UsageError
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.process_executor import PROCESSES
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.recipe import Recipe, load
from flyweight.records.record import RunRecord
from flyweight.records.store import Store


def run_seeds(
    recipe: Recipe | ResolvedRecipe,
    *,
    seeds: Sequence[int],
    store: Store,
    executor: Executor = PROCESSES,
    study: str | None = None,
    parent_hash: str | None = None,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Train every seed and return their records, lowest seed first; all share one `group_id`.

    When asked to stop, each run is saved where it stands. `study`, `parent_hash` and `monitor` are those of `run`: a
    seed that a monitor stops leaves the others to go on.

    A script that calls this needs the usual `if __name__ == "__main__":`, since each process imports it anew.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a seed, when the others are done.
    """
    request = TrainingRequest(
        recipe=recipe,
        seeds=tuple(seeds),
        is_anew=True,
        study=study,
        parent_hash=parent_hash,
        monitor=monitor,
    )
    (found,) = execute([request], store=store, executor=executor, watch=watch, should_stop=should_stop)
    return _by_seed(found.records)


def resume_seeds(
    group_id: str,
    *,
    store: Store,
    executor: Executor = PROCESSES,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Go on with what is left of a group: its stopped runs, and its seeds that never began."""
    executor.make_ready()
    records = store.group(group_id)
    first, by_seed = records[0], {record.seed: record for record in records}
    planned = tuple(first.environment["group_seeds"])
    recipe = load(store.folder(first.id).file("recipe"))
    stopped = [record.seed for record in records if record.status in ("interrupted", "lost")]
    left = [*stopped, *(seed for seed in planned if seed not in by_seed)]
    if not left:
        raise UsageError(f"a run that goes on must have been stopped, found all {len(planned)} seeds of this one over.")
    jobs = [
        TrainingJob(
            recipe=recipe,
            seed=seed,
            group_id=group_id,
            group_seeds=planned,
            purpose=first.purpose,
            resumed=by_seed[seed].id if seed in by_seed else None,
            study=first.study,
            parent_hash=first.parent_hash,
            monitor=monitor,
        )
        for seed in left
    ]
    executor.train(jobs, store=store, watch=watch, should_stop=should_stop)
    return _by_seed(store.group(group_id))


def _by_seed(records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.seed))
