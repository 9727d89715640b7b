"""One run of a recipe, from the plan to the record: this module connects data, net, training and records.

A run that diverges or is stopped is a result, not an exception; `watch` gets its events.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flyweight.errors import DataError, require_counts
from flyweight.experiment.events import Ended, EpochDone, Event, Started, Stepped, ignore, never
from flyweight.experiment.monitor import MakeMonitor, Monitor
from flyweight.experiment.plan import resolve
from flyweight.experiment.reported import ReportedMetricsWriter
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.results import write_results
from flyweight.experiment.schedule import learning_rate
from flyweight.experiment.setup import Workbench, prepare
from flyweight.recipe import Recipe, dumps, load
from flyweight.records.record import Purpose, RunRecord
from flyweight.records.store import EPOCH_VALUES, Store
from flyweight.train import checkpoint, loop
from flyweight.train.device import DeviceName
from flyweight.train.outcome import Outcome
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training


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
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> RunRecord:
    """Train one seed of a recipe, evaluate it, and record everything; the record says how it ended.

    `should_stop` is called after each step; when it returns true, the run is saved at that step and can be resumed.
    `group_id` and `group_seeds` are shared by the seeds of one result. `study` is the study of the run, `parent_hash`
    the recipe it was changed from (`canonical_hash(parent)`), for the journal. Lists and shortcuts show only runs of
    purpose "run". `monitor` checks the run while it trains: `watch` gets its findings, and it may end the run; the
    doctor's monitor is `flyweight.monitor()`.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        DataError, MissingError: images that cannot be read, or a device that is not there.
    """
    require_counts(seed=seed, threads=threads)
    resolved = resolve(recipe)
    recipe, cost = resolved.recipe, resolved.cost
    bench = prepare(recipe, seed=seed, device=device, threads=threads, source=resolved.source)
    record = store.start(
        name=recipe.name,
        seed=seed,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=resolved.hash,
        params=cost.params,
        macs=cost.macs,
        registered_params=cost.registered_params,
        data_name=recipe.data.name,
        data_hash=bench.image_set.fingerprint,
        split_hash=bench.split.hash,
        environment={**bench.environment, "group_seeds": list(group_seeds)},
        group_id=group_id,
        study=study,
        parent_hash=parent_hash,
        purpose=purpose,
        epochs_planned=recipe.train.epochs,
    )
    return _train(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)


def resume(
    selector: str,
    *,
    store: Store,
    device: DeviceName = "auto",
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> RunRecord:
    """Continue a stopped run from its saved step; the final weights are those of a run without the stop.

    Raises:
        UsageError: a run that has ended or is still running.
        DataError: images that have changed since it started, or a damaged checkpoint.
    """
    record = store.get(selector)
    folder = store.folder(record.id)
    if not folder.has("recipe"):
        raise DataError(f"run {record.id}: no recipe in {folder.path}; restore the folder or start a new run.")
    resolved = resolve(load(folder.file("recipe")))
    threads = record.environment.get("threads")
    bench = prepare(resolved.recipe, seed=record.seed, device=device, threads=threads, source=resolved.source)
    if bench.image_set.fingerprint != record.data_hash:
        raise DataError(
            f"run {record.id}: the images of {record.data_name} have changed since it started (hash "
            f"{record.data_hash[:12]}, now {bench.image_set.fingerprint[:12]}); restore them or start a new run."
        )
    saved = folder.checkpoint()
    if saved is not None:
        checkpoint.from_bytes(saved, bench.training)
    record = store.resume(record.id)
    return _train(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)


def _train(
    resolved: ResolvedRecipe,
    record: RunRecord,
    bench: Workbench,
    *,
    store: Store,
    monitor: MakeMonitor | None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> RunRecord:
    """Train from the current step of the bench; the row is closed in any case."""
    recipe, cost, training = resolved.recipe, resolved.cost, bench.training
    folder = store.folder(record.id)
    columns: dict[str, Any] = {}
    try:
        if not folder.has("recipe"):
            folder.write_recipe(dumps(recipe))
            folder.write_environment(bench.environment)
        active = None if monitor is None else monitor(resolved, training.history)
        if active is not None:
            watch, should_stop = _monitored(active, watch, should_stop)
        watch(
            Started(
                run_id=record.id,
                seed=record.seed,
                name=recipe.name,
                params=cost.params,
                epochs=recipe.train.epochs,
                first_epoch=training.epoch,
                judged_on=recipe.protocol.evaluate_on,
            )
        )
        outcome = _fit(recipe, record, bench, store=store, watch=watch, should_stop=should_stop)
        if outcome.status == "interrupted" and active is not None and active.reason:
            outcome = replace(outcome, message=f"{active.reason}; {outcome.message}")
        if outcome.status == "interrupted":
            folder.write_checkpoint(checkpoint.to_bytes(training))
        else:
            columns = write_results(recipe, record, cost, bench, outcome, store=store)
    except KeyboardInterrupt:
        store.finish(record.id, "interrupted", message="stopped by Ctrl-C", epochs_done=len(training.history))
        raise
    except BaseException as error:
        store.finish(record.id, "failed", message=f"{type(error).__name__}: {error}")
        raise
    record = store.finish(
        record.id,
        outcome.status,
        message=outcome.message,
        epochs_done=len(training.history),
        train_seconds=training.seconds,
        **columns,
    )
    watch(Ended(run_id=record.id, seed=record.seed, status=outcome.status, message=outcome.message))
    return record


def _monitored(
    monitor: Monitor, watch: Callable[[Event], None], should_stop: Callable[[], bool]
) -> tuple[Callable[[Event], None], Callable[[], bool]]:
    """`watch` that also gets the findings of the monitor; `should_stop`, also true once the monitor has a reason."""

    def watch_both(event: Event) -> None:
        watch(event)
        for found in monitor.watch(event):
            watch(found)

    return watch_both, lambda: should_stop() or bool(monitor.reason)


def _fit(
    recipe: Recipe,
    record: RunRecord,
    bench: Workbench,
    *,
    store: Store,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> Outcome:
    settings, folder = recipe.train, store.folder(record.id)
    images, labels = bench.validation
    reported = ReportedMetricsWriter(recipe, record, bench, store)

    def on_step(training: Training, *, n_steps: int, epochs: int) -> None:
        watch(_stepped(record, training, bench.batches.batch_size, n_steps=n_steps, epochs=epochs))

    def on_epoch(training: Training) -> None:
        metrics = training.history[-1]
        store.log_epoch(record.id, metrics.epoch, {name: getattr(metrics, name) for name in EPOCH_VALUES})
        folder.write_history(training.history)
        reported.on_epoch(training)
        folder.write_checkpoint(checkpoint.to_bytes(training))
        watch(EpochDone(run_id=record.id, seed=record.seed, epochs=settings.epochs, metrics=metrics))

    outcome = loop.fit(
        bench.training,
        bench.batches,
        FitSettings(
            epochs=settings.epochs,
            lr=functools.partial(learning_rate, recipe=recipe),
            loss=bench.loss,
            precision=bench.precision,
            patience=settings.patience,
            stop_at_accuracy=recipe.target.accuracy if recipe.target.stop else None,
            seconds_limit=recipe.budget.seconds,
        ),
        validate=lambda model: bench.evaluate(model, images, labels),
        on_step=on_step,
        on_epoch=on_epoch,
        should_stop=should_stop,
    )
    if outcome.status == "finished":
        reported.on_end(bench.training)
    return outcome


def _stepped(record: RunRecord, training: Training, batch_size: int, *, n_steps: int, epochs: int) -> Stepped:
    done, total = (training.epoch - 1) * n_steps + training.step, epochs * n_steps
    return Stepped(
        run_id=record.id,
        seed=record.seed,
        epoch=training.epoch,
        epochs=epochs,
        step=training.step,
        n_steps=n_steps,
        loss=training.loss_sum / training.count,
        accuracy=training.correct / training.count,
        images_per_second=done * batch_size / training.seconds,
        seconds_left=training.seconds * (total - done) / done,
    )
