"""`bench device`: training on a GPU, its speed, its limits, and whether stacking nets changes what they learn.

It needs torch and numpy and no other package, so `python -m flyweight.bench.device` works from a source tree on a
machine that has only those.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from flyweight.bench.benchmark import Benchmark, finished, write
from flyweight.bench.device_accuracy import best, fast, gpu, one_epoch, process_start
from flyweight.bench.device_equality import equality
from flyweight.bench.device_speed import ceilings, speed
from flyweight.bench.device_task import Measurement, ascii_line, read_pixels
from flyweight.bench.format import text_tables
from flyweight.bench.machine import cores_taken
from flyweight.bench.rows import Row, row
from flyweight.bench.sizes import ON_CPU, ON_GPU, ON_GPU_QUICK, DeviceSize, Size
from flyweight.errors import FlyweightError, MissingError
from flyweight.tables import as_text, table_of
from flyweight.train import device as devices

# In this order: the speeds say how long the trainings will take.
PARTS: Final[dict[str, Callable[[Measurement], Iterator[Row]]]] = {
    "speed": speed,
    "ceilings": ceilings,
    "equality": equality,
    "gpu": gpu,
    "start": process_start,
    "best": best,
    "fast": fast,
    "one-epoch": one_epoch,
}
SECONDS: Final = 230.0


def device(size: Size, *, threads: int | None) -> list[Row]:
    """Rows of all parts; threads make no difference.

    Raises:
        MissingError: there is no CUDA GPU.
    """
    del threads
    return [one for rows in measured(chosen("cuda"), size.device) for one in rows]


def chosen(name: str) -> torch.device:
    """The device.

    Raises:
        MissingError: "cuda" where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingError(
            "bench device needs a CUDA GPU, and torch finds none here (torch.cuda.is_available() is False); to check "
            "only that it works: python -m flyweight.bench.device --device cpu"
        )
    return torch.device(name)


def measured(
    device: torch.device, size: DeviceSize, *, names: Sequence[str] = (), seconds: float = SECONDS
) -> Iterator[list[Row]]:
    """The rows of each part (default: all). A part that fails says so in a row, and the others go on.

    seconds: what would end later is skipped, as far as that is known.
    """
    ends_at = time.perf_counter() + seconds
    devices.prepare(threads=devices.DEFAULT_THREADS)
    found = Measurement(pixels=read_pixels(device, size), size=size, ends_at=ends_at)
    for name in names or PARTS:
        yield list(_rows_of(name, found))
        found.release()


def _rows_of(name: str, found: Measurement) -> Iterator[Row]:
    section = f"device {name}"
    if found.seconds_left <= 0:
        yield row(section, name, "skipped", [], note="no time left of --seconds")
        return
    try:
        yield from PARTS[name](found)
    except Exception as error:  # whatever fails in one part, the others are measured
        yield row(section, name, "failed", [], note=ascii_line(f"{type(error).__name__}: {error}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `python -m flyweight.bench.device`; returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except FlyweightError as error:
        print(f"flyweight: {error}", file=sys.stderr)
        return error.exit_code


def _run(given: argparse.Namespace) -> int:
    device = chosen(given.device)
    size = ON_CPU if device.type == "cpu" else ON_GPU_QUICK if given.quick else ON_GPU
    taken, rows = cores_taken(), list[Row]()
    for found in measured(device, size, names=given.only, seconds=given.seconds):
        rows += found
        _print(found)
        if given.out:  # after each part, so that nothing is lost if the process is ended
            write(_benchmark(rows, given, taken), given.out)
    return 1 if any(one.quantity == "failed" for one in rows) else 0


def _benchmark(rows: Sequence[Row], given: argparse.Namespace, taken: float) -> Benchmark:
    return finished(rows, is_quick=given.quick or given.device == "cpu", threads=None, seeds=None, cores_taken=taken)


def _print(rows: Sequence[Row]) -> None:
    for section, cells, notes in text_tables(rows):
        print(f"{section}\n{'-' * len(section)}\n{as_text(table_of(cells, gap=1))}")
        for note in notes:
            print(textwrap.fill(note, 80, subsequent_indent="    "))
        print(flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flyweight.bench.device", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result to this JSON file")
    parser.add_argument("--quick", action="store_true", help="few images and short rounds: too inexact to quote")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[], metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for all parts (default: {SECONDS:g})")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only to check that it works, at a tiny size"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
