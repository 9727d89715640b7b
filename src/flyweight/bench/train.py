"""`train`: the same net, batches and number of steps, the notebook's way and the engine's.

Each contender is a process of its own. The notebook's way has torch's own number of threads and feeds itself with or
without loader processes; the faster of the two stands first and is what the others are compared with. The engine
computes in float32 and in bfloat16, with one thread and with all cores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from flyweight.bench.engine import start_engine
from flyweight.bench.isolated import IsolatedProcess
from flyweight.bench.notebook import NOT_A_NOTEBOOKS, start_notebook
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
class Taken:
    """What one contender took, in seconds: until its first step, more in its first round than later, and per round."""

    until_ready: float
    warm_up: float
    rounds: list[float]
    peak_bytes: int
    accuracy: float

    def whole_run(self, steps: int) -> float:
        """From process start to the end of five epochs, reckoned from rounds of `steps` steps."""
        _, steady, _ = spread(self.rounds)
        return self.until_ready + self.warm_up + EPOCHS * steady * STEPS_PER_EPOCH / steps


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Five epochs of all images, really run: seconds from process start, accuracy after the first and the last."""

    seconds: float
    first_accuracy: float
    last_accuracy: float


def train(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the speed, the whole run, the memory, and what was learnt meanwhile."""
    openers = {**notebooks(), **_engines(threads)}
    found = fastest_first(take_turns(openers, size), n_notebooks=len(notebooks()))
    wholes = {name: _whole_run(openers[name], size) for name in _worth_a_whole_run(found)} if size.whole_steps else {}
    return rows(found, wholes, size)


def rows(found: dict[str, Taken], wholes: dict[str, Whole], size: Size) -> list[Row]:
    """Of contenders by name, the first of which is what the others are compared with."""
    return [*_speed(found, size), *_whole_rows(found, wholes, size), *_other_rows(found, wholes, size)]


def notebooks() -> dict[str, Opener]:
    """The notebook's way, with pictures prepared in its own process and in one more for each core."""
    return {
        f"notebook, {counted(workers, 'loader')}": functools.partial(
            IsolatedProcess, start_notebook, without=NOT_A_NOTEBOOKS, workers=workers
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


def take_turns(openers: Mapping[str, Opener], size: Size) -> dict[str, Taken]:
    """Start every contender, then let them take turns over the same images."""
    settings = {"count": size.steps * BATCH_SIZE, "test_count": size.test_images}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(opener(**settings)) for name, opener in openers.items()}
        rounds = {name: functools.partial(process.ask, take, steps=size.steps) for name, process in opened.items()}
        first = alternate(rounds, rounds=1, warm_up=0)
        seconds = alternate(rounds, rounds=size.rounds, warm_up=0)
        return {
            name: Taken(
                until_ready=process.startup_seconds,
                warm_up=first[name][0] - spread(seconds[name])[1],
                rounds=seconds[name],
                peak_bytes=process.peak_bytes,
                accuracy=process.ask(accuracy),
            )
            for name, process in opened.items()
        }


def _median(taken: Taken) -> float:
    return spread(taken.rounds)[1]


def fastest_first(found: dict[str, Taken], *, n_notebooks: int) -> dict[str, Taken]:
    """The notebooks by their speed, then the engine's as they are."""
    names = list(found)
    by_speed = sorted(names[:n_notebooks], key=lambda name: _median(found[name]))
    return {name: found[name] for name in (*by_speed, *names[n_notebooks:])}


def _worth_a_whole_run(found: dict[str, Taken]) -> tuple[str, str]:
    """The fastest notebook, which stands first, and the fastest of the engine."""
    engines = [name for name in found if name.startswith("flyweight")]
    return next(iter(found)), min(engines, key=lambda name: _median(found[name]))


def _whole_run(opener: Opener, size: Size) -> Whole:
    """Epochs of all images in a fresh process; what reads the test images is not on the clock."""
    with opener(test_count=size.test_images) as process:
        epoch = functools.partial(process.ask, take, steps=size.whole_steps)
        seconds = process.startup_seconds + seconds_of(epoch)
        first = process.ask(accuracy)
        seconds += sum(seconds_of(epoch) for _ in range(EPOCHS - 1))
        return Whole(seconds=seconds, first_accuracy=first, last_accuracy=process.ask(accuracy))


def _speed(found: dict[str, Taken], size: Size) -> Iterator[Row]:
    images = size.steps * BATCH_SIZE
    rates = {name: [images / seconds for seconds in taken.rounds] for name, taken in found.items()}
    epochs = {name: [seconds * WHOLE_EPOCH / images for seconds in taken.rounds] for name, taken in found.items()}
    yield from side_by_side(
        (row(SECTION, name, "images/s", values) for name, values in rates.items()), more_is_better=True
    )
    yield from side_by_side(row(SECTION, name, "s/epoch", values) for name, values in epochs.items())


def _whole_rows(found: dict[str, Taken], wholes: dict[str, Whole], size: Size) -> list[Row]:
    """The real run where there was one; both ways of measuring are compared with the notebook's of the same way."""
    reckoned = side_by_side(
        row(
            SECTION,
            name,
            f"{EPOCHS} epochs, s",
            [taken.whole_run(size.steps)],
            note="reckoned: until ready + warm-up + epochs",
        )
        for name, taken in found.items()
    )
    run = side_by_side(row(SECTION, name, f"{EPOCHS} epochs run, s", [whole.seconds]) for name, whole in wholes.items())
    return [*reckoned, *run]


def _other_rows(found: dict[str, Taken], wholes: dict[str, Whole], size: Size) -> Iterator[Row]:
    for name, taken in found.items():
        yield row(SECTION, name, "until ready, s", [taken.until_ready])
    for name, taken in found.items():
        yield row(SECTION, name, "warm-up, s", [taken.warm_up], note=f"the first {size.steps} steps, more than later")
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
    for name, whole in wholes.items():
        yield row(SECTION, name, "1 epoch, test %", [100 * whole.first_accuracy])
        yield row(SECTION, name, f"{EPOCHS} epochs, test %", [100 * whole.last_accuracy])
