"""The sections of `flyweight bench`, and a benchmark of some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from flyweight.bench.benchmark import Benchmark, finished, write
from flyweight.bench.device import device
from flyweight.bench.machine import cores_taken
from flyweight.bench.predict import predict
from flyweight.bench.roofline import roofline
from flyweight.bench.rows import Row
from flyweight.bench.scaling import scaling
from flyweight.bench.seeds import seeds
from flyweight.bench.sizes import FULL, QUICK
from flyweight.bench.startup import startup
from flyweight.bench.time_to import time_to
from flyweight.bench.train import train
from flyweight.errors import require_counts
from flyweight.files import make_folder

SECTIONS: Final[dict[str, Callable[..., list[Row]]]] = {
    "train": train,
    "roofline": roofline,
    "predict": predict,
    "seeds": seeds,
    "scaling": scaling,
    "time-to": time_to,
    "startup": startup,
    "device": device,
}

# With more cores than this taken by other programs, the machine does not count as idle.
BUSY: Final = 0.5


def measure(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    threads: int | None = None,
    seeds: int | None = None,
    on_progress: Callable[[str], None] = lambda _words: None,
) -> Benchmark:
    """Measure the named sections (default: all, `device` only with a GPU); `on_progress` gets a line for each.

    Raises:
        UsageError: fewer than 1 thread or seed. FlyweightError: a process of the benchmark ended unexpectedly.
    """
    require_counts(threads=threads, seeds=seeds)
    size = QUICK if quick else FULL
    size = replace(size, seeds=seeds) if seeds else size
    taken = cores_taken()
    if taken > BUSY:
        on_progress(
            f"note: other programs use {taken:.1f} of these cores, so speeds will be lower than on an idle machine"
        )
    rows: list[Row] = []
    for name in dict.fromkeys(names or default_sections()):
        on_progress(f"measuring {name} ...")
        rows += SECTIONS[name](size, threads=threads)
    return finished(rows, is_quick=quick, threads=threads, seeds=seeds, cores_taken=taken)


def default_sections() -> list[str]:
    """All sections that this machine can measure."""
    return [name for name in SECTIONS if name != "device" or torch.cuda.is_available()]


def save(benchmark: Benchmark, *, home: Path) -> Path:
    """Write the result to the folder `benchmarks` of the home."""
    return write(benchmark, make_folder(home / "benchmarks") / f"{benchmark.id}.json")
