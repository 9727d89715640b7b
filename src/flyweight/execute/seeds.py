"""Several seeds of one recipe as one result: train all of them, or continue a result that was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flyweight.errors import UsageError, in_one_line
from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.notebook import shown_in_notebook
from flyweight.experiment.plan import resolve
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.model import own_code
from flyweight.recipe import Recipe
from flyweight.records.record import STOPPED, RunRecord
from flyweight.records.store import Store


@in_one_line
def run_seeds(
    recipe: Recipe | ResolvedRecipe,
    *,
    seeds: Sequence[int],
    store: Store,
    executor: Executor = AUTOMATIC,
    study: str | None = None,
    parent_hash: str | None = None,
    trust_code: bool = False,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Train every seed and return the records, lowest seed first; all share one `group_id`.

    When `should_stop` becomes true, each run is saved at its current step. `study`, `parent_hash`, `trust_code` and
    `monitor`: as for `run`; when a monitor stops one seed, the others continue.

    A script that calls this needs the usual `if __name__ == "__main__":`, because each process imports the script.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        FlyweightError: the first error of a seed, after the others have ended.
    """
    request = TrainingRequest(
        recipe=resolve(recipe, trust_code=trust_code) if trust_code else recipe,
        seeds=tuple(seeds),
        retrain=True,
        study=study,
        parent_hash=parent_hash,
        monitor=monitor,
    )
    (found,) = execute(
        [request], store=store, executor=executor, watch=shown_in_notebook(watch), should_stop=should_stop
    )
    return _by_seed(found.records)


@in_one_line
def resume_seeds(
    group_id: str,
    *,
    store: Store,
    executor: Executor = AUTOMATIC,
    trust_code: bool = False,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> tuple[RunRecord, ...]:
    """Continue a group: resume its stopped runs, and start its missing seeds. `trust_code`: as for `run`."""
    executor.make_ready()
    store.mark_lost()
    records = store.group(group_id)
    first, by_seed = records[0], {record.seed: record for record in records}
    recipe = recipe_of(first)
    own_code.require_same(recipe.model.net, first.own_code)
    if trust_code:
        own_code.trust(recipe.model.net)
    request = TrainingRequest(
        recipe=recipe,
        seeds=tuple(first.environment["group_seeds"]),
        purpose=first.purpose,
        opens_test=first.opens_test,
        study=first.study,
        parent_hash=first.parent_hash,
        monitor=monitor,
    )
    stopped = [record.seed for record in records if record.status in STOPPED]
    remaining = [*stopped, *(seed for seed in request.seeds if seed not in by_seed)]
    if not remaining:
        raise UsageError(
            f"nothing to resume: none of the {len(request.seeds)} seeds of group {group_id} was stopped; train more "
            "with: flyweight train RECIPE --seeds N; or start from a run's weights: flyweight train --from RUN"
        )
    resumed = {seed: by_seed[seed].id for seed in stopped}
    jobs = [TrainingJob(request=request, seed=seed, group_id=group_id, resumed=resumed.get(seed)) for seed in remaining]
    executor.train(jobs, store=store, watch=shown_in_notebook(watch), should_stop=should_stop)
    return _by_seed(store.group(group_id))


def _by_seed(records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.seed))
