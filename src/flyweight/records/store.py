"""The store: where runs are written when they start, closed whatever happens, and found again.

Plain values go in, records come out. It knows rows and folders; what a net or a training is, it is not told.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, update

from flyweight.errors import UsageError, nearest
from flyweight.records.database import now, open_database, reading, require_writable, storable, writing
from flyweight.records.ids import is_run_id, new_run_id
from flyweight.records.notebook import Notebook
from flyweight.records.process import Process, is_gone, this_process
from flyweight.records.record import (
    ENDINGS,
    STATUSES,
    STOPPED,
    Ending,
    EpochRecord,
    NewRun,
    PurposeFilter,
    Result,
    RunFigures,
    RunFilter,
    RunRecord,
)
from flyweight.records.run_folder import RunFolder
from flyweight.records.selection import CANDIDATES, by_selector, columns_of_runs, fetch, made_for, one, unknown
from flyweight.records.tables import epochs, runs, test_openings

EPOCH_VALUES = tuple(column.name for column in epochs.columns if not column.primary_key)
FIGURES = tuple(field.name for field in fields(RunFigures))
HASHES_AT_ONCE = 500  # SQLite takes a limited number of parameters


class Store:
    """Records of runs in one database, and their folders under one home. Safe from several threads and after a fork."""

    def __init__(self, engine: Engine, home: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._engine, self._say = engine, say
        self.home = home
        self.notebook = Notebook(engine)  # what people write beside the runs

    @classmethod
    def open(
        cls, url: str | None = None, home: str | Path | None = None, *, say: Callable[[str], None] = lambda _: None
    ) -> Store:
        """The store at an address, made and migrated where needed.

        Args:
            url: `sqlite:///FILE` or `postgresql://...`; default FLYWEIGHT_DATABASE, else a file in the home.
            home: where run folders lie; default FLYWEIGHT_HOME, else the platform's folder for a user's data.
            say: called with a sentence about the run that a shortcut such as `@best` means.

        Raises:
            MissingError: the home is not writable, the server is not there, a package is missing, or the database
                was written by a newer flyweight.
            DataError: the file is not a database.
            UsageError: the address is of no known kind.
        """
        home = Path(home or default_home()).expanduser().absolute()
        require_writable(home / "runs")
        return cls(open_database(url or os.environ.get("FLYWEIGHT_DATABASE"), home), home, say)

    @property
    def url(self) -> str:
        """The database's address, password included: what another process opens the same store with."""
        return self._engine.url.render_as_string(hide_password=False)

    def folder(self, run_id: str) -> RunFolder:
        """The files of a run; the folder of a run from another machine may not exist here."""
        if not is_run_id(run_id):
            raise UsageError(f"{run_id!r} is not a run id; `flyweight runs` lists them")
        return RunFolder(path=self.home / "runs" / run_id)

    def start(self, **facts: Unpack[NewRun]) -> RunRecord:
        """Write the row and make the folder of a run that starts now, in this process."""
        _require_known(facts, NewRun.__annotations__)
        run_id = new_run_id()
        at_start = {"status": "running", "started_at": now(), "epochs_done": 0, "message": "", **_owner(this_process())}
        row = {"id": run_id, "purpose": "run", **facts, **at_start}
        with writing(self._engine) as connection:
            connection.execute(insert(runs).values(row))
            self.folder(run_id).path.mkdir(parents=True)
            return one(connection, run_id)

    def log_epoch(self, run_id: str, epoch: int, values: Mapping[str, float | None]) -> None:
        """Keep an epoch's values (train_loss, train_accuracy, validation_loss, validation_accuracy, lr, seconds).

        A repeated epoch replaces what was there. What is not a number is kept as NULL: the status tells of divergence.
        """
        self.log_epochs({run_id: (epoch, values)})

    def log_epochs(self, lines: Mapping[str, tuple[int, Mapping[str, float | None]]]) -> None:
        """Keep an epoch and its values for each of several runs, by run id, or none if one of them is closed."""
        with writing(self._engine) as connection:
            for run_id, (epoch, values) in lines.items():
                _require_known(values, EPOCH_VALUES)
                kept = {name: _finite(values.get(name)) for name in EPOCH_VALUES}
                # A run may be marked lost by a machine that could not see its process; what still comes in is kept.
                open_run = (runs.c.id == run_id) & runs.c.status.in_(("running", "lost"))
                if not connection.execute(update(runs).where(open_run).values(epochs_done=epoch)).rowcount:
                    raise _not_open(connection, run_id)
                connection.execute(_insert_or_replace(connection, {"run_id": run_id, "epoch": epoch, **kept}))

    def open_test(self, run_id: str, purpose: str) -> int:
        """Note that the test set is opened for this run; returns how often it was, this time included."""
        with writing(self._engine) as connection:
            # Locks the row, so that two processes opening at once get two numbers.
            if connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update()).first() is None:
                raise unknown(connection, run_id)
            opened = select(func.count()).where(test_openings.c.run_id == run_id)
            number = int(connection.execute(opened).scalar_one()) + 1
            row = {"run_id": run_id, "number": number, "purpose": storable(purpose), "opened_at": now()}
            connection.execute(insert(test_openings).values(row))
            return number

    def finish(self, run_id: str, status: Ending, **values: Unpack[Result]) -> RunRecord:
        """Close a running run with how it ended and what is known of it.

        A closed run is not closed again; `resume` opens an interrupted or lost one. The process that owns a run
        marked lost may still close it: it is there, so it was not lost.
        """
        _require_status(status, ENDINGS)
        _require_known(values, Result.__annotations__)
        with writing(self._engine) as connection:
            record = one(connection, run_id, lock=True)
            if record.status != "running" and not (record.status == "lost" and _process(record) == this_process()):
                raise _not_open(connection, run_id)
            row = {name: _plain(value) for name, value in values.items()}
            connection.execute(update(runs).where(runs.c.id == run_id).values(**row, status=status, finished_at=now()))
            return one(connection, run_id)

    def resume(self, run_id: str) -> RunRecord:
        """Open an interrupted or lost run again, for this process; so too one whose process is found to be gone."""
        with writing(self._engine) as connection:
            record = one(connection, run_id, lock=True)
            is_abandoned = record.status == "running" and is_gone(_process(record))
            if record.status not in STOPPED and not is_abandoned:
                raise UsageError(
                    f"run {run_id} is {record.status}; only an interrupted or lost run can be resumed"
                    + (
                        f" (process {record.pid} on {record.host} still writes it)"
                        if record.status == "running"
                        else ""
                    )
                )
            reopened = {"status": "running", "finished_at": None, "message": "", **_owner(this_process())}
            connection.execute(update(runs).where(runs.c.id == run_id).values(reopened))
            return one(connection, run_id)

    def mark_lost(self) -> tuple[str, ...]:
        """Close the running rows whose process on this machine is gone; returns their ids.

        Another machine's runs stay as they are: only it can tell.
        """
        gone = [record for record in self.runs(status="running", purpose="all") if is_gone(_process(record))]
        return tuple(record.id for record in gone if self._close_lost(record))

    def _close_lost(self, record: RunRecord) -> bool:
        lost = {
            "status": "lost",
            "finished_at": now(),
            "message": f"process {record.pid} on {record.host} ended without closing the run",
        }
        # Matched by owner too: the run may have been resumed since it was read.
        same = [runs.c[name] == value for name, value in _owner(_process(record)).items()]
        with writing(self._engine) as connection:
            closing = update(runs).where(runs.c.id == record.id, runs.c.status == "running", *same)
            return connection.execute(closing.values(lost)).rowcount == 1

    def get(self, selector: str) -> RunRecord:
        """The run meant by a full id, a unique beginning of one, `@latest`, `@best`, or `@best:mnist`.

        `@latest` and `@best` look at what people asked for (purpose "run"). `@best` is the best finished run on the
        images of the latest one, or of those that are named (`records/selection.py`); `say` is told which and why. An
        unknown or ambiguous selector is a UsageError that lists what could have been meant.
        """
        with reading(self._engine) as connection:
            return by_selector(connection, selector, self._say)

    def runs(
        self, *, purpose: PurposeFilter = "run", limit: int | None = None, **wanted: Unpack[RunFilter]
    ) -> tuple[RunRecord, ...]:
        """The runs that match every given value, newest first; by default only those with purpose "run".

        purpose: one purpose, several, or "all". The other values are those of `RunFilter`, as `status="finished"`.
        """
        if (status := wanted.get("status")) is not None:
            _require_status(status, STATUSES)
        query = columns_of_runs().where(*_equal(wanted), made_for(purpose))
        with reading(self._engine) as connection:
            return fetch(connection, query.order_by(runs.c.id.desc()).limit(limit))

    def epochs(self, run_id: str) -> tuple[EpochRecord, ...]:
        """The epochs of a run, first to last; none for a run that has none yet."""
        query = select(epochs).where(epochs.c.run_id == run_id).order_by(epochs.c.epoch)
        with reading(self._engine) as connection:
            return tuple(EpochRecord(**row) for row in connection.execute(query).mappings())

    def group(self, group_id: str) -> tuple[RunRecord, ...]:
        """The runs that share a `group_id`, in order of seed."""
        found = self.runs(group_id=group_id, purpose="all")
        if found:
            return tuple(sorted(found, key=lambda run: (run.seed, run.id)))
        known = select(runs.c.group_id).where(runs.c.group_id.is_not(None)).group_by(runs.c.group_id)
        with reading(self._engine) as connection:
            groups = connection.scalars(known.order_by(func.max(runs.c.id).desc()).limit(CANDIDATES)).all()
        latest = f" The latest groups: {', '.join(groups)}." if groups else " There are no groups yet."
        raise UsageError(f"no group {group_id!r}.{latest}")

    def figures(
        self, *, study: str | None = None, recipe_hash: str | None = None, purpose: PurposeFilter = "run"
    ) -> tuple[RunFigures, ...]:
        """The figures of the runs of a study, of a recipe, or of all, oldest first; quick for thousands.

        purpose: one purpose, several, or "all".

        Raises:
            UsageError: a study that has no runs; the message names those that have.
        """
        wanted = RunFilter(study=study, recipe_hash=recipe_hash)
        query = select(*(columns_of_runs().selected_columns[name] for name in FIGURES))
        query = query.where(*_equal(wanted), made_for(purpose)).order_by(runs.c.id)
        with reading(self._engine) as connection:
            # Not by `mappings`: for ten thousand rows it takes longer than the query.
            found = tuple(RunFigures(**dict(zip(FIGURES, row, strict=True))) for row in connection.execute(query))
        if study is not None and not found:
            known = self.studies(purpose=purpose)
            names = f"There are {', '.join(known)}." if known else "`flyweight train --study NAME` begins one."
            raise UsageError(f"no study {study!r}.{nearest(study, known)} {names}")
        return found

    def studies(self, *, purpose: PurposeFilter = "run") -> tuple[str, ...]:
        """The names of the studies that have runs of this purpose, the one with the newest run first."""
        query = select(runs.c.study).where(runs.c.study.is_not(None), made_for(purpose)).group_by(runs.c.study)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(query.order_by(func.max(runs.c.id).desc())))

    def first_recipes(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """The recipe of the first run of each name, as stored; one that was not changed from another comes first."""
        query = select(runs.c.name, runs.c.id).where(runs.c.name.in_(names))
        with reading(self._engine) as connection:
            ordered = connection.execute(query.order_by(runs.c.parent_hash.is_not(None).desc(), runs.c.id.desc()))
            first = [run_id for _, run_id in {row.name: tuple(row) for row in ordered}.values()]
            found = connection.execute(select(runs.c.name, runs.c.recipe).where(runs.c.id.in_(first)))
            return {row.name: row.recipe for row in found}

    def recipes(self, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The recipes on record by their `recipe_hash`, as stored; a hash that no run has is left out."""
        wanted, found = sorted(set(hashes)), dict[str, dict[str, Any]]()
        with reading(self._engine) as connection:
            for start in range(0, len(wanted), HASHES_AT_ONCE):
                some = wanted[start : start + HASHES_AT_ONCE]
                latest = select(func.max(runs.c.id)).where(runs.c.recipe_hash.in_(some)).group_by(runs.c.recipe_hash)
                query = select(runs.c.recipe_hash, runs.c.recipe).where(runs.c.id.in_(latest))
                found |= {row.recipe_hash: row.recipe for row in connection.execute(query)}
        return found


def default_home() -> Path:
    """FLYWEIGHT_HOME, else the platform's folder for a user's data."""
    from platformdirs import user_data_dir

    return Path(os.environ.get("FLYWEIGHT_HOME") or user_data_dir("flyweight"))


def _not_open(connection: Connection, run_id: str) -> UsageError:
    record = one(connection, run_id)
    hint = "resume it first" if record.status in STOPPED else "its record is closed"
    return UsageError(f"run {run_id} is already {record.status}; {hint}")


def _insert_or_replace(connection: Connection, row: Mapping[str, object]) -> Any:
    statement = _insert_of(connection.dialect.name)(epochs).values(**row)
    replaced = {name: statement.excluded[name] for name in EPOCH_VALUES}
    return statement.on_conflict_do_update(index_elements=[epochs.c.run_id, epochs.c.epoch], set_=replaced)


def _insert_of(dialect: str) -> Any:
    """The insert that knows ON CONFLICT; PostgreSQL's is imported only there, since it slows every start."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def _require_status(status: str, known: Sequence[str]) -> None:
    if status not in known:
        raise UsageError(f"no status {status!r}; there are {', '.join(known)}.{nearest(status, known)}")


def _equal(wanted: RunFilter) -> list[ColumnElement[bool]]:
    """The conditions of a filter."""
    _require_known(wanted, RunFilter.__annotations__)
    return [runs.c[name] == value for name, value in wanted.items() if value is not None]


def _require_known(values: Mapping[str, object], known: Collection[str]) -> None:
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TypeError(f"no such column: {', '.join(unknown)}; there are {', '.join(known)}")


def _owner(process: Process) -> dict[str, object]:
    return {"host": process.host, "pid": process.pid, "process_started": process.started}


def _process(record: RunRecord) -> Process:
    return Process(host=record.host, pid=record.pid, started=record.process_started)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return _finite(value)
    return storable(value) if isinstance(value, str) else value


def _finite(value: float | None) -> float | None:
    """The number, or None if it is not finite: SQLite would turn NaN into NULL by itself, PostgreSQL would keep it."""
    return value if value is not None and math.isfinite(value) else None
