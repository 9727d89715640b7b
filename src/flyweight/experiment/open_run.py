"""A run that is under way: its row and folder, its monitor, and what is recorded when an epoch or the run ends.

It does not train: `run.py` trains one run, `population.py` several as one stacked net.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from torch import nn

from flyweight.errors import DataError, MissingError, UsageError
from flyweight.experiment.events import (
    Ended,
    EpochDone,
    Event,
    Measuring,
    StackEpochDone,
    StackStepped,
    Started,
    Stepped,
)
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.reported import ReportedMetricsWriter
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.results import write_results
from flyweight.experiment.schedule import learning_rate
from flyweight.experiment.setup import Workbench
from flyweight.recipe import Recipe, diff, dumps, load
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import TEST_CLOSED, Purpose, RunRecord
from flyweight.records.results import Split
from flyweight.records.store import EPOCH_VALUES, Store
from flyweight.train import checkpoint
from flyweight.train.evaluate import Evaluation
from flyweight.train.metrics import EpochMetrics
from flyweight.train.outcome import Outcome
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training


def fit_settings(recipe: Recipe, bench: Workbench) -> FitSettings:
    """What the loop needs of a recipe besides the bench."""
    return FitSettings(
        epochs=recipe.train.epochs,
        lr=functools.partial(learning_rate, recipe=recipe),
        loss=bench.loss,
        precision=bench.precision,
        patience=recipe.train.patience,
        stop_at_accuracy=recipe.target.accuracy if recipe.target.stop else None,
        seconds_limit=recipe.budget.seconds,
    )


def start_run(
    resolved: ResolvedRecipe,
    bench: Workbench,
    *,
    seed: int,
    store: Store,
    group_id: str | None,
    group_seeds: tuple[int, ...],
    study: str | None,
    parent_hash: str | None,
    purpose: Purpose,
    opens_test: bool,
) -> RunRecord:
    """Write the row of a new run."""
    recipe, cost = resolved.recipe, resolved.cost
    return store.start(
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
        environment={**bench.environment, "group_seeds": list(group_seeds), **({} if opens_test else TEST_CLOSED)},
        group_id=group_id,
        study=study,
        parent_hash=parent_hash,
        purpose=purpose,
        epochs_planned=recipe.train.epochs,
    )


def restore(record: RunRecord, bench: Workbench, store: Store) -> None:
    """Bring the training of a bench to where a stopped run was saved.

    Raises:
        UsageError: a run that is over or under way.
        DataError: images or a recipe file that were changed since the run started, or a damaged checkpoint.
    """
    store.require_resumable(record)
    folder = store.folder(record.id)
    if folder.has("recipe"):
        _require_unchanged(record, folder.file("recipe"))
    require_same_images(record, bench)
    saved = folder.checkpoint()
    if saved is not None:
        checkpoint.from_bytes(saved, bench.training)


def require_same_images(record: RunRecord, bench: Workbench) -> None:
    """Refuse images that are not those that a run started with.

    Raises:
        DataError: another fingerprint.
    """
    if bench.image_set.fingerprint != record.data_hash:
        raise DataError(
            f"run {record.id[:SHORT_ID]}: the images of {record.data_name} have changed since it started (hash "
            f"{record.data_hash[:12]}, now {bench.image_set.fingerprint[:12]}); restore them or start a new run."
        )


def _require_unchanged(record: RunRecord, path: Path) -> None:
    changes = diff(recipe_of(record), load(path))
    if changes:
        keys = ", ".join(change.key for change in changes)
        raise DataError(
            f"run {record.id[:SHORT_ID]}: {path} is not the recipe that it started with ({keys} differ); delete the "
            "file to continue with the recipe on record, or copy it and train the copy."
        )


# Faults that pass: a full disk, a folder that cannot be written, a database that is away, too little memory.
PASSING: Final = (OSError, MissingError, MemoryError)


class OpenRun:
    """A context that closes the row whatever happens within; `close` closes it with its outcome.

    An error closes it as failed; Ctrl-C and errors that pass (full disk, no database) close it as interrupted.

    n_stacked: how many runs train as one stacked net, itself included.
    """

    def __init__(
        self,
        resolved: ResolvedRecipe,
        record: RunRecord,
        bench: Workbench,
        *,
        store: Store,
        monitor: MakeMonitor | None,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
        n_stacked: int = 1,
    ) -> None:
        self.resolved, self.record, self.bench, self.store = resolved, record, bench, store
        self.folder = store.folder(record.id)
        self.is_open = True
        self.n_stacked = n_stacked
        self._make_monitor, self._watch_given, self._should_stop = monitor, watch, should_stop

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.is_open:
            found = self.fail(error)
            if found is not error:
                raise found from error

    def should_stop(self) -> bool:
        """Whether the run must stop after the current step."""
        return self.is_asked_to_stop() or self.is_ended_by_monitor

    def is_asked_to_stop(self) -> bool:
        """Whether the caller wants all runs to stop."""
        return self._should_stop()

    @property
    def is_ended_by_monitor(self) -> bool:
        return self.monitor is not None and bool(self.monitor.reason)

    def watch(self, event: Event) -> None:
        """Pass on an event, and then what the monitor finds in it."""
        self._watch_given(event)
        for found in self.monitor.watch(event) if self.monitor is not None else ():
            self._watch_given(found)

    def on_step(self, n_steps: int) -> None:
        self.watch(self.stepped(n_steps))

    def stepped(self, n_steps: int) -> Stepped:
        """The event of the latest step. n_steps: of an epoch."""
        training, epochs = self.bench.training, self.resolved.recipe.train.epochs
        done, total = (training.epoch - 1) * n_steps + training.step, epochs * n_steps
        return Stepped(
            run_id=self.record.id,
            seed=self.record.seed,
            epoch=training.epoch,
            epochs=epochs,
            step=training.step,
            n_steps=n_steps,
            loss=training.loss_sum / training.count,
            accuracy=training.correct / training.count,
            images_per_second=done * self.bench.batches.batch_size / training.seconds,
            seconds_left=training.seconds * (total - done) / done,
        )

    def announce(self, event: StackStepped | StackEpochDone) -> None:
        """Pass on an event of all runs that train as one stacked net; monitors get those of their own run."""
        self._watch_given(event)

    def on_epoch(self, training: Training, *, saves: bool = True, is_logged: bool = False) -> None:
        """Save the training if `saves`, and record the epoch that has just been validated, unless it is logged already.

        Files come first: where the database is away for long, the run is resumed from them.
        """
        self.reported.on_epoch(training)
        if saves:
            self.save()
        if not is_logged:
            self.store.log_epoch(self.record.id, *self.epoch_values())
        epochs = self.resolved.recipe.train.epochs
        self.watch(EpochDone(run_id=self.record.id, seed=self.record.seed, epochs=epochs, metrics=training.history[-1]))

    def epoch_values(self, metrics: EpochMetrics | None = None) -> tuple[int, dict[str, float | None]]:
        """The number of an epoch, by default the last one, and what the store keeps of it."""
        metrics = metrics or self.bench.training.history[-1]
        return metrics.epoch, {name: getattr(metrics, name) for name in EPOCH_VALUES}

    def save(self) -> None:
        """Write the curves and the checkpoint, from which a stopped run is resumed."""
        if self.bench.training.history:
            self.folder.write_history(self.bench.training.history)
        self.folder.write_checkpoint(checkpoint.to_bytes(self.bench.training))

    def evaluate(self) -> dict[Split, Evaluation]:
        """Evaluate the kept net of a finished training; an opening of the test images is counted."""
        bench, net = self.bench, self.kept_net()
        if net is None:
            return {}
        images = bench.image_set
        self._announce_measuring("training")
        evaluated: dict[Split, Evaluation] = {"train": bench.evaluate(net, *bench.trained_on)}
        if bench.has_validation:
            self._announce_measuring("validation")
            evaluated["validation"] = bench.evaluate(net, *bench.validation)
        if not self.record.opens_test:
            return evaluated
        self.open_test()
        self._announce_measuring("test")
        return {**evaluated, "test": bench.evaluate(net, images.test_images, images.test_labels)}

    def _announce_measuring(self, part: str) -> None:
        epochs = self.resolved.recipe.train.epochs
        self.watch(Measuring(run_id=self.record.id, seed=self.record.seed, epochs=epochs, part=part))

    def kept_net(self) -> nn.Module | None:
        """The net of the best epoch (by validation, or as the protocol has it) or of the last one, by the recipe."""
        training = self.bench.training
        if self.bench.has_validation and not training.best_epoch:
            return None
        if self.resolved.recipe.train.keep == "best":
            training.result.load_state_dict(training.best_weights)
        return training.result

    def open_test(self) -> None:
        """Count the opening of the test images for the final figure."""
        self.store.open_test(self.record.id, "final figure of the run")

    def close(self, outcome: Outcome, evaluated: Mapping[Split, Evaluation]) -> RunRecord:
        """Write the results, or the checkpoint of a stopped run, and close the row.

        evaluated: the kept net on each split; empty if there is none.
        """
        if outcome.status == "finished":
            self.reported.on_end(self.bench.training)
        if outcome.status == "interrupted":
            if self.monitor is not None and self.is_ended_by_monitor:
                outcome = replace(outcome, message=f"{self.monitor.reason}; {outcome.message}")
            self.save()
            return self.finish(outcome, {})
        return self.finish(outcome, self.write_results(outcome, evaluated))

    def write_results(self, outcome: Outcome, evaluated: Mapping[Split, Evaluation]) -> dict[str, Any]:
        """Write the run folder, and return the columns of the row; it may be called in a thread of its own.

        The finished training is saved first: a run that is killed before its row is closed is resumed at its end.
        """
        self.save()
        return write_results(self.resolved, self.record, self.bench, outcome, evaluated, store=self.store)

    def finish(self, outcome: Outcome, columns: Mapping[str, Any]) -> RunRecord:
        """Close the row."""
        training, record = self.bench.training, self.record
        record = self.store.finish(
            record.id,
            outcome.status,
            message=outcome.message,
            epochs_done=len(training.history),
            train_seconds=training.seconds,
            **columns,
        )
        self.is_open = False
        if outcome.status != "interrupted":
            self.folder.tidy()
        self.watch(Ended(run_id=record.id, seed=record.seed, status=outcome.status, message=outcome.message))
        return record

    def fail(self, error: BaseException) -> BaseException:
        """Close the row after an error, unless somebody else has closed it; returns the error to raise.

        An error that passes, such as a full disk, leaves a run that can be resumed, and the error says how.
        """
        self.is_open = False
        done, epochs = len(self.bench.training.history), self.resolved.recipe.train.epochs
        if isinstance(error, PASSING):
            # The error of one run of a stack closes the others too: they have the same cause.
            found = _plainly(error.__cause__ if isinstance(error.__cause__, PASSING) else error)
            with suppress(UsageError, MissingError):  # if the database is away, the run will be found to be lost
                self.store.finish(self.record.id, "interrupted", message=found, epochs_done=done)
            return MissingError(
                f"run {self.record.id} was stopped after {done} of {epochs} epochs: {found}. Mend that, then continue "
                f"with: flyweight train --resume {self.record.id}"
            )
        with suppress(UsageError):
            if isinstance(error, KeyboardInterrupt):
                self.store.finish(self.record.id, "interrupted", message="stopped by Ctrl-C", epochs_done=done)
            else:
                self.store.finish(self.record.id, "failed", message=f"{type(error).__name__}: {error}")
        return error

    def _start(self) -> None:
        recipe, record, training = self.resolved.recipe, self.record, self.bench.training
        self.monitor = None
        self.reported = ReportedMetricsWriter(recipe, record, self.bench, self.store)
        if not self.folder.has("recipe"):
            self.folder.write_recipe(dumps(recipe))
        if not self.folder.has("environment"):  # a run can be killed between the two
            self.folder.write_environment(self.bench.environment)
        for metrics in training.history:  # of a resumed run; the last one may be in its files only
            self.store.log_epoch(record.id, *self.epoch_values(metrics))
        if self._make_monitor is not None:
            self.monitor = self._make_monitor(self.resolved, training.history)
        self.watch(
            Started(
                run_id=record.id,
                seed=record.seed,
                name=recipe.name,
                params=self.resolved.cost.params,
                epochs=recipe.train.epochs,
                first_epoch=training.epoch,
                judged_on=recipe.protocol.evaluate_on,
                n_stacked=self.n_stacked,
                began_with=record.environment.get("began_with", {}),
            )
        )


def _plainly(error: BaseException) -> str:
    """What an error says, without the name of its class."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return " ".join(str(error).split()) or "too little memory"
