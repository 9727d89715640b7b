"""A benchmark as a record: the machine, the settings, the rows; kept as JSON beside the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from flyweight.bench import sections
from flyweight.bench.sections import Row
from flyweight.records.folder import make_folder, write_json
from flyweight.records.ids import new_run_id
from flyweight.train.device import DEFAULT_THREADS


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int
    steps: int
    seeds: int
    train_limit: int


FULL: Final = Size(rounds=7, steps=60, seeds=4, train_limit=55_000)
QUICK: Final = Size(rounds=2, steps=8, seeds=2, train_limit=512)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What one run of `flyweight bench` found."""

    id: str
    is_quick: bool
    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def shown(self) -> list[dict[str, Any]]:
        """Rows for people: seconds with their middle half, and the ratio to the section's first contender."""
        return [
            {
                "section": row.section,
                "contender": row.contender,
                "median s": f"{row.median_seconds:.2f}",
                "middle half": f"{row.quartile_low:.2f} to {row.quartile_high:.2f}",
                "n": row.rounds,
                "times faster": f"{row.ratio:.2f}",
                "note": row.note,
            }
            for row in self.rows
        ]


def measure(
    names: Sequence[str], *, quick: bool, threads: int | None, told: Callable[[str], None] = lambda _words: None
) -> Benchmark:
    """Measure the named sections; `told` hears what is going on."""
    size, threads = QUICK if quick else FULL, threads or DEFAULT_THREADS
    measured = {
        "training": lambda: sections.training(rounds=size.rounds, steps=size.steps, threads=threads),
        "seeds": lambda: sections.seeds(count=size.seeds, train_limit=size.train_limit),
        "answers": lambda: sections.answers(rounds=size.rounds),
    }
    rows: list[Row] = []
    for name in dict.fromkeys(names):
        told(f"measuring {name} ...")
        rows += measured[name]()
    return Benchmark(id=new_run_id(), is_quick=quick, machine=sections.describe_machine(), rows=tuple(rows))


def keep(benchmark: Benchmark, *, home: Path) -> Path:
    """Write it as a JSON file into the home's folder of benchmarks."""
    folder = make_folder(home / "benchmarks")
    path = folder / f"{benchmark.id}.json"
    write_json(path, benchmark.as_dict())
    return path
