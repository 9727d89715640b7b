"""The result of a benchmark: machine, settings and rows, stored as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from flyweight.bench.machine import cores_taken, describe_machine
from flyweight.bench.predict import predict
from flyweight.bench.roofline import roofline
from flyweight.bench.rows import Row
from flyweight.bench.scaling import scaling
from flyweight.bench.seeds import seeds
from flyweight.bench.sizes import FULL, QUICK
from flyweight.bench.startup import startup
from flyweight.bench.stored import read_stored, write_stored
from flyweight.bench.time_to import time_to
from flyweight.bench.train import train
from flyweight.errors import require_counts
from flyweight.records.files import make_folder
from flyweight.records.ids import new_run_id

SECTIONS: Final[dict[str, Callable[..., list[Row]]]] = {
    "train": train,
    "roofline": roofline,
    "predict": predict,
    "seeds": seeds,
    "scaling": scaling,
    "time-to": time_to,
    "startup": startup,
}

# Sections of older files by their names of today.
OLD_NAMES: Final = {"limit": "roofline"}

# With more cores than this taken by other programs, the machine does not count as idle.
BUSY: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The result of one `flyweight bench`.

    cores_taken: usable cores that other programs used at the start. machine: see `train.device.describe`.
    threads, seeds: as given; None for the default of each section.
    """

    id: str
    is_quick: bool
    threads: int | None
    seeds: int | None
    cores_taken: float
    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    names: Sequence[str] = tuple(SECTIONS),
    *,
    quick: bool = False,
    threads: int | None = None,
    seeds: int | None = None,
    on_progress: Callable[[str], None] = lambda _words: None,
) -> Benchmark:
    """Measure the named sections; `on_progress` gets a line for each.

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
    for name in dict.fromkeys(names):
        on_progress(f"measuring {name} ...")
        rows += SECTIONS[name](size, threads=threads)
    return Benchmark(
        id=new_run_id(),
        is_quick=quick,
        threads=threads,
        seeds=seeds,
        cores_taken=taken,
        machine=describe_machine(),
        rows=tuple(rows),
    )


def save(benchmark: Benchmark, *, home: Path) -> Path:
    """Write the result to the folder `benchmarks` of the home."""
    return write(benchmark, make_folder(home / "benchmarks") / f"{benchmark.id}.json")


def write(benchmark: Benchmark, path: Path) -> Path:
    """Write the result to this JSON file.

    Raises:
        UsageError, MissingError: the folder cannot be created.
    """
    return write_stored(benchmark.as_dict(), path)


def read(path: Path) -> Benchmark:
    """Read a file written by `save` or `write`.

    Raises:
        DataError: there is no such file, or its content is not a benchmark.
    """
    return read_stored(path, _benchmark, command="flyweight bench", fields=[field.name for field in fields(Benchmark)])


def _benchmark(found: dict[str, Any]) -> Benchmark:
    rows = tuple(Row(**one | {"section": OLD_NAMES.get(one["section"], one["section"])}) for one in found.pop("rows"))
    return Benchmark(**found, rows=rows)
