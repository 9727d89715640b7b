"""The end of an epoch and of a training: its metrics, its best weights, and whether it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from flyweight.train.divergence import first_not_finite
from flyweight.train.evaluate import Evaluation
from flyweight.train.metrics import EpochMetrics
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training

Status = Literal["finished", "diverged", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended; `message` explains it, with step and layer if it diverged."""

    status: Status
    message: str = ""


def end_epoch(
    training: Training, found: Evaluation | None, *, lr: float, last_images: Callable[[], Tensor]
) -> Outcome | None:
    """Append the metrics of the epoch, store the best weights, and reset the sums for the next epoch.

    found: of the validation images; None without any, and then no epoch is the best. lr: of the last step;
    last_images: its images, to find where a net diverged.
    """
    training.history.append(
        EpochMetrics(
            epoch=training.epoch,
            train_loss=training.loss_sum / training.count,
            train_accuracy=training.correct / training.count,
            validation_loss=found.loss if found is not None else None,
            validation_accuracy=found.accuracy if found is not None else None,
            lr=lr,
            seconds=training.epoch_seconds,
            images_per_second=training.count / training.epoch_seconds,
        )
    )
    is_finite = found is not None and math.isfinite(found.loss)
    if is_finite and (training.best_epoch == 0 or _is_better(training.history[-1], training.best)):
        training.best_epoch = training.epoch
        training.best_weights = {name: tensor.clone() for name, tensor in training.result.state_dict().items()}
    outcome = None
    if found is not None and not is_finite:
        outcome = diverged(training, last_images(), f"validation loss {found.loss}")
    training.epoch += 1
    training.step, training.count, training.correct = 0, 0, 0
    training.loss_sum, training.epoch_seconds = 0.0, 0.0
    return outcome


def early_end(training: Training, settings: FitSettings) -> Outcome | None:
    """The outcome if the target is reached, or if there was no better epoch for too long."""
    if not training.history:
        return None
    last, patience = training.history[-1], settings.patience
    reached, wanted = last.validation_accuracy, settings.stop_at_accuracy
    if wanted is not None and reached is not None and reached >= wanted:
        return Outcome(status="finished", message=f"target reached in epoch {last.epoch}")
    if patience is not None and last.epoch - training.best_epoch >= patience:
        return Outcome(status="finished", message=f"no better epoch in {patience}, stopped early")
    return None


def ended_before(training: Training, settings: FitSettings) -> Outcome | None:
    """The outcome of a training that had ended when it was saved, but was not recorded as ended."""
    if not training.history or training.step:
        return None
    if settings.seconds_limit is not None and training.seconds >= settings.seconds_limit:
        return Outcome(status="finished", message=f"stopped at its time budget of {settings.seconds_limit:g} s")
    return early_end(training, settings)


def interrupted(training: Training) -> Outcome:
    return Outcome(status="interrupted", message=f"after epoch {training.epoch}, step {training.step}")


def out_of_time(training: Training, limit: float, epochs: int, n_steps: int) -> Outcome:
    """limit: in seconds. n_steps: of an epoch."""
    return Outcome(
        status="finished",
        message=f"stopped at its time budget of {limit:g} s in epoch {training.epoch} of {epochs}, "
        f"after {training.step} of {n_steps} steps; the learning-rate schedule was not complete",
    )


def diverged(training: Training, images: Tensor, found: str) -> Outcome:
    """images: of the step at which something was not finite. found: what it was."""
    where = first_not_finite(training.model, images)
    return Outcome(
        status="diverged",
        message=f"{found} at epoch {training.epoch}, step {training.step + 1}; first seen in {where}",
    )


def _is_better(new: EpochMetrics, best: EpochMetrics) -> bool:
    """By accuracy, then by loss, since many epochs have equal accuracies."""
    return _rank(new) > _rank(best)


def _rank(metrics: EpochMetrics) -> tuple[float, float]:
    accuracy, loss = metrics.validation_accuracy, metrics.validation_loss
    return (0.0, -math.inf) if accuracy is None or loss is None else (accuracy, -loss)
