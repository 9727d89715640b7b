"""Seeds of one recipe that train as one stacked net, each recorded as a run of its own.

In: a resolved recipe and its members, new seeds or stopped runs. Out: their records. On a GPU the steps are captured.
"""

from __future__ import annotations

import functools
import gc
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from flyweight.data.splits import validated_on
from flyweight.data.stacked_batches import StackedBatches
from flyweight.errors import DataError, FlyweightError, UsageError
from flyweight.experiment.events import Event, StackEpochDone, StackStepped
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.open_run import OpenRun, fit_settings, restore, start_run
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.setup import PreparedImages, Workbench, optimizer_of, prepare_images, set_up_with
from flyweight.model.notation import is_own_module
from flyweight.model.stacked import Stack
from flyweight.records.record import Purpose, RunRecord
from flyweight.records.results import Split
from flyweight.records.store import Store
from flyweight.train import device as devices
from flyweight.train.captured import StackedSteps
from flyweight.train.device import DeviceName
from flyweight.train.evaluate import Evaluation, evaluate_stack
from flyweight.train.outcome import Outcome
from flyweight.train.population import Population
from flyweight.train.population_loop import PopulationCalls, capture, fit_population

# A killed run loses what it has trained since it was saved last; saving many runs after each short epoch would take
# longer than training them.
SECONDS_BETWEEN_SAVES: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Member:
    """One seed of a population. resumed: the stopped run that it continues; the other fields are for a new run."""

    seed: int
    resumed: str | None = None
    group_id: str | None = None
    group_seeds: tuple[int, ...] = ()
    study: str | None = None
    parent_hash: str | None = None
    purpose: Purpose = "run"
    opens_test: bool = True
    monitor: MakeMonitor | None = None


def can_stack(resolved: ResolvedRecipe) -> bool:
    """Whether the seeds of a recipe can be stacked: its net is in the notation, no `nn.Module` of the user's own."""
    return not is_own_module(resolved.recipe.model.net)


def run_population(
    resolved: ResolvedRecipe,
    members: Sequence[Member],
    *,
    store: Store,
    device: DeviceName = "auto",
    at_once: int | None = None,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train the members, as many at once as the memory of the device can hold, at most `at_once`.

    When `should_stop` becomes true, the members under way are saved at their current step, and no more are started.

    Raises:
        Exception: the first error of a member, after the others have ended: images that have changed since it started,
            a damaged checkpoint, a device with too little memory for one.
    """
    devices.prepare(threads=devices.DEFAULT_THREADS)
    prepared: PreparedImages | None = None
    errors = list[Exception]()
    benches: dict[int, Workbench] = {}
    for number, member in enumerate(members):
        prepared = prepare_images(resolved.recipe, resolved.images, seed=member.seed, device=device, known=prepared)
        benches[number] = set_up_with(prepared, resolved.recipe, seed=member.seed)
        if member.resumed is not None:
            try:
                restore(store.get(member.resumed), benches[number], store)
            except DataError as error:
                errors.append(error)
                del benches[number]
    for group in _by_position(benches):
        waiting = list(group)
        while waiting and not should_stop():
            tried = {number: benches[number] for number in waiting[:at_once]}
            trained, failure = _train_fitting(
                resolved, members, tried, store=store, watch=watch, should_stop=should_stop
            )
            if failure is not None:
                errors.append(_without_frames(failure))
            if len(trained) < len(tried):
                at_once = len(trained)
            for number in trained:
                del tried[number], benches[number]
            waiting = waiting[len(trained) :]
            gc.collect()  # what has trained leaves its memory on the device to the next
    if errors:
        raise errors[0]


def _without_frames(error: Exception) -> Exception:
    """The error with its traceback as a note: the frames would hold what has trained, and its memory."""
    error.add_note("".join(traceback.format_exception(error)))
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    return error


def _train_fitting(
    resolved: ResolvedRecipe,
    members: Sequence[Member],
    benches: Mapping[int, Workbench],
    *,
    store: Store,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> tuple[list[int], Exception | None]:
    """Train the first of some members, as many as fit in memory; returns which, and the first error of one.

    benches: by the number of the member.
    """
    chosen, steps = _fitting(resolved, list(benches.values()))
    numbers = list(benches)[: len(chosen)]
    opened = functools.partial(
        _opened, resolved, n_stacked=len(chosen), store=store, watch=watch, should_stop=should_stop
    )
    try:
        with ExitStack() as stack:
            found = zip(numbers, chosen, strict=True)
            runs = [stack.enter_context(opened(members[number], bench)) for number, bench in found]
            train_together(runs, steps)
    except Exception as error:
        return numbers, error
    return numbers, None


def captured_alone(resolved: ResolvedRecipe, bench: Workbench) -> tuple[StackedSteps | None, Workbench]:
    """The captured steps of one training on a GPU; None elsewhere, and for a net that cannot be captured."""
    if bench.batches.images.device.type != "cuda":
        return None, bench
    if not can_stack(resolved):
        return None, _noted(bench, step="eager: the net is an nn.Module of its own")
    (chosen,), steps = _fitting(resolved, [bench])
    return steps, chosen


def train_together(runs: Sequence[OpenRun], steps: StackedSteps) -> tuple[RunRecord, ...]:
    """Train open runs, the members of `steps`, until each has ended; returns their records.

    Raises:
        Exception: the first error of a run, after the others have ended.
    """
    return _Together(runs, steps).train()


class _Together:
    """Open runs that train together. finished: how each that has finished ended. errors: of those that failed."""

    def __init__(self, runs: Sequence[OpenRun], steps: StackedSteps) -> None:
        self.runs, self.steps = runs, steps
        self.recipe, self.bench = runs[0].resolved.recipe, runs[0].bench
        self.saved = time.monotonic()
        self.asked_at, self.is_stopped = (0, 0), False
        self.finished: dict[int, Outcome] = {}
        self.records: dict[int, RunRecord] = {}
        self.errors: dict[int, Exception] = {}
        self.uploaded: dict[Split, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def train(self) -> tuple[RunRecord, ...]:
        calls = PopulationCalls(
            validate=self._validated if self.bench.has_validation else None,
            on_progress=self._on_progress,
            on_epoch=self._on_epoch,
            on_end=self._on_end,
            should_stop=self._should_stop,
        )
        fit_population(self.steps, fit_settings(self.recipe, self.bench), calls)
        self._close_finished()
        for error in self.errors.values():
            raise error
        return tuple(self.records[number] for number in range(len(self.runs)))

    def _should_stop(self, number: int) -> bool:
        run = self.runs[number]
        position = run.bench.training.epoch, run.bench.training.step
        if position != self.asked_at:  # once a step, so that a stop leaves all members at the same one
            self.asked_at, self.is_stopped = position, run.is_asked_to_stop()
        return self.is_stopped or number in self.errors or run.is_ended_by_monitor

    def _each(self, numbers: Iterable[int], act: Callable[[int], None]) -> list[int]:
        """Call `act` for the runs that have not failed; one in which it fails is closed, and the others go on."""
        for number in numbers:
            if number not in self.errors:
                try:
                    act(number)
                except Exception as error:
                    found = self.runs[number].fail(error) if self.runs[number].is_open else error
                    self.errors[number] = found if isinstance(found, Exception) else error
        return [number for number in numbers if number not in self.errors]

    def _validated(self, stack: Stack) -> list[Evaluation]:
        return self._evaluated(stack, "validation")

    def _on_progress(self, active: Sequence[int], n_steps: int) -> None:
        active = self._each(active, lambda number: self.runs[number].on_step(n_steps))
        if active and len(self.runs) > 1:
            self.runs[0].announce(_stack_stepped([self.runs[number] for number in active], n_steps))

    def _on_epoch(self, active: Sequence[int]) -> None:
        now = time.monotonic()
        saves = now - self.saved >= SECONDS_BETWEEN_SAVES
        self.saved = now if saves else self.saved
        is_logged = self._log([self.runs[number] for number in active if number not in self.errors])
        active = self._each(
            active,
            lambda number: self.runs[number].on_epoch(
                self.runs[number].bench.training, saves=saves, is_logged=is_logged
            ),
        )
        runs = [self.runs[number] for number in active]
        if runs and len(self.runs) > 1:
            self.runs[0].announce(
                StackEpochDone(
                    seeds=tuple(run.record.seed for run in runs),
                    epochs=self.recipe.train.epochs,
                    judged_on=self.recipe.protocol.evaluate_on,
                    metrics=tuple(run.bench.training.history[-1] for run in runs),
                )
            )

    def _log(self, runs: Sequence[OpenRun]) -> bool:
        """Log the last epoch of all runs at once; False if one of them is closed, so that each must be logged alone."""
        try:
            runs[0].store.log_epochs({run.record.id: run.epoch_values() for run in runs})
        except UsageError:
            return False
        return True

    def _on_end(self, number: int, outcome: Outcome) -> None:
        if outcome.status == "finished":
            self.finished[number] = outcome
        else:
            self._each([number], lambda _: self._record(number, self.runs[number].close(outcome, {})))

    def _record(self, number: int, record: RunRecord) -> None:
        self.records[number] = record

    def _close_finished(self) -> None:
        """Evaluate the kept nets of the finished runs together, and close each run."""
        stack, evaluated = self.steps.population.result, dict[Split, list[Evaluation]]()
        measured = []
        for number in self.finished:
            net = self.runs[number].kept_net()
            if net is not None:
                stack.load_member(number, net.state_dict())
                measured.append(number)
        if measured:
            splits: tuple[Split, ...] = ("train", "validation") if self.bench.has_validation else ("train",)
            evaluated = {split: self._evaluated(stack, split) for split in splits}
            opened = [number for number in measured if self.runs[number].record.opens_test]
            for number in opened:
                self.runs[number].open_test()
            if opened:
                evaluated["test"] = self._evaluated(stack, "test")
        self._each(self.finished, lambda number: self.runs[number].reported.on_end(self.runs[number].bench.training))
        with ThreadPoolExecutor(devices.usable_cores()) as pool:  # files are packed, which takes longer than a training
            written = {
                number: pool.submit(
                    self.runs[number].write_results,
                    outcome,
                    {
                        split: of_all[number]
                        for split, of_all in evaluated.items()
                        if number in measured and (split != "test" or self.runs[number].record.opens_test)
                    },
                )
                for number, outcome in self.finished.items()
            }
        self._each(
            self.finished,
            lambda number: self._record(
                number, self.runs[number].finish(self.finished[number], written[number].result())
            ),
        )

    def _evaluated(self, stack: Stack, split: Split) -> list[Evaluation]:
        images, labels, rows = self._images_of(split)
        batches = self.steps.batches
        return evaluate_stack(stack, images, labels, rows, scale=batches.scale, offset=batches.offset)

    def _images_of(self, split: Split) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images and labels of a split on the device, and the rows (S, N) of each member."""
        if split not in self.uploaded:
            batches, image_set = self.bench.batches, self.bench.image_set
            images, labels = image_set.test_images, image_set.test_labels
            rows = [np.arange(len(labels)) for _ in self.runs]
            if split == "train":
                images, labels = image_set.train_images, image_set.train_labels
                rows = [run.bench.batches.rows.numpy() for run in self.runs]
            elif split == "validation":
                images, labels = validated_on(image_set, self.bench.split)
                rows = [run.bench.split.validation for run in self.runs]
            where = batches.images.device
            on_device = (torch.from_numpy(images).to(where), torch.from_numpy(labels).to(where))
            if images is image_set.train_images:
                on_device = (batches.images, batches.labels)
            self.uploaded[split] = (*on_device, torch.from_numpy(np.stack(rows)).to(where))
        return self.uploaded[split]


def _opened(
    resolved: ResolvedRecipe,
    member: Member,
    bench: Workbench,
    *,
    n_stacked: int,
    store: Store,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> OpenRun:
    if member.resumed is not None:
        record = store.resume(member.resumed, environment=bench.environment)
    else:
        record = start_run(
            resolved,
            bench,
            seed=member.seed,
            store=store,
            group_id=member.group_id,
            group_seeds=member.group_seeds,
            study=member.study,
            parent_hash=member.parent_hash,
            purpose=member.purpose,
            opens_test=member.opens_test,
        )
    return OpenRun(
        resolved,
        record,
        bench,
        store=store,
        monitor=member.monitor,
        watch=watch,
        should_stop=should_stop,
        n_stacked=n_stacked,
    )


def _by_position(benches: Mapping[int, Workbench]) -> list[list[int]]:
    """The numbers of the benches whose trainings are at the same epoch and step: only those can be stacked."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, bench in benches.items():
        groups.setdefault((bench.training.epoch, bench.training.step), []).append(number)
    return list(groups.values())


def _fitting(resolved: ResolvedRecipe, benches: Sequence[Workbench]) -> tuple[list[Workbench], StackedSteps]:
    """The first benches, as many as the device has memory for, found by trying; and their steps, captured on a GPU."""
    steps = _captured(resolved, benches)
    if isinstance(steps, str):
        if len(benches) == 1:
            raise FlyweightError(
                f"{resolved.recipe.name} needs more memory than the GPU has free ({steps}); close other programs that "
                "use it, set a smaller train.batch_size, or use --device cpu."
            )
        return _fitting(resolved, benches[: (len(benches) + 1) // 2])
    facts = {
        "step": f"eager: {steps.why_eager}" if steps.why_eager else "captured",
        "stacked": len(benches),
        "kernels": devices.kernels(steps.population.device),  # which may have been given up
    }
    return [_noted(bench, **facts) for bench in benches], steps


def _captured(resolved: ResolvedRecipe, benches: Sequence[Workbench]) -> StackedSteps | str:
    """The steps of the benches, or what torch said if the memory of the device was too small."""
    recipe, first = resolved.recipe, benches[0]
    try:
        stack = Stack(recipe.model.net, first.image_set.shape, members=len(benches))
        trainings = [bench.training for bench in benches]
        population = Population(trainings, stack, functools.partial(optimizer_of, recipe), ema=recipe.train.ema)
        dtype = torch.bfloat16 if first.precision == "bfloat16" else torch.float32
        batches = StackedBatches([bench.batches for bench in benches], dtype=dtype)
        steps = StackedSteps(population, batches, loss=first.loss, precision=first.precision)
        capture(steps, fit_settings(recipe, first))
        return steps
    except torch.OutOfMemoryError as error:
        found = " ".join(str(error).split())
    torch.cuda.empty_cache()  # after the exception, which refers to the tensors, has gone
    return found


def _noted(bench: Workbench, **facts: object) -> Workbench:
    return replace(bench, environment={**bench.environment, **facts})


def _stack_stepped(runs: Sequence[OpenRun], n_steps: int) -> StackStepped:
    steps = [run.stepped(n_steps) for run in runs]
    first = steps[0]
    return StackStepped(
        seeds=tuple(step.seed for step in steps),
        epoch=first.epoch,
        epochs=first.epochs,
        step=first.step,
        n_steps=n_steps,
        losses=tuple(step.loss for step in steps),
        accuracies=tuple(step.accuracy for step in steps),
        images_per_second=len(runs) * first.images_per_second,
        seconds_left=first.seconds_left,
    )
