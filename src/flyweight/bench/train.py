"""`train`: the same net, batches and number of steps in the notebook and in the engine.

Each contender has its own process. The notebook has torch's default number of threads, with and without loader
processes; the faster of the two comes first, and the others are compared with it. The engine computes in float32 and
in bfloat16, with one thread and with all cores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from flyweight.bench.engine import start_engine
from flyweight.bench.isolated import IsolatedProcess
from flyweight.bench.notebook import SET_BY_FLYWEIGHT, start_notebook
from flyweight.bench.rows import Row, counted, row, side_by_side, spread
from flyweight.bench.sizes import Size
from flyweight.bench.task import BATCH_SIZE, PRECISIONS, STEPS_PER_EPOCH, WHOLE_EPOCH, Contender, accuracy, take
from flyweight.bench.timing import alternate, seconds_of
from flyweight.train.device import usable_cores

SECTION: Final = "train"
EPOCHS: Final = 5
MEGABYTE: Final = 1e6

Opener = Callable[..., IsolatedProcess[Contender]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one contender: until its first step, extra seconds of its first round, and of each later round."""

    until_ready: float
    warm_up: float
    rounds: list[float]
    peak_bytes: int
    accuracy: float

    def estimate(self, steps: int) -> float:
        """Seconds from process start to the end of five epochs, computed from rounds of `steps` steps."""
        _, steady, _ = spread(self.rounds)
        return self.until_ready + self.warm_up + EPOCHS * steady * STEPS_PER_EPOCH / steps


@dataclass(frozen=True, kw_only=True)
class FullRun:
    """Five measured epochs of all images: seconds from process start, accuracy after the first and the last."""

    seconds: float
    first_accuracy: float
    last_accuracy: float


def train(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for speed, full run, memory and accuracy."""
    openers = {**notebooks(), **_engines(threads)}
    found = fastest_first(take_turns(openers, size), n_notebooks=len(notebooks()))
    full_runs = {name: _full_run(openers[name], size) for name in _fastest(found)} if size.full_run_steps else {}
    return rows(found, full_runs, size)


def rows(found: dict[str, Timing], full_runs: dict[str, FullRun], size: Size) -> list[Row]:
    """Rows of the contenders, by name; the others are compared with the first."""
    return [*_speed(found, size), *_full_run_rows(found, full_runs, size), *_other_rows(found, full_runs, size)]


def notebooks() -> dict[str, Opener]:
    """The notebook, with pictures prepared in its own process, and in one process per core."""
    return {
        f"notebook, {counted(workers, 'loader')}": functools.partial(
            IsolatedProcess, start_notebook, without=SET_BY_FLYWEIGHT, workers=workers
        )
        for workers in (0, usable_cores())
    }


def _engines(threads: int | None) -> dict[str, Opener]:
    return {
        f"flyweight {precision}, {counted(n, 'thread')}": functools.partial(
            IsolatedProcess, start_engine, threads=n, precision=precision
        )
        for precision in PRECISIONS
        for n in ((threads,) if threads else sorted({1, usable_cores()}))
    }


def take_turns(openers: Mapping[str, Opener], size: Size) -> dict[str, Timing]:
    """Start every contender, then let them take turns over the same images."""
    settings = {"count": size.steps * BATCH_SIZE, "test_count": size.test_images}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(opener(**settings)) for name, opener in openers.items()}
        rounds = {name: functools.partial(process.call, take, steps=size.steps) for name, process in opened.items()}
        first = alternate(rounds, rounds=1, warm_up=0)
        seconds = alternate(rounds, rounds=size.rounds, warm_up=0)
        return {
            name: Timing(
                until_ready=process.startup_seconds,
                warm_up=first[name][0] - spread(seconds[name])[1],
                rounds=seconds[name],
                peak_bytes=process.peak_bytes,
                accuracy=process.call(accuracy),
            )
            for name, process in opened.items()
        }


def _median(taken: Timing) -> float:
    return spread(taken.rounds)[1]


def fastest_first(found: dict[str, Timing], *, n_notebooks: int) -> dict[str, Timing]:
    """The notebooks sorted by speed, then the engines in their order."""
    names = list(found)
    by_speed = sorted(names[:n_notebooks], key=lambda name: _median(found[name]))
    return {name: found[name] for name in (*by_speed, *names[n_notebooks:])}


def _fastest(found: dict[str, Timing]) -> tuple[str, str]:
    """The fastest notebook, which comes first, and the fastest engine."""
    engines = [name for name in found if name.startswith("flyweight")]
    return next(iter(found)), min(engines, key=lambda name: _median(found[name]))


def _full_run(opener: Opener, size: Size) -> FullRun:
    """Epochs of all images in a new process; the evaluations are not timed."""
    with opener(test_count=size.test_images) as process:
        epoch = functools.partial(process.call, take, steps=size.full_run_steps)
        seconds = process.startup_seconds + seconds_of(epoch)
        first = process.call(accuracy)
        seconds += sum(seconds_of(epoch) for _ in range(EPOCHS - 1))
        return FullRun(seconds=seconds, first_accuracy=first, last_accuracy=process.call(accuracy))


def _speed(found: dict[str, Timing], size: Size) -> Iterator[Row]:
    images = size.steps * BATCH_SIZE
    rates = {name: [images / seconds for seconds in taken.rounds] for name, taken in found.items()}
    epochs = {name: [seconds * WHOLE_EPOCH / images for seconds in taken.rounds] for name, taken in found.items()}
    yield from side_by_side(
        (row(SECTION, name, "images/s", values) for name, values in rates.items()), more_is_better=True
    )
    yield from side_by_side(row(SECTION, name, "s/epoch", values) for name, values in epochs.items())


def _full_run_rows(found: dict[str, Timing], full_runs: dict[str, FullRun], size: Size) -> list[Row]:
    """Estimated and, where measured, real seconds of five epochs, each compared with those of the notebook."""
    estimated = side_by_side(
        row(
            SECTION,
            name,
            f"{EPOCHS} epochs, s",
            [taken.estimate(size.steps)],
            note="estimated: until ready + warm-up + epochs",
        )
        for name, taken in found.items()
    )
    run = side_by_side(
        row(SECTION, name, f"{EPOCHS} epochs run, s", [full.seconds]) for name, full in full_runs.items()
    )
    return [*estimated, *run]


def _other_rows(found: dict[str, Timing], full_runs: dict[str, FullRun], size: Size) -> Iterator[Row]:
    for name, taken in found.items():
        yield row(SECTION, name, "until ready, s", [taken.until_ready])
    for name, taken in found.items():
        yield row(SECTION, name, "warm-up, s", [taken.warm_up], note=f"extra time of the first {size.steps} steps")
    yield from side_by_side(
        row(
            SECTION,
            name,
            "peak MB",
            [taken.peak_bytes / MEGABYTE],
            note="without its loader processes" if name.startswith("notebook") and ", 0 " not in name else "",
        )
        for name, taken in found.items()
    )
    steps = (size.rounds + 1) * size.steps
    note = f"after {steps:,} steps on {size.steps * BATCH_SIZE:,} images"
    for name, taken in found.items():
        yield row(SECTION, name, "test accuracy %", [100 * taken.accuracy], note=note)
    for name, full in full_runs.items():
        yield row(SECTION, name, "1 epoch, test %", [100 * full.first_accuracy])
        yield row(SECTION, name, f"{EPOCHS} epochs, test %", [100 * full.last_accuracy])
