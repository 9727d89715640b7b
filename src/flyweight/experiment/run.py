"""One run of a recipe, from the plan to the record: this module connects data, net, training and records.

A run that diverges or is stopped is a result, not an exception; `watch` gets its events.
"""

from __future__ import annotations

from collections.abc import Callable

from flyweight.errors import in_one_line, require_counts
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.notebook import shown_in_notebook
from flyweight.experiment.open_run import OpenRun, fit_settings, restore, start_run
from flyweight.experiment.plan import resolve
from flyweight.experiment.population import captured_alone, train_together
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.setup import prepare
from flyweight.model import own_code
from flyweight.recipe import Recipe
from flyweight.records.record import Purpose, RunRecord
from flyweight.records.store import Store
from flyweight.train import loop
from flyweight.train.captured import StackedSteps
from flyweight.train.device import DeviceName


@in_one_line
def run(
    recipe: Recipe | ResolvedRecipe,
    *,
    seed: int = 0,
    store: Store,
    device: DeviceName = "auto",
    threads: int | None = None,
    group_id: str | None = None,
    group_seeds: tuple[int, ...] = (),
    study: str | None = None,
    parent_hash: str | None = None,
    purpose: Purpose = "run",
    opens_test: bool = True,
    trust_code: bool = False,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> RunRecord:
    """Train one seed of a recipe, evaluate it, and record everything; the record says how it ended.

    `should_stop` is called after each step; when it returns true, the run is saved at that step and can be resumed.
    `group_id` and `group_seeds` are shared by the seeds of one result. `study` is the study of the run, `parent_hash`
    the recipe it was changed from (`canonical_hash(parent)`), for the journal. Lists and shortcuts show only runs of
    purpose "run". `monitor` checks the run while it trains: `watch` gets its findings, and it may end the run; the
    doctor's monitor is `flyweight.monitor()`. `opens_test`: without it, the run has no test figure until `open_test`
    opens the test images for it. `trust_code`: run the file of an own module, and remember its hash; else
    only a file that is trusted already is run. In a notebook, the default of `watch` shows a bar.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        DataError, MissingError: images that cannot be read, or a device that is not there.
    """
    require_counts(seed=seed, threads=threads)
    resolved = resolve(recipe, trust_code=trust_code)
    bench = prepare(resolved.recipe, seed=seed, device=device, threads=threads, source=resolved.source)
    steps, bench = captured_alone(resolved, bench)
    record = start_run(
        resolved,
        bench,
        seed=seed,
        store=store,
        group_id=group_id,
        group_seeds=group_seeds,
        study=study,
        parent_hash=parent_hash,
        purpose=purpose,
        opens_test=opens_test,
    )
    watch = shown_in_notebook(watch)
    run = OpenRun(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)
    return _train(run, steps)


@in_one_line
def resume(
    selector: str,
    *,
    store: Store,
    device: DeviceName = "auto",
    trust_code: bool = False,
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> RunRecord:
    """Continue a stopped run from its saved step; the final weights are those of a run without the stop.

    `trust_code`: as for `run`.

    Raises:
        UsageError: a run that has ended or is still running, or an own module whose file is another now.
        DataError: images that have changed since it started, or a damaged checkpoint.
    """
    record = store.get(selector)
    store.require_resumable(record)
    recipe = recipe_of(record)
    own_code.require_same(recipe.model.net, record.own_code)
    resolved = resolve(recipe, trust_code=trust_code)
    threads = record.environment.get("threads")
    bench = prepare(resolved.recipe, seed=record.seed, device=device, threads=threads, source=resolved.source)
    restore(record, bench, store)
    steps, bench = captured_alone(resolved, bench)
    record = store.resume(record.id, environment=bench.environment)
    watch = shown_in_notebook(watch)
    run = OpenRun(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)
    return _train(run, steps)


def _train(run: OpenRun, steps: StackedSteps | None) -> RunRecord:
    """Train from the current step of the bench; the row is closed in any case. steps: captured ones, if there are."""
    with run:
        if steps is not None:
            (record,) = train_together([run], steps)
            return record
        bench = run.bench
        images, labels = bench.validation
        outcome = loop.fit(
            bench.training,
            bench.batches,
            fit_settings(run.resolved.recipe, bench),
            validate=(lambda model: bench.evaluate(model, images, labels)) if bench.has_validation else None,
            on_step=run.on_step,
            on_epoch=run.on_epoch,
            should_stop=run.should_stop,
        )
        return run.close(outcome, run.evaluate() if outcome.status == "finished" else {})
