"""The fault bench as a whole: train, examine, count; kept as JSON, so that every figure can be counted again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from benchmarks.fault_bench.cases import BenchCase, cases
from benchmarks.fault_bench.documents import DocumentReplay, replays
from benchmarks.fault_bench.outcomes import Named, Outcome, examine
from benchmarks.fault_bench.remedies import RemedyTried, try_remedies
from benchmarks.fault_bench.training import train
from flyweight.bench.machine import describe_machine
from flyweight.bench.stored import read_stored, write_stored
from flyweight.experiment.events import never
from flyweight.files import make_folder
from flyweight.records.store import Store

# Of a quick bench: every so many of the faulty and of the healthy cases.
QUICK_FAULTY: Final = 8
QUICK_HEALTHY: Final = 10


@dataclass(frozen=True, kw_only=True)
class FaultBench:
    """What one run of the fault bench found. machine: see `train.device.describe`."""

    is_quick: bool
    machine: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    remedies: tuple[RemedyTried, ...]
    documents: tuple[DocumentReplay, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    *,
    home: Path,
    quick: bool = False,
    chosen: Sequence[BenchCase] | None = None,
    on_progress: Callable[[str], None] = lambda _words: None,
    should_stop: Callable[[], bool] = never,
) -> FaultBench:
    """Train what is not there yet in the bench's own store below `home`, examine all, try the remedies.

    chosen: the cases; default: all, or with `quick` one in so many, and the first remedies.
    The documents' faults are looked for in the runs of the home itself, which `flyweight journey run` leaves there.
    """
    store = Store.open(home=make_folder(home / "fault-bench"))
    chosen = _chosen(cases(), quick=quick) if chosen is None else chosen
    on_progress(f"{len(chosen)} runs, {sum(case.kind is not None for case in chosen)} of them with a planted fault ...")
    records = train(chosen, store, on_progress=on_progress, should_stop=should_stop)
    on_progress("examining ...")
    outcomes = examine(chosen, records, store, should_stop=should_stop)
    on_progress("trying remedies ...")
    tried = try_remedies(chosen, records, store, quick=quick, on_progress=on_progress, should_stop=should_stop)
    on_progress("looking for the documents' faults ...")
    return FaultBench(
        is_quick=quick,
        machine=describe_machine(),
        outcomes=outcomes,
        remedies=tried,
        documents=replays(Store.open(home=home)),
    )


def _chosen(all_cases: Sequence[BenchCase], *, quick: bool) -> tuple[BenchCase, ...]:
    if not quick:
        return tuple(all_cases)
    faulty = [case for case in all_cases if case.kind is not None]
    healthy = [case for case in all_cases if case.kind is None]
    return (*faulty[::QUICK_FAULTY], *healthy[::QUICK_HEALTHY])


def write(bench: FaultBench, path: Path) -> Path:
    """Write it as a JSON file of that name.

    Raises:
        UsageError, MissingError: the folder cannot be made.
    """
    return write_stored(bench.as_dict(), path)


def read(path: Path) -> FaultBench:
    """A fault bench from the file that `write` made.

    Raises:
        DataError: no such file, or one that holds something else.
    """
    names = [field.name for field in fields(FaultBench)]
    return read_stored(path, _fault_bench, command="python -m benchmarks.fault_bench", fields=names)


def _fault_bench(found: dict[str, Any]) -> FaultBench:
    outcomes = tuple(_outcome(one) for one in found.pop("outcomes"))
    remedies = tuple(RemedyTried(**{**one, "changes": tuple(one["changes"])}) for one in found.pop("remedies"))
    documents = tuple(DocumentReplay(**one) for one in found.pop("documents"))
    return FaultBench(**found, outcomes=outcomes, remedies=remedies, documents=documents)


def _outcome(table: Mapping[str, Any]) -> Outcome:
    return Outcome(**{**table, "findings": tuple(Named(**one) for one in table["findings"])})
