"""One run of a recipe, from the plan to the record: the only place where data, net, training and records meet.

A run that diverges or is stopped is a result, not an exception; events on the way go to `watch`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from flyweight.errors import DataError, require_counts
from flyweight.experiment.events import Ended, EpochDone, Event, Started, Stepped, ignore, never
from flyweight.experiment.monitor import MakeMonitor, Monitor
from flyweight.experiment.plan import resolve
from flyweight.experiment.reported import Telling
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.results import keep_results
from flyweight.experiment.schedule import learning_rate
from flyweight.experiment.setup import Workbench, prepare
from flyweight.recipe import Recipe, dumps, load
from flyweight.records.record import Purpose, RunRecord
from flyweight.records.store import Store
from flyweight.train import checkpoint, loop
from flyweight.train.device import DeviceName
from flyweight.train.loop import FitSettings, Outcome
from flyweight.train.training import Training

# What of an epoch is a column; images per second follow from the seconds.
LOGGED: Final = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "seconds")


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
    """Train one seed of a recipe, measure it, and keep everything; the record says how it ended.

    `should_stop` is asked after each step; a stopped run is saved there and can be resumed. `group_id` and
    `group_seeds` tie the seeds of one result together. `study` names the study that the run belongs to, and
    `parent_hash` is the recipe it was changed from (`canonical_hash(parent)`), for its journal. Lists and
    shortcuts show runs of purpose "run" only. `monitor` looks on: what it finds goes to `watch`, and it may end the
    run; the doctor's is `flyweight.monitor()`.

    Raises:
        RecipeError, OverBudgetError: before anything is spent.
        DataError, MissingError: images or a device that are not what they must be.
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
    folder = store.folder(record.id)
    folder.write_recipe(dumps(recipe))
    folder.write_environment(bench.environment)
    return _carry_out(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)


def resume(
    selector: str,
    *,
    store: Store,
    device: DeviceName = "auto",
    monitor: MakeMonitor | None = None,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> RunRecord:
    """Continue a stopped run where it was saved; it ends with the weights it would have had without the stop.

    Raises:
        UsageError: a run that is over or still running.
        DataError: other images than it began with, or a damaged checkpoint.
    """
    record = store.get(selector)
    folder = store.folder(record.id)
    if not folder.has("recipe"):
        raise DataError(f"run {record.id}: its folder {folder.path} is gone or not whole; start a new run.")
    resolved = resolve(load(folder.file("recipe")))
    threads = record.environment.get("threads")
    bench = prepare(resolved.recipe, seed=record.seed, device=device, threads=threads, source=resolved.source)
    if bench.image_set.fingerprint != record.data_hash:
        raise DataError(
            f"run {record.id} must go on with the images it began with ({record.data_name}, hash "
            f"{record.data_hash[:12]}), found hash {bench.image_set.fingerprint[:12]}; "
            "bring them back or start a new run."
        )
    saved = folder.checkpoint()
    if saved is not None:
        checkpoint.from_bytes(saved, bench.training)
    record = store.resume(record.id)
    return _carry_out(resolved, record, bench, store=store, monitor=monitor, watch=watch, should_stop=should_stop)


def _carry_out(
    resolved: ResolvedRecipe,
    record: RunRecord,
    bench: Workbench,
    *,
    store: Store,
    monitor: MakeMonitor | None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> RunRecord:
    """Train from where the bench stands; the row is closed whatever happens."""
    recipe, cost, training = resolved.recipe, resolved.cost, bench.training
    looks_on = None if monitor is None else monitor(resolved, training.history)
    if looks_on is not None:
        watch, should_stop = _monitored(looks_on, watch, should_stop)
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
    columns: dict[str, Any] = {}
    try:
        outcome = _fit(recipe, record, bench, store=store, watch=watch, should_stop=should_stop)
        if outcome.status == "interrupted" and looks_on is not None and looks_on.reason:
            outcome = replace(outcome, message=f"{looks_on.reason}; {outcome.message}")
        if outcome.status == "interrupted":
            store.folder(record.id).write_checkpoint(checkpoint.to_bytes(training))
        else:
            columns = keep_results(recipe, record, cost, bench, outcome, store=store)
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
    """`watch` that also gets what the monitor finds, and `should_stop`, also true once the monitor has a reason."""

    def tell(event: Event) -> None:
        watch(event)
        for found in monitor.watch(event):
            watch(found)

    return tell, lambda: should_stop() or bool(monitor.reason)


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
    tell = Telling(recipe, record, bench, store)

    def on_step(training: Training, *, n_steps: int, epochs: int) -> None:
        watch(_look(record, training, bench.batches.batch_size, n_steps=n_steps, epochs=epochs))

    def on_epoch(training: Training) -> None:
        metrics = training.history[-1]
        store.log_epoch(record.id, metrics.epoch, {name: getattr(metrics, name) for name in LOGGED})
        folder.write_history(training.history)
        tell(training)
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
        tell.end(bench.training)
    return outcome


def _look(record: RunRecord, training: Training, batch_size: int, *, n_steps: int, epochs: int) -> Stepped:
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
