"""The training loop: a net, batches and settings go in, trained weights and a history come out.

It knows neither recipes nor records: it calls the given functions after steps and epochs. Its complete state is a
`Training`, which `checkpoint.py` saves; every random number is a function of (seed, epoch, step), so a resumed run
gives the same result.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flyweight.data.batches import Batches
from flyweight.train.epoch import EpochPlan, plan_epoch
from flyweight.train.evaluate import Evaluation
from flyweight.train.outcome import Outcome, diverged, early_end, end_epoch, ended_before, interrupted, out_of_time
from flyweight.train.running import Clock, Sums
from flyweight.train.settings import FitSettings
from flyweight.train.step import backward, forward, update
from flyweight.train.training import Training

# Reading the loss waits for the GPU, so it is checked only every this many steps; on a CPU at each step.
STEPS_BETWEEN_CHECKS_ON_GPU = 50


def fit(
    training: Training,
    batches: Batches,
    settings: FitSettings,
    *,
    validate: Callable[[nn.Module], Evaluation] | None,
    on_step: Callable[[int], None] | None = None,
    on_epoch: Callable[[Training], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train all epochs, or fewer if a setting, a divergence or `should_stop` ends it; `training` has the results.

    validate: None without validation images. should_stop: called after each complete step. on_step: called within an
    epoch now and then, with its number of steps. on_epoch: called after the validation of an epoch.
    """
    if (outcome := early_end(training, settings)) is not None:
        return outcome  # it was stopped between its last epoch and its end
    if (before := ended_before(training, settings)) is not None:
        return before
    with torch.random.fork_rng(devices=[]):
        while training.epoch <= settings.epochs:
            clock = Clock(training)
            plan = plan_epoch(batches, training.epoch, epochs=settings.epochs, lr=settings.lr)
            ended = _epoch(training, batches, plan, settings, clock, on_step=on_step, should_stop=should_stop)
            if ended and ended.status != "finished":
                return ended
            outcome = end_epoch(
                training,
                validate(training.result) if validate is not None else None,
                lr=float(plan.lrs[training.step - 1]),
                last_images=functools.partial(_last_images, batches, plan),
            )
            if on_epoch:
                on_epoch(training)
            stopped = outcome or ended or early_end(training, settings)
            if stopped:
                return stopped
    return Outcome(status="finished")


def _last_images(batches: Batches, plan: EpochPlan) -> Tensor:
    return batches.batch(plan.draws, plan.n_steps - 1).images


def _epoch(
    training: Training,
    batches: Batches,
    plan: EpochPlan,
    settings: FitSettings,
    clock: Clock,
    *,
    on_step: Callable[[int], None] | None,
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
            return diverged(training, batch.images, f"loss {loss.item()}")
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
            on_step(plan.n_steps)
        ended = _ended(training, clock, settings, n_steps=plan.n_steps, should_stop=should_stop)
    sums.read()
    clock.lap()
    return ended


def _ended(
    training: Training, clock: Clock, settings: FitSettings, *, n_steps: int, should_stop: Callable[[], bool]
) -> Outcome | None:
    """An outcome if the training must end after this step."""
    if should_stop():
        return interrupted(training)
    limit = settings.seconds_limit
    return (
        out_of_time(training, limit, settings.epochs, n_steps) if limit is not None and clock.lap() >= limit else None
    )
