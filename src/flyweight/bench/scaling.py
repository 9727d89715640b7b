"""`scaling`: time and memory of the engine for growing images, batch size, parameters, threads and epochs.

Each point of a series has its own process, so that its memory can be measured. The note of the first row has the slope
of the series on logarithmic axes: 1 means that twice as much takes twice as long, 0 means no growth.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from flyweight.bench.engine import Engine
from flyweight.bench.isolated import IsolatedProcess
from flyweight.bench.rows import Row, counted, row, side_by_side
from flyweight.bench.sizes import Size
from flyweight.bench.task import BATCH_SIZE, NET, SHAPE, Images
from flyweight.bench.timing import seconds_of
from flyweight.bench.train import MEGABYTE
from flyweight.model.count import count
from flyweight.train.device import DEFAULT_THREADS, usable_cores

SECTION: Final = "scaling"

# Width of the net in the other series: 1 has about a thousand parameters, 32 about a million.
SMALL_WIDTH: Final = 4
BASE_IMAGES: Final = 4096
TEST_IMAGES: Final = 1000
ROUNDS: Final = 3
# Images are drawn and written in pieces of this many, to save memory.
PIECE: Final = 10_000
CLASSES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Point:
    """One process of a series. `x`: the quantity that grows; `values`: seconds per round.

    file_bytes: memory of mapped files.
    """

    name: str
    x: float
    values: list[float]
    peak_bytes: int
    file_bytes: int = 0
    is_mapped: bool = False


def scaling(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the seconds and the peak memory at each point of each series."""
    n = threads or DEFAULT_THREADS
    return [
        *_series("s/epoch", _by_images(size, n)),
        *_series("ms/step", _by_batch(size, n)),
        *_series("ms/step", _by_parameters(size, n)),
        *_series("ms/step", _by_threads(size), is_compared=True),
        *_series("s", _by_epochs(size, n)),
    ]


def widened(width: int) -> str:
    """A small net with the widths of all layers multiplied by `width`.

    >>> [count(widened(width)).params for width in (1, 32)]
    [1030, 889738]
    """
    return f"c{4 * width}nb bn r m2 c{8 * width}nb bn r m2 c{8 * width}nb bn r gap flat fc10"


def slope(x: list[float], y: list[float]) -> float:
    """Slope of a line through the logarithms: y grows like x to this power.

    >>> round(slope([1, 10, 100], [3, 300, 30_000]), 6)
    2.0
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _series(quantity: str, points: Iterator[Point], *, is_compared: bool = False) -> Iterator[Row]:
    """The seconds of all points, then their memory; `is_compared` where all points do the same work."""
    found = list(points)
    seconds = [row(SECTION, point.name, quantity, point.values) for point in found]
    memory = [row(SECTION, point.name, "peak MB", [point.peak_bytes / MEGABYTE], note=_pages(point)) for point in found]
    for rows in (side_by_side(seconds) if is_compared else seconds, memory):
        yield replace(rows[0], note=_slope_words(found, rows) or rows[0].note)
        yield from rows[1:]


def _pages(point: Point) -> str:
    if not point.is_mapped:
        return ""
    return f"{point.file_bytes / MEGABYTE:,.0f} MB are mapped files, which the system can reclaim"


def _slope_words(points: list[Point], rows: list[Row]) -> str:
    if len(points) < 2:
        return ""
    x = [point.x for point in points]
    found = slope(x, [one.median for one in rows if one.median is not None])
    return f"slope {found:.2f}"


def _by_images(size: Size, threads: int) -> Iterator[Point]:
    """Seconds of an epoch, computed from its first step, which also shuffles all images, and from later steps."""
    with tempfile.TemporaryDirectory() as folder:
        for count in size.scaling_images:
            path = write_pixels(Path(folder) / "pixels", count) if count > size.mapped_beyond else None
            make = functools.partial(start, count=count, path=path, threads=threads)
            found = _point(f"{count:,} images", count, make, steps=size.scaling_steps)
            n_later = -(-count // BATCH_SIZE) - 1
            yield replace(
                found,
                name=found.name + (", mapped" if path else ""),
                is_mapped=path is not None,
                values=[found.values[0] + later * n_later for later in found.values[1:]],
            )


def _by_batch(size: Size, threads: int) -> Iterator[Point]:
    for batch_size in size.scaling_batches:
        make = functools.partial(start, batch_size=batch_size, threads=threads)
        yield _later(_point(f"batch {batch_size:,}", batch_size, make, steps=size.scaling_steps))


def _by_parameters(size: Size, threads: int) -> Iterator[Point]:
    for width in size.scaling_widths:
        net = widened(width)
        params = count(net).params
        make = functools.partial(start, net=net, threads=threads)
        yield _later(_point(f"{params:,} parameters", params, make, steps=size.scaling_steps))


def _by_threads(size: Size) -> Iterator[Point]:
    for threads in thread_counts(min(usable_cores(), size.scaling_threads or usable_cores())):
        make = functools.partial(start, net=NET, threads=threads)
        yield _later(_point(counted(threads, "thread"), threads, make, steps=size.scaling_steps))


def thread_counts(maximum: int) -> list[int]:
    """Powers of 2 below the maximum, and the maximum.

    >>> thread_counts(6)
    [1, 2, 4, 6]
    """
    return sorted({min(2**power, maximum) for power in range(maximum.bit_length() + 1)})


def _by_epochs(size: Size, threads: int) -> Iterator[Point]:
    """Complete epochs with validation, of few images to make many epochs possible."""
    count = size.scaling_steps * BATCH_SIZE
    for epochs in size.scaling_epochs:
        with IsolatedProcess(start, count=count, threads=threads) as process:
            seconds = seconds_of(functools.partial(process.call, Engine.epochs, count=epochs))
            yield Point(name=counted(epochs, "epoch"), x=epochs, values=[seconds], peak_bytes=process.peak_bytes)


def _point(name: str, x: float, make: Callable[..., Engine], *, steps: int) -> Point:
    """Seconds of the first step, and the mean seconds of a step in each later round."""
    with IsolatedProcess(make) as process:
        first = seconds_of(functools.partial(process.call, Engine.take, steps=1))
        take = functools.partial(process.call, Engine.take, steps=steps)
        later = [seconds_of(take) / steps for _ in range(ROUNDS)]
        return Point(
            name=name, x=x, values=[first, *later], peak_bytes=process.peak_bytes, file_bytes=process.file_bytes
        )


def _later(point: Point) -> Point:
    """Milliseconds of a step, without the first."""
    return replace(point, values=[1000 * seconds for seconds in point.values[1:]])


def start(
    *,
    count: int = BASE_IMAGES,
    path: Path | None = None,
    net: str = widened(SMALL_WIDTH),
    batch_size: int = BATCH_SIZE,
    threads: int,
) -> Engine:
    """The engine over random images, in memory or mapped from the file `path`."""
    pixels = drawn_pixels(count) if path is None else mapped_pixels(path, count)
    images = Images(
        images=pixels,
        labels=np.arange(count) % CLASSES,
        test_images=drawn_pixels(TEST_IMAGES),
        test_labels=np.arange(TEST_IMAGES) % CLASSES,
        mean=0.5,
        std=0.3,
    )
    return Engine(images, threads=threads, net=net, batch_size=batch_size)


def drawn_pixels(count: int) -> np.ndarray:
    """Random noise, (count, 1, 28, 28) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


def write_pixels(path: Path, count: int) -> Path:
    """Write random noise to a file."""
    with path.open("wb") as file:
        for start_of_piece in range(0, count, PIECE):
            file.write(drawn_pixels(min(PIECE, count - start_of_piece)).tobytes())
    return path


def mapped_pixels(path: Path, count: int) -> np.ndarray:
    """(count, 1, 28, 28) uint8, read from the file when needed; changes stay in memory."""
    return np.memmap(path, np.uint8, "c", shape=(count, *SHAPE))
