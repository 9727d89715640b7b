"""`time-to`: how long own/20k-fast trains to a test accuracy, compared with the notebook.

A learning-rate schedule must complete, so there are complete runs of two, three and more epochs, each seed in a new
process, as by `flyweight train --set train.epochs=N`. The test images choose nothing here. A target is reached by the
shortest schedule with at least this mean test accuracy.

Seconds end with the validation of the last epoch. Document 003, experiment 17, needed 14 epochs in its notebook; the
first row has their time, from the seconds per epoch without validation. Rounds of the notebook and runs take turns.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from flyweight.bench.isolated import IsolatedProcess
from flyweight.bench.rows import Row, counted, row, side_by_side, spread
from flyweight.bench.sizes import Size
from flyweight.bench.task import BATCH_SIZE, WHOLE_EPOCH, take
from flyweight.bench.timing import alternate
from flyweight.bench.train import notebooks
from flyweight.errors import FlyweightError
from flyweight.experiment.events import EpochDone, Event, Started
from flyweight.experiment.run import run
from flyweight.recipe import load
from flyweight.records.store import Store

SECTION: Final = "time-to"
RECIPE: Final = "own/20k-fast"
TARGETS: Final = (0.990, 0.994)
NOTEBOOK_EPOCHS: Final = 14


@dataclass(frozen=True, kw_only=True)
class RunSeconds:
    """Seconds to the end of training, from the start of the process, and from when data and net are ready."""

    from_start: float
    from_data: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of the recipe; accuracy on the test images, 0 to 1."""

    seconds: RunSeconds
    accuracy: float


Runs = dict[int, list[Run]]

QUANTITIES: Final[dict[str, Callable[[RunSeconds], float]]] = {
    "s from start": attrgetter("from_start"),
    "s from data": attrgetter("from_data"),
}


def time_to(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the notebook, for each schedule (by its epochs), and for each target."""
    runs: Runs = {epochs: [] for epochs in size.epochs}
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(opener(count=size.steps * BATCH_SIZE)) for name, opener in notebooks().items()
        }
        turn = {name: functools.partial(process.call, take, steps=size.steps) for name, process in opened.items()}
        seconds: dict[str, list[float]] = {name: [] for name in turn}
        alternate(turn, rounds=0)  # warm-up
        for seed in range(size.seeds):
            for epochs in size.epochs:
                runs[epochs].append(_in_fresh_process(epochs, seed, size.train_limit, threads))
                for name, taken in alternate(turn, rounds=1, warm_up=0).items():
                    seconds[name] += taken
        name = min(seconds, key=lambda one: spread(seconds[one])[1])
        notebook = _fourteen_epochs(opened[name].startup_seconds, seconds[name], steps=size.steps)
    note = f"{name}: seconds per epoch x {NOTEBOOK_EPOCHS}"
    # With few images a run does less work than the notebook.
    return list(rows(notebook, runs, note=note, is_compared=size.train_limit is None))


def _fourteen_epochs(startup_seconds: float, seconds: list[float], *, steps: int) -> list[RunSeconds]:
    """Seconds of the notebook's epochs, computed from each round of `steps` steps."""
    scale = NOTEBOOK_EPOCHS * WHOLE_EPOCH / (steps * BATCH_SIZE)
    return [RunSeconds(from_start=startup_seconds + scale * taken, from_data=scale * taken) for taken in seconds]


def _in_fresh_process(epochs: int, seed: int, train_limit: int | None, threads: int | None) -> Run:
    began = time.monotonic()
    with IsolatedProcess(_nothing) as process:
        return process.call(
            complete_run, epochs=epochs, seed=seed, train_limit=train_limit, threads=threads, began=began
        )


def _nothing() -> None:
    """The process holds no object."""


def complete_run(
    _held: None, *, epochs: int, seed: int, train_limit: int | None, threads: int | None, began: float
) -> Run:
    """Train one seed of the recipe and record it; `began` is by time.monotonic, which all processes share."""
    moments: dict[type[Event], float] = {}

    def watch(event: Event) -> None:
        moments[type(event)] = time.monotonic()

    limit = [f"data.train_limit={train_limit}"] if train_limit else []
    recipe = load(RECIPE, overrides=[f"train.epochs={epochs}", *limit])
    with tempfile.TemporaryDirectory() as folder:
        record = run(recipe, seed=seed, store=Store.open(home=Path(folder)), threads=threads, watch=watch)
    if record.test_accuracy is None:
        raise FlyweightError(
            f"a run of {RECIPE} ended as {record.status} without a test accuracy; see: flyweight doctor {RECIPE}"
        )
    ended = moments[EpochDone]
    seconds = RunSeconds(from_start=ended - began, from_data=ended - moments[Started])
    return Run(seconds=seconds, accuracy=record.test_accuracy)


def rows(notebook: list[RunSeconds], runs: Runs, *, note: str, is_compared: bool) -> Iterator[Row]:
    """Seconds of the notebook's 14 epochs, of each schedule and to each target; then the accuracies."""
    for quantity, seconds_of in QUANTITIES.items():
        taken = {epochs: [seconds_of(one.seconds) for one in found] for epochs, found in runs.items()}
        found = [
            row(SECTION, f"notebook, {NOTEBOOK_EPOCHS} epochs", quantity, list(map(seconds_of, notebook)), note=note),
            *(
                row(SECTION, _contender(epochs), quantity, seconds, note=f"mean {statistics.mean(seconds):.1f}")
                for epochs, seconds in taken.items()
            ),
            *(_target_row(target, quantity, runs, taken) for target in TARGETS),
        ]
        yield from side_by_side(found) if is_compared else found
    for epochs, of_epochs in runs.items():
        values = [100 * one.accuracy for one in of_epochs]
        yield row(SECTION, _contender(epochs), "test accuracy %", values, note=_accuracy_words(of_epochs))


def _target_row(target: float, quantity: str, runs: Runs, taken: dict[int, list[float]]) -> Row:
    """The seconds of the shortest schedule that reaches the target on average, if one does."""
    name = f"to a mean of {100 * target:.1f} %"
    for epochs, found in sorted(runs.items()):
        if _mean_accuracy(found) >= target:
            note = f"mean {statistics.mean(taken[epochs]):.1f}, {_contender(epochs)}, {_reached(found, target)}"
            return row(SECTION, name, quantity, taken[epochs], note=note)
    best = 100 * max(map(_mean_accuracy, runs.values()))
    return row(SECTION, name, quantity, [], note=f"not reached in {max(runs)} epochs, highest mean {best:.2f} %")


def _accuracy_words(runs: list[Run]) -> str:
    values = [100 * one.accuracy for one in runs]
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"mean {statistics.mean(values):.2f}{deviation} %; " + ", ".join(_reached(runs, one) for one in TARGETS)


def _reached(runs: list[Run], target: float) -> str:
    there = sum(one.accuracy >= target for one in runs)
    return f"{there} of {len(runs)} seeds at {100 * target:.1f} %"


def _mean_accuracy(runs: list[Run]) -> float:
    return statistics.mean(one.accuracy for one in runs)


def _contender(epochs: int) -> str:
    return f"{RECIPE}, {counted(epochs, 'epoch')}"
