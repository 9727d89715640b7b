"""A benchmark as a record: the machine, the settings, the rows; stored as JSON and read again."""

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

# Cores taken by others, above which figures are not those of an idle machine.
BUSY: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What one run of `flyweight bench` found.

    cores_taken: usable cores that others kept busy when it began. machine: see `train.device.describe`.
    threads, seeds: as given, None for what each section takes by itself.
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
    """Measure the named sections; `on_progress` gets a line for each step.

    Raises:
        UsageError: no threads or seeds. FlyweightError: a process of the benchmark ended by itself.
    """
    require_counts(threads=threads, seeds=seeds)
    size = QUICK if quick else FULL
    size = replace(size, seeds=seeds) if seeds else size
    taken = cores_taken()
    if taken > BUSY:
        on_progress(f"others keep {taken:.1f} of these cores busy: figures will not be those of an idle machine")
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
    """Write it into the home's folder of benchmarks."""
    return write(benchmark, make_folder(home / "benchmarks") / f"{benchmark.id}.json")


def write(benchmark: Benchmark, path: Path) -> Path:
    """Write it as a JSON file of that name.

    Raises:
        UsageError, MissingError: the folder cannot be made.
    """
    return write_stored(benchmark.as_dict(), path)


def read(path: Path) -> Benchmark:
    """A benchmark from the file that `save` or `write` made.

    Raises:
        DataError: no such file, or one that holds something else.
    """
    return read_stored(path, _benchmark, command="flyweight bench", fields=[field.name for field in fields(Benchmark)])


def _benchmark(found: dict[str, Any]) -> Benchmark:
    rows = tuple(Row(**one | {"section": OLD_NAMES.get(one["section"], one["section"])}) for one in found.pop("rows"))
    return Benchmark(**found, rows=rows)
