"""The training loop: a net, batches and plain settings go in, trained weights and a history come out.

It knows neither recipes nor records: what happens with a finished step or epoch is up to the plain functions it
is given. Its whole state is a `Training`, which `checkpoint.py` saves; every random number is a function of
(seed, epoch, step), so a resumed run is the same run.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flyweight.data.batches import Batches, Stream, seeds
from flyweight.train.device import Precision
from flyweight.train.evaluate import Evaluation
from flyweight.train.metrics import EpochMetrics

# Somebody who watches is shown the running figures this often; each look waits for the device.
SECONDS_BETWEEN_LOOKS = 0.1

# On a GPU reading the loss waits for the device, so it is read every so many steps; on a CPU at each.
STEPS_BETWEEN_CHECKS_ON_GPU = 50


@dataclass(kw_only=True)
class Training:
    """Everything that changes while a net is trained; `epoch` and `step` are the next ones to do.

    last_batch: the logits (N, classes) and labels (N,) of the step before, for who wants to know its loss.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None
    epoch: int = 1
    step: int = 0
    history: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    last_batch: tuple[Tensor, Tensor] | None = None

    @property
    def result(self) -> nn.Module:
        """The net that is judged: the average of the weights where there is one."""
        return self.average.module if self.average is not None else self.model

    @property
    def best(self) -> EpochMetrics:
        return self.history[self.best_epoch - 1]


class StepReporter(Protocol):
    def __call__(self, training: Training, *, n_steps: int, epochs: int) -> None: ...


Status = Literal["finished", "diverged", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the loop ended; `message` says it in words, with step and layer where it diverged."""

    status: Status
    message: str = ""


def start(model: nn.Module, optimizer: torch.optim.Optimizer, *, ema: float) -> Training:
    """A training before its first step; `ema` is the decay per step of the averaged weights, 0 for none."""
    average = AveragedModel(model, multi_avg_fn=functools.partial(_towards, ema), use_buffers=True) if ema > 0 else None
    return Training(model=model, optimizer=optimizer, average=average)


@torch.no_grad()
def _towards(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor], n_averaged: Tensor) -> None:
    """Move each average towards its value by 1 - decay, and faster at first, where it would still hold the start.

    The decay of step n is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage. Counters of batch
    norm, which are whole numbers, are taken over.
    """
    share = (1 - (1 + n_averaged) / (10 + n_averaged)).clamp_min(1 - decay)
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, share.to(average.dtype))
        else:
            average.copy_(value)


def fit(
    training: Training,
    batches: Batches,
    *,
    validate: Callable[[nn.Module], Evaluation],
    epochs: int,
    lr: Callable[[float], float],
    label_smoothing: float = 0.0,
    loss_reduction: Literal["mean", "sum"] = "mean",
    precision: Precision = "float32",
    patience: int | None = None,
    stop_at_accuracy: float | None = None,
    seconds_limit: float | None = None,
    on_step: StepReporter | None = None,
    on_epoch: Callable[[Training], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until `epochs` are done or something ends it earlier; `training` holds all that came out.

    lr: learning rate by progress (0 before the first step, 1 after the last). should_stop is asked after each
    step: the step is finished, the state is whole. on_epoch is called when an epoch is measured.
    """
    with torch.random.fork_rng(devices=[]):
        while training.epoch <= epochs:
            ended = _epoch(
                training,
                batches,
                epochs=epochs,
                lr=lr,
                label_smoothing=label_smoothing,
                loss_reduction=loss_reduction,
                precision=precision,
                seconds_limit=seconds_limit,
                on_step=on_step,
                should_stop=should_stop,
            )
            if ended and ended.status != "finished":
                return ended
            outcome = _measure(training, validate, batches)
            if on_epoch:
                on_epoch(training)
            stopped = outcome or ended or _is_enough(training, patience, stop_at_accuracy)
            if stopped:
                return stopped
    return Outcome(status="finished")


def _epoch(
    training: Training,
    batches: Batches,
    *,
    epochs: int,
    lr: Callable[[float], float],
    label_smoothing: float,
    loss_reduction: Literal["mean", "sum"],
    precision: Precision,
    seconds_limit: float | None,
    on_step: StepReporter | None,
    should_stop: Callable[[], bool],
) -> Outcome | None:
    """The steps of one epoch from `training.step` on; an outcome where it ends before the last of them."""
    model, optimizer = training.model, training.optimizer
    model.train()
    n_steps = batches.n_steps
    total = epochs * n_steps
    dropout_seeds = seeds(batches.seed, Stream.DROPOUT, training.epoch, count=n_steps)
    device = batches.images.device
    check_every = 1 if device.type == "cpu" else STEPS_BETWEEN_CHECKS_ON_GPU
    sums = _Sums(training, device)
    clock = _Clock(training)

    while training.step < n_steps:
        images, labels = batches(training.epoch, training.step)
        done = (training.epoch - 1) * n_steps + training.step
        for group in optimizer.param_groups:
            group["lr"] = lr(done / total)
        _seed(device, dropout_seeds[training.step])  # inside fork_rng: dropout has no generator of its own
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=loss_reduction)
        if (training.step + 1) % check_every == 0 and not math.isfinite(loss.item()):
            clock.lap()
            return _diverged(training, images, f"loss {loss.item()}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if training.average is not None:
            training.average.update_parameters(model)
        sums.add(loss.detach() if loss_reduction == "mean" else loss.detach() / len(labels), logits, labels)
        training.step += 1
        if on_step and clock.is_due():
            clock.lap()
            sums.read()
            on_step(training, n_steps=n_steps, epochs=epochs)
        if should_stop():
            sums.read()
            clock.lap()
            return Outcome(status="interrupted", message=f"after epoch {training.epoch}, step {training.step}")
        if seconds_limit is not None and clock.lap() >= seconds_limit:
            sums.read()
            clock.lap()
            return Outcome(
                status="finished",
                message=f"stopped at its time budget of {seconds_limit:g} s in epoch {training.epoch} of {epochs}, "
                f"after {training.step} of {n_steps} steps; the learning rate had not come to its end",
            )
    sums.read()
    clock.lap()
    return None


def _seed(device: torch.device, seed: int) -> None:
    """Set the generators that a step draws from; torch.manual_seed keeps a note for each kind of absent device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class _Sums:
    """Loss and correct answers of the running epoch, summed on the device and read only when somebody looks."""

    def __init__(self, training: Training, device: torch.device) -> None:
        self.training = training
        self.loss = torch.tensor(training.loss_sum, dtype=torch.float64, device=device)
        self.correct = torch.tensor(training.correct, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.loss += loss * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.training.count += len(labels)
        self.training.last_batch = logits.detach(), labels

    def read(self) -> None:
        self.training.loss_sum, self.training.correct = self.loss.item(), int(self.correct)


class _Clock:
    """Seconds of training, over interruptions; `training` has them up to the last lap."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.lapped = time.perf_counter()
        self.looked = -math.inf

    def is_due(self) -> bool:
        """True when the last look is a while ago; looking is counted from then."""
        now = time.perf_counter()
        if now - self.looked < SECONDS_BETWEEN_LOOKS:
            return False
        self.looked = now
        return True

    def lap(self) -> float:
        """Add what has passed; returns the seconds of training so far."""
        now = time.perf_counter()
        self.training.seconds += now - self.lapped
        self.training.epoch_seconds += now - self.lapped
        self.lapped = now
        return self.training.seconds


def _measure(training: Training, validate: Callable[[nn.Module], Evaluation], batches: Batches) -> Outcome | None:
    """Validate, write the epoch's line, keep the best weights, and make ready for the next epoch."""
    found = validate(training.result)
    training.history.append(
        EpochMetrics(
            epoch=training.epoch,
            train_loss=training.loss_sum / training.count,
            train_accuracy=training.correct / training.count,
            validation_loss=found.loss,
            validation_accuracy=found.accuracy,
            lr=float(training.optimizer.param_groups[0]["lr"]),
            seconds=training.epoch_seconds,
            images_per_second=training.count / training.epoch_seconds,
        )
    )
    is_finite = math.isfinite(found.loss)
    if is_finite and (training.best_epoch == 0 or _beats(training.history[-1], training.best)):
        training.best_epoch = training.epoch
        training.best_weights = copy.deepcopy(training.result.state_dict())
    outcome = None
    if not is_finite:
        images, _ = batches(training.epoch, batches.n_steps - 1)
        outcome = _diverged(training, images, f"validation loss {found.loss}")
    training.epoch += 1
    training.step, training.count, training.correct = 0, 0, 0
    training.loss_sum, training.epoch_seconds = 0.0, 0.0
    return outcome


def _beats(new: EpochMetrics, best: EpochMetrics) -> bool:
    """By accuracy, then by loss: at 99.4 % many epochs tie."""
    return (new.validation_accuracy, -new.validation_loss) > (best.validation_accuracy, -best.validation_loss)


def _is_enough(training: Training, patience: int | None, stop_at_accuracy: float | None) -> Outcome | None:
    last = training.history[-1]
    if stop_at_accuracy is not None and last.validation_accuracy >= stop_at_accuracy:
        return Outcome(status="finished", message=f"target reached in epoch {last.epoch}")
    if patience is not None and last.epoch - training.best_epoch >= patience:
        return Outcome(status="finished", message=f"no better epoch in {patience}, stopped early")
    return None


def _diverged(training: Training, images: Tensor, found: str) -> Outcome:
    where = first_not_finite(training.model, images)
    return Outcome(
        status="diverged",
        message=f"{found} at epoch {training.epoch}, step {training.step + 1}; first seen in {where}",
    )


@torch.no_grad()
def first_not_finite(model: nn.Module, images: Tensor) -> str:
    """The path of the first layer, as executed, whose weights or output are not finite; "the loss" if there is none."""
    found: list[str] = []

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = [output, *module.parameters(recurse=False)]
            if not found and not all(bool(value.isfinite().all()) for value in values):
                found.append(path)

        return hook

    leaves = [(path, module) for path, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(watch(path)) for path, module in leaves]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the loss"
