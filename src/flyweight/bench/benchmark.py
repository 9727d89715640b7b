"""The result of a benchmark: machine, settings and rows, stored as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flyweight.bench.machine import describe_machine
from flyweight.bench.rows import Row
from flyweight.bench.stored import read_stored, write_stored
from flyweight.records.ids import new_run_id

# Of the stored form. Files without it are of version 1, which had no date and no command.
SCHEMA: Final = 2

# Sections of older files by their names of today.
OLD_NAMES: Final = {"limit": "roofline"}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The result of one `flyweight bench`.

    cores_taken: usable cores that other programs used at the start. machine: see `train.device.describe`.
    threads, seeds: as given; None for the default of each section. date: in UTC. command: the arguments of the
    process.
    """

    id: str
    is_quick: bool
    threads: int | None
    seeds: int | None
    cores_taken: float
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    schema: int = 1
    date: str = ""
    command: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def finished(
    rows: Sequence[Row], *, is_quick: bool, threads: int | None, seeds: int | None, cores_taken: float
) -> Benchmark:
    """The benchmark of this process, which has measured these rows."""
    return Benchmark(
        id=new_run_id(),
        is_quick=is_quick,
        threads=threads,
        seeds=seeds,
        cores_taken=cores_taken,
        machine=describe_machine(),
        rows=tuple(rows),
        schema=SCHEMA,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(sys.argv),
    )


def write(benchmark: Benchmark, path: Path) -> Path:
    """Write the result to this JSON file.

    Raises:
        UsageError, MissingError: the folder cannot be created.
    """
    return write_stored(benchmark.as_dict(), path)


def read(path: Path) -> Benchmark:
    """Read a file written by `write`.

    Raises:
        DataError: there is no such file, or its content is not a benchmark.
    """
    return read_stored(path, _benchmark, command="flyweight bench", fields=[field.name for field in fields(Benchmark)])


def _benchmark(found: dict[str, Any]) -> Benchmark:
    if found.get("schema", 1) > SCHEMA:
        raise ValueError(f"version {found['schema']}, written by a newer flyweight; this one reads up to {SCHEMA}")
    rows = tuple(Row(**one | {"section": OLD_NAMES.get(one["section"], one["section"])}) for one in found.pop("rows"))
    command = tuple(found.pop("command", ()))
    return Benchmark(**found, rows=rows, command=command)
