"""The training loop: a net, batches and settings go in, trained weights and a history come out.

It knows neither recipes nor records: it calls the given functions after steps and epochs. Its complete state is a
`Training`, which `checkpoint.py` saves; every random number is a function of (seed, epoch, step), so a resumed run
gives the same result.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import nn

from flyweight.data.batches import Batch, Batches
from flyweight.train.device import Precision
from flyweight.train.divergence import first_not_finite
from flyweight.train.epoch import EpochPlan, plan_epoch
from flyweight.train.evaluate import Evaluation
from flyweight.train.loss import CrossEntropy, Loss
from flyweight.train.metrics import EpochMetrics
from flyweight.train.running import Clock, Sums
from flyweight.train.step import backward, forward, update
from flyweight.train.training import Training

# Reading the loss waits for the GPU, so it is checked only every this many steps; on a CPU at each step.
STEPS_BETWEEN_CHECKS_ON_GPU = 50


class StepReporter(Protocol):
    def __call__(self, training: Training, *, n_steps: int, epochs: int) -> None: ...


Status = Literal["finished", "diverged", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the loop ended; `message` explains it, with step and layer if it diverged."""

    status: Status
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Length, learning rate, loss and precision of a training.

    lr: learning rate by progress (0 before the first step, 1 after the last). patience: it stops after this many
    epochs without a better one.
    """

    epochs: int
    lr: Callable[[float], float]
    loss: Loss = field(default_factory=CrossEntropy)
    precision: Precision = "float32"
    patience: int | None = None
    stop_at_accuracy: float | None = None
    seconds_limit: float | None = None


def fit(
    training: Training,
    batches: Batches,
    settings: FitSettings,
    *,
    validate: Callable[[nn.Module], Evaluation],
    on_step: StepReporter | None = None,
    on_epoch: Callable[[Training], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train all epochs, or fewer if a setting, a divergence or `should_stop` ends it; `training` has the results.

    should_stop: called after each complete step. on_epoch: called after the validation of an epoch.
    """
    with torch.random.fork_rng(devices=[]):
        while training.epoch <= settings.epochs:
            clock = Clock(training)
            plan = plan_epoch(batches, training.epoch, epochs=settings.epochs, lr=settings.lr)
            ended = _epoch(training, batches, plan, settings, clock, on_step=on_step, should_stop=should_stop)
            if ended and ended.status != "finished":
                return ended
            outcome = _measure(training, validate, batches, plan)
            if on_epoch:
                on_epoch(training)
            stopped = outcome or ended or _early_end(training, settings)
            if stopped:
                return stopped
    return Outcome(status="finished")


def _epoch(
    training: Training,
    batches: Batches,
    plan: EpochPlan,
    settings: FitSettings,
    clock: Clock,
    *,
    on_step: StepReporter | None,
    should_stop: Callable[[], bool],
) -> Outcome | None:
    """The steps of one epoch from `training.step` on; returns an outcome if the training ends here."""
    training.model.train()
    device = batches.images.device
    check_every = 1 if device.type == "cpu" else STEPS_BETWEEN_CHECKS_ON_GPU
    lrs, dropout_seeds = plan.lrs.tolist(), plan.dropout_seeds.tolist()
    sums, ended = Sums(training, device), None
    while ended is None and training.step < plan.n_steps:
        step = training.step
        batch = batches.batch(plan.draws, step)
        logits = forward(training.model, batch.images, dropout_seed=dropout_seeds[step], precision=settings.precision)
        loss = settings.loss(logits, batch)
        if (step + 1) % check_every == 0 and not math.isfinite(loss.item()):
            clock.lap()
            return _diverged(training, batch, f"loss {loss.item()}")
        backward(loss, training.optimizer)
        update(training.optimizer, lr=lrs[step])
        if training.average is not None:
            training.average.update_parameters(training.model)
        loss = loss.detach() if settings.loss.reduction == "mean" else loss.detach() / len(batch.labels)
        sums.add(loss, logits.detach(), batch.labels)
        training.step += 1
        if on_step and clock.is_due():
            clock.lap()
            sums.read()
            on_step(training, n_steps=plan.n_steps, epochs=settings.epochs)
        ended = _ended(training, clock, settings, n_steps=plan.n_steps, should_stop=should_stop)
    sums.read()
    clock.lap()
    return ended


def _ended(
    training: Training, clock: Clock, settings: FitSettings, *, n_steps: int, should_stop: Callable[[], bool]
) -> Outcome | None:
    """An outcome if the training must end after this step."""
    if should_stop():
        return Outcome(status="interrupted", message=f"after epoch {training.epoch}, step {training.step}")
    limit = settings.seconds_limit
    if limit is not None and clock.lap() >= limit:
        return Outcome(
            status="finished",
            message=f"stopped at its time budget of {limit:g} s in epoch {training.epoch} of {settings.epochs}, "
            f"after {training.step} of {n_steps} steps; the learning-rate schedule was not complete",
        )
    return None


def _measure(
    training: Training, validate: Callable[[nn.Module], Evaluation], batches: Batches, plan: EpochPlan
) -> Outcome | None:
    """Validate, append the metrics of the epoch, store the best weights, and reset the sums for the next epoch."""
    found = validate(training.result)
    training.history.append(
        EpochMetrics(
            epoch=training.epoch,
            train_loss=training.loss_sum / training.count,
            train_accuracy=training.correct / training.count,
            validation_loss=found.loss,
            validation_accuracy=found.accuracy,
            lr=float(plan.lrs[training.step - 1]),
            seconds=training.epoch_seconds,
            images_per_second=training.count / training.epoch_seconds,
        )
    )
    is_finite = math.isfinite(found.loss)
    if is_finite and (training.best_epoch == 0 or _is_better(training.history[-1], training.best)):
        training.best_epoch = training.epoch
        training.best_weights = copy.deepcopy(training.result.state_dict())
    outcome = None
    if not is_finite:
        last = batches.batch(plan.draws, plan.n_steps - 1)
        outcome = _diverged(training, last, f"validation loss {found.loss}")
    training.epoch += 1
    training.step, training.count, training.correct = 0, 0, 0
    training.loss_sum, training.epoch_seconds = 0.0, 0.0
    return outcome


def _is_better(new: EpochMetrics, best: EpochMetrics) -> bool:
    """By accuracy, then by loss, since many epochs have equal accuracies."""
    return (new.validation_accuracy, -new.validation_loss) > (best.validation_accuracy, -best.validation_loss)


def _early_end(training: Training, settings: FitSettings) -> Outcome | None:
    last, patience = training.history[-1], settings.patience
    if settings.stop_at_accuracy is not None and last.validation_accuracy >= settings.stop_at_accuracy:
        return Outcome(status="finished", message=f"target reached in epoch {last.epoch}")
    if patience is not None and last.epoch - training.best_epoch >= patience:
        return Outcome(status="finished", message=f"no better epoch in {patience}, stopped early")
    return None


def _diverged(training: Training, batch: Batch, found: str) -> Outcome:
    where = first_not_finite(training.model, batch.images)
    return Outcome(
        status="diverged",
        message=f"{found} at epoch {training.epoch}, step {training.step + 1}; first seen in {where}",
    )
