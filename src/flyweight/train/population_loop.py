"""The training loop of a population: all members advance together, and each ends by itself.

Like `loop.fit` it knows neither recipes nor records: it calls the given functions after epochs and when a member ends.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from flyweight.data.batches import Batch
from flyweight.model.stacked import Stack, by_member
from flyweight.train.captured import STEPS_AHEAD, StackedSteps
from flyweight.train.epoch import EpochPlan, plan_epoch
from flyweight.train.evaluate import Evaluation
from flyweight.train.outcome import Outcome, diverged, early_end, end_epoch, ended_before, interrupted, out_of_time
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training

# Interval of progress reports; each waits for the device.
SECONDS_BETWEEN_REPORTS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class PopulationCalls:
    """What the loop calls; members are given by number, 0 to S - 1.

    validate: evaluates all members; None without validation images. on_progress: within an epoch, when the sums of the
    given members are up to date; n_steps: of the epoch. on_epoch: when the given members were validated. on_end: when a
    member has ended; it is masked after that. should_stop: whether a member must stop, called after each step.
    """

    validate: Callable[[Stack], Sequence[Evaluation]] | None
    on_progress: Callable[[Sequence[int], int], None]
    on_epoch: Callable[[Sequence[int]], None]
    on_end: Callable[[int, Outcome], None]
    should_stop: Callable[[int], bool]


def fit_population(steps: StackedSteps, settings: FitSettings, calls: PopulationCalls) -> None:
    """Train until each member has finished, diverged or been stopped; `on_end` is called once for each of them.

    All members must be at the same epoch and step. One that has ended is masked (its weights are 0), and the others go
    on.
    """
    _Loop(steps, settings, calls).run()


def capture(steps: StackedSteps, settings: FitSettings) -> None:
    """Capture the steps, if they can be, before the training begins."""
    first = steps.population.trainings[0]
    if first.epoch <= settings.epochs:
        steps.begin(_plans(steps, first.epoch, settings), epoch=first.epoch, step=first.step)
        steps.capture()


def _plans(steps: StackedSteps, epoch: int, settings: FitSettings) -> list[EpochPlan]:
    """The plans of all members; on a GPU, steps of the epoch before may be under way."""
    batches = steps.batches
    batches.prepare(epoch)
    plan = functools.partial(plan_epoch, epoch=epoch, epochs=settings.epochs, lr=settings.lr)
    first = plan(batches.batches[0])
    return [first, *(plan(one, lrs=first.lrs) for one in batches.batches[1:])]


class _Loop:
    """The members that have not ended, and the clock of the current epoch."""

    def __init__(self, steps: StackedSteps, settings: FitSettings, calls: PopulationCalls) -> None:
        self.steps, self.settings, self.calls = steps, settings, calls
        self.trainings: Sequence[Training] = steps.population.trainings
        self.active = list(range(len(self.trainings)))
        self.n_steps = steps.batches.n_steps
        self.lapped, self.is_cut = 0.0, False

    def run(self) -> None:
        epoch, step, epochs = self.trainings[0].epoch, self.trainings[0].step, self.settings.epochs
        for number, training in enumerate(self.trainings):
            if (outcome := ended_before(training, self.settings)) is not None:
                self._end(number, outcome)
        plans = _plans(self.steps, epoch, self.settings) if epoch <= epochs else []
        while self.active and epoch <= epochs:
            self.steps.begin(plans, epoch=epoch, step=step)
            self.steps.capture()
            self.lapped = time.perf_counter()
            n_taken = self._take_steps(epoch, first_step=step)
            lr = float(plans[0].lrs[n_taken - 1])
            epoch, step = epoch + 1, 0
            if self.active and epoch <= epochs:
                plans = _plans(self.steps, epoch, self.settings)  # drawn while the device computes
            self._read()
            self._end_diverged()
            if self.active:
                self._end_epoch(lr)
        for number in self.active:
            self.calls.on_end(number, Outcome(status="finished"))

    def _take_steps(self, epoch: int, *, first_step: int) -> int:
        """Take the steps of an epoch until its end, or until no time or no member is left; returns how many it has."""
        for training in self.trainings:
            training.model.train()
        self.steps.population.stack.train()
        self.is_cut, last_report = False, time.perf_counter()
        for step in range(first_step, self.n_steps):
            self.steps.take(step)
            if epoch < self.settings.epochs:
                self._draw_ahead(epoch + 1, step)
            size = self.steps.batches.size_of(step)
            for number in self.active:
                self.trainings[number].step = step + 1
                self.trainings[number].count += size
            stopped = [number for number in self.active if self.calls.should_stop(number)]
            is_due = time.perf_counter() - last_report > SECONDS_BETWEEN_REPORTS
            if stopped or is_due:
                self._read()
                self._end_diverged()
                last_report = time.perf_counter()
            if is_due and self.active:
                self.calls.on_progress(self.active, self.n_steps)
            for number in stopped:
                if number in self.active:
                    self._end(number, interrupted(self.trainings[number]))
            self.is_cut = bool(self.active) and self._is_out_of_time()
            if self.is_cut or not self.active:
                return step + 1
        return self.n_steps

    def _draw_ahead(self, epoch: int, step: int) -> None:
        """Draw the numbers of an epoch for one member, after some steps: meanwhile the device computes those ahead."""
        members, later = len(self.trainings), step - STEPS_AHEAD
        between = max(1, (self.n_steps - STEPS_AHEAD) // members)
        if later >= 0 and later % between == 0 and later // between < members:
            self.steps.batches.draw(later // between, epoch)

    def _is_out_of_time(self) -> bool:
        limit, done = self.settings.seconds_limit, self.trainings[self.active[0]].seconds
        return limit is not None and done + time.perf_counter() - self.lapped >= limit

    def _read(self) -> None:
        """Wait for the device, and bring the sums and the seconds of the active trainings up to date."""
        sums = self.steps.sums()
        loss_sums, correct = sums.loss_sum.tolist(), sums.correct.tolist()
        now = time.perf_counter()
        for number in self.active:
            training = self.trainings[number]
            training.loss_sum, training.correct = loss_sums[number], correct[number]
            if sums.last_batch is not None:
                logits, labels = sums.last_batch
                training.last_batch = logits[number].clone(), labels[number].clone()
            training.seconds += now - self.lapped
            training.epoch_seconds += now - self.lapped
        self.lapped = now

    def _end_diverged(self) -> None:
        """End the members whose loss was not finite in a step, with the layer in which that is seen first."""
        losses = self.steps.sums().losses.cpu().clone()  # it is another one while the population is rewound
        for number in list(self.active):
            not_finite = (~losses[:, number].isfinite()).nonzero()
            if len(not_finite):
                step = int(not_finite[0])
                training = self.trainings[number]
                with self.steps.rewound(step) as batch:
                    training.step = step
                    images = self._images_of(number, batch)
                    outcome = diverged(training, images, f"loss {float(losses[step, number])}")
                self._end(number, outcome)

    def _end_epoch(self, lr: float) -> None:
        settings = self.settings
        validate, found = self.calls.validate, dict[int, Evaluation]()
        if validate is not None:
            found = dict(enumerate(validate(self.steps.population.result)))
        ended: dict[int, Outcome] = {}
        for number in self.active:
            training, limit = self.trainings[number], settings.seconds_limit
            cut = None
            if self.is_cut and limit is not None:
                cut = out_of_time(training, limit, settings.epochs, self.n_steps)
            outcome = end_epoch(
                training, found.get(number), lr=lr, last_images=functools.partial(self._last_images, number)
            )
            outcome = outcome or cut or early_end(training, settings)
            if outcome is not None:
                ended[number] = outcome
        self.calls.on_epoch(self.active)
        for number, outcome in ended.items():
            self._end(number, outcome)

    def _last_images(self, number: int) -> torch.Tensor:
        return self._images_of(number, self.steps.batch(self.n_steps - 1))

    def _images_of(self, number: int, batch: Batch) -> torch.Tensor:
        """The images (N, C, H, W) float32 of a member in a stacked batch."""
        return by_member(batch.images, len(self.trainings), dim=1)[:, number].float()

    def _end(self, number: int, outcome: Outcome) -> None:
        self.active.remove(number)
        self.calls.on_end(number, outcome)
        self.steps.population.mask(number)
