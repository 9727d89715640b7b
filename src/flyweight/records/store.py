"""The store: runs are written when they start, closed whatever happens, and looked up.

In: plain values. Out: records. It has rows and folders, and no code of nets or training.
"""

from __future__ import annotations

import functools
import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, Unpack

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, update

from flyweight.errors import MissingError, UsageError, nearest
from flyweight.records import trash
from flyweight.records.database import COPY_OF, now, open_database, reading, require_writable, storable, writing
from flyweight.records.ids import SHORT_ID, is_run_id, new_run_id
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
from flyweight.records.results import Figures
from flyweight.records.run_folder import RunFolder
from flyweight.records.searches import Searches
from flyweight.records.selection import CANDIDATES, by_selector, columns_of_runs, fetch, made_for, one, unknown
from flyweight.records.tables import epochs, runs, test_openings

EPOCH_VALUES = tuple(column.name for column in epochs.columns if not column.primary_key)
FIGURES = tuple(field.name for field in fields(RunFigures))
SECONDS_BETWEEN_TRIES = 0.5
SEARCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HASHES_AT_ONCE = 500  # SQLite limits the number of parameters


Given = ParamSpec("Given")
Found = TypeVar("Found")


def _tried_again(method: Callable[Concatenate[Store, Given], Found]) -> Callable[Concatenate[Store, Given], Found]:
    """A method that tries again while the database cannot be used, for `Store.PATIENCE_SECONDS`.

    It must be one transaction: what failed has changed nothing.
    """

    @functools.wraps(method)
    def patient(self: Store, /, *args: Given.args, **kwargs: Given.kwargs) -> Found:
        began = time.monotonic()
        while True:
            try:
                found = method(self, *args, **kwargs)
            except MissingError:
                if not self._is_patient or time.monotonic() - began >= self.PATIENCE_SECONDS:
                    self._is_patient = False  # or each of many runs would wait
                    raise
                time.sleep(SECONDS_BETWEEN_TRIES)
            else:
                self._is_patient = True
                return found

    return patient


class Store:
    """Records of runs in one database, and their folders under one home. Safe from several threads and after a fork."""

    # How long a run under way waits for a database that is locked, full or absent, before it stops.
    PATIENCE_SECONDS: ClassVar[float] = 60.0

    def __init__(self, engine: Engine, home: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._engine, self._say = engine, say
        self._is_patient = True
        self.home = home
        self.notebook = Notebook(engine)  # notes and plans of people
        self.searches = Searches(engine)

    @classmethod
    def open(
        cls,
        url: str | None = None,
        home: str | Path | None = None,
        *,
        only_reads: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> Store:
        """The store at an address, created or migrated if needed.

        Args:
            url: `sqlite:///FILE` or `postgresql://...`; default FLYWEIGHT_DATABASE, else a file in the home.
            home: where run folders lie; default FLYWEIGHT_HOME, else the platform's folder for a user's data.
            only_reads: open a home and a database that cannot be written, too; what writes is then a MissingError.
            say: called with a sentence about the run that a shortcut such as `@best` means.

        Raises:
            MissingError: the home is not writable, the server is not there, a package is missing, or the database
                was written by a newer flyweight.
            DataError: the file is not a database.
            UsageError: the address is of no known kind.
        """
        home = Path(home or default_home()).expanduser().absolute()
        if not only_reads or not (home / "runs").is_dir():
            require_writable(home / "runs")
        database = open_database(url or os.environ.get("FLYWEIGHT_DATABASE"), home, only_reads=only_reads)
        return cls(database, home, say)

    @property
    def is_read_only(self) -> bool:
        """Whether the database cannot be written."""
        return COPY_OF in self._engine.get_execution_options()

    @property
    def url(self) -> str:
        """The address of the database with its password, to open the same store in another process."""
        return self._engine.url.render_as_string(hide_password=False)

    def folder(self, run_id: str) -> RunFolder:
        """The folder of a run; it may not exist if the run was made on another machine."""
        if not is_run_id(run_id):
            raise UsageError(f"{run_id!r} is not a run id; `flyweight runs` lists them")
        return RunFolder(path=self.home / "runs" / run_id)

    def start(self, **facts: Unpack[NewRun]) -> RunRecord:
        """Write the row and create the folder of a run that starts now in this process."""
        _require_known(facts, NewRun.__annotations__)
        run_id = new_run_id()
        at_start = {"status": "running", "started_at": now(), "epochs_done": 0, "message": "", **_owner(this_process())}
        row = {"id": run_id, "purpose": "run", **facts, **at_start}
        with writing(self._engine) as connection:
            connection.execute(insert(runs).values(row))
            self.folder(run_id).path.mkdir(parents=True)
            return one(connection, run_id)

    def log_epoch(self, run_id: str, epoch: int, values: Mapping[str, float | None]) -> None:
        """Store the values of an epoch (train_loss, train_accuracy, validation_loss, validation_accuracy, lr, seconds).

        A repeated epoch replaces what was there. What is not a number is kept as NULL: the status tells of divergence.
        """
        self.log_epochs({run_id: (epoch, values)})

    @_tried_again
    def log_epochs(self, lines: Mapping[str, tuple[int, Mapping[str, float | None]]]) -> None:
        """Store an epoch of each of several runs, by run id; none is stored if one of them is closed."""
        with writing(self._engine) as connection:
            for run_id, (epoch, values) in lines.items():
                _require_known(values, EPOCH_VALUES)
                kept = {name: _finite(values.get(name)) for name in EPOCH_VALUES}
                # A run can be marked lost by another machine while its process still runs.
                open_run = (runs.c.id == run_id) & runs.c.status.in_(("running", "lost"))
                if not connection.execute(update(runs).where(open_run).values(epochs_done=epoch)).rowcount:
                    raise _not_open(connection, run_id)
                connection.execute(_insert_or_replace(connection, {"run_id": run_id, "epoch": epoch, **kept}))

    @_tried_again
    def open_test(self, run_id: str, purpose: str) -> int:
        """Record an opening of the test set; returns the number of openings including this one."""
        with writing(self._engine) as connection:
            # Locks the row, so that two processes get two numbers.
            if connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update()).first() is None:
                raise unknown(connection, run_id)
            opened = select(func.count()).where(test_openings.c.run_id == run_id)
            number = int(connection.execute(opened).scalar_one()) + 1
            row = {"run_id": run_id, "number": number, "purpose": storable(purpose), "opened_at": now()}
            connection.execute(insert(test_openings).values(row))
            return number

    @_tried_again
    def finish(self, run_id: str, status: Ending, **values: Unpack[Result]) -> RunRecord:
        """Close a running run with its status and figures.

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

    @_tried_again
    def add_test(self, run_id: str, figures: Figures) -> RunRecord:
        """Add the test figures to a finished run that has none.

        Raises:
            UsageError: a run that has not finished, or that has a test figure.
        """
        with writing(self._engine) as connection:
            record = one(connection, run_id, lock=True)
            if record.status != "finished" or record.test_count is not None:
                raise UsageError(f"run {run_id[:SHORT_ID]} is {record.status}, or has a test figure already")
            row = {f"test_{name}": _plain(value) for name, value in asdict(figures).items()}
            connection.execute(update(runs).where(runs.c.id == run_id).values(row))
            return one(connection, run_id)

    def resume(self, run_id: str, *, environment: Mapping[str, Any] | None = None) -> RunRecord:
        """Reopen an interrupted or lost run for this process; also a running one whose process has ended.

        environment: of this process. What decides the bits of a run and is not what it began with replaces what is on
        record, and what it began with is kept under "began_with".
        """
        with writing(self._engine) as connection:
            record = one(connection, run_id, lock=True)
            self.require_resumable(record)
            reopened = {"status": "running", "finished_at": None, "message": "", **_owner(this_process())}
            now_with = {name: value for name, value in (environment or {}).items() if name in record.fingerprint}
            began_with = {
                name: record.environment[name] for name in now_with if record.environment[name] != now_with[name]
            }
            if began_with:
                began_with |= record.environment.get("began_with", {})
                reopened["environment"] = {**record.environment, **now_with, "began_with": began_with}
            connection.execute(update(runs).where(runs.c.id == run_id).values(reopened))
            return one(connection, run_id)

    def require_resumable(self, record: RunRecord) -> None:
        """Refuse a run that cannot be resumed.

        Raises:
            UsageError: a run that is neither interrupted nor lost, and whose process is not found to be gone.
        """
        is_abandoned = record.status == "running" and is_gone(_process(record))
        if record.status not in STOPPED and not is_abandoned:
            owner = f" (process {record.pid} on {record.host} still writes it)" if record.status == "running" else ""
            raise UsageError(
                f"run {record.id[:SHORT_ID]} is {record.status}; only an interrupted or lost run can be resumed{owner}"
            )

    def mark_lost(self) -> tuple[str, ...]:
        """Mark running runs as lost if their process on this machine has ended; returns their ids.

        Another machine's runs stay as they are: only it can tell. Where nothing can be written, none is marked.
        """
        if self.is_read_only:
            return ()
        gone = [record for record in self.runs(status="running", purpose="all") if is_gone(_process(record))]
        return tuple(record.id for record in gone if self._close_lost(record))

    def _close_lost(self, record: RunRecord) -> bool:
        lost = {
            "status": "lost",
            "finished_at": now(),
            "message": f"process {record.pid} on {record.host} ended without closing the run",
        }
        # Also matched by process: the run may have been resumed since.
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

    def remove(self, selector: str) -> Path:
        """Move a run into the trash, as `get` finds it; gives its folder there.

        Raises:
            UsageError: no such run, or one that is under way.
        """
        with writing(self._engine) as connection:
            return trash.remove(connection, by_selector(connection, selector, self._say), self.home)

    def forget(self, run_id: str) -> None:
        """Delete a run with its folder for good: one that was made to measure something."""
        with writing(self._engine) as connection:
            connection.execute(delete(runs).where(runs.c.id == run_id))
        self.folder(run_id).remove()

    def searches_folder(self, name: str) -> Path:
        """The folder of a search: its page and the recipe of its winner.

        Raises:
            UsageError: a name that is no name of a folder.
        """
        if not SEARCH_NAME.fullmatch(name):
            raise UsageError(f"the name of a search has letters, digits, '.', '_' and '-', found {name!r}.")
        return self.home / "searches" / name

    def restore(self, selector: str) -> RunRecord:
        """Put a run from the trash back, by its id or the beginning of it.

        Raises:
            UsageError: none or several in the trash begin like this. DataError: its record is damaged.
        """
        with writing(self._engine) as connection:
            return one(connection, trash.restore(connection, selector, self.home))

    def runs(
        self, *, purpose: PurposeFilter = "run", limit: int | None = None, **wanted: Unpack[RunFilter]
    ) -> tuple[RunRecord, ...]:
        """The runs with all given values, newest first; by default only those with purpose "run".

        purpose: one purpose, several, or "all". The other values are those of `RunFilter`, as `status="finished"`.
        """
        if (status := wanted.get("status")) is not None:
            _require_status(status, STATUSES)
        query = columns_of_runs().where(*_equal(wanted), made_for(purpose))
        with reading(self._engine) as connection:
            return fetch(connection, query.order_by(runs.c.id.desc()).limit(limit))

    def epochs(self, run_id: str) -> tuple[EpochRecord, ...]:
        """The epochs of a run in order."""
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
        """The figures of the runs of a study, of a recipe, or of all, oldest first; fast for thousands.

        purpose: one purpose, several, or "all".

        Raises:
            UsageError: a study that has no runs; the message names those that have.
        """
        wanted = RunFilter(study=study, recipe_hash=recipe_hash)
        query = select(*(columns_of_runs().selected_columns[name] for name in FIGURES))
        query = query.where(*_equal(wanted), made_for(purpose)).order_by(runs.c.id)
        with reading(self._engine) as connection:
            # Without `mappings`, which takes longer than the query for ten thousand rows.
            found = tuple(RunFigures(**dict(zip(FIGURES, row, strict=True))) for row in connection.execute(query))
        if study is not None and not found:
            known = self.studies(purpose=purpose)
            names = f"There are {', '.join(known)}." if known else "`flyweight train --study NAME` starts one."
            raise UsageError(f"no study {study!r}.{nearest(study, known)} {names}")
        return found

    def studies(self, *, purpose: PurposeFilter = "run") -> tuple[str, ...]:
        """The names of the studies with runs of this purpose, most recent first."""
        query = select(runs.c.study).where(runs.c.study.is_not(None), made_for(purpose)).group_by(runs.c.study)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(query.order_by(func.max(runs.c.id).desc())))

    def first_recipes(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """The stored recipe of the first run of each name, preferably one without a parent."""
        query = select(runs.c.name, runs.c.id).where(runs.c.name.in_(names))
        with reading(self._engine) as connection:
            ordered = connection.execute(query.order_by(runs.c.parent_hash.is_not(None).desc(), runs.c.id.desc()))
            first = [run_id for _, run_id in {row.name: tuple(row) for row in ordered}.values()]
            found = connection.execute(select(runs.c.name, runs.c.recipe).where(runs.c.id.in_(first)))
            return {row.name: row.recipe for row in found}

    def recipes(self, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The stored recipes by `recipe_hash`; unknown hashes are left out."""
        wanted, found = sorted(set(hashes)), dict[str, dict[str, Any]]()
        with reading(self._engine) as connection:
            for start in range(0, len(wanted), HASHES_AT_ONCE):
                some = wanted[start : start + HASHES_AT_ONCE]
                latest = select(func.max(runs.c.id)).where(runs.c.recipe_hash.in_(some)).group_by(runs.c.recipe_hash)
                query = select(runs.c.recipe_hash, runs.c.recipe).where(runs.c.id.in_(latest))
                found |= {row.recipe_hash: row.recipe for row in connection.execute(query)}
        return found


def default_home() -> Path:
    """$FLYWEIGHT_HOME, else the user data folder of the platform."""
    from platformdirs import user_data_dir

    return Path(os.environ.get("FLYWEIGHT_HOME") or user_data_dir("flyweight"))


def _not_open(connection: Connection, run_id: str) -> UsageError:
    record = one(connection, run_id)
    hint = "resume it first" if record.status in STOPPED else "its record is closed"
    return UsageError(f"run {run_id[:SHORT_ID]} is already {record.status}; {hint}")


def _insert_or_replace(connection: Connection, row: Mapping[str, object]) -> Any:
    statement = _insert_of(connection.dialect.name)(epochs).values(**row)
    replaced = {name: statement.excluded[name] for name in EPOCH_VALUES}
    return statement.on_conflict_do_update(index_elements=[epochs.c.run_id, epochs.c.epoch], set_=replaced)


def _insert_of(dialect: str) -> Any:
    """The insert with ON CONFLICT; that of PostgreSQL is only imported for it, to start faster."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def _require_status(status: str, known: Sequence[str]) -> None:
    if status not in known:
        raise UsageError(f"unknown status {status!r}; known: {', '.join(known)}.{nearest(status, known)}")


def _equal(wanted: RunFilter) -> list[ColumnElement[bool]]:
    """The conditions of a filter."""
    _require_known(wanted, RunFilter.__annotations__)
    return [runs.c[name] == value for name, value in wanted.items() if value is not None]


def _require_known(values: Mapping[str, object], known: Collection[str]) -> None:
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TypeError(f"unknown column: {', '.join(unknown)}; known: {', '.join(known)}")


def _owner(process: Process) -> dict[str, object]:
    return {"host": process.host, "pid": process.pid, "process_started": process.started}


def _process(record: RunRecord) -> Process:
    return Process(host=record.host, pid=record.pid, started=record.process_started)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return _finite(value)
    return storable(value) if isinstance(value, str) else value


def _finite(value: float | None) -> float | None:
    """The number, or None if it is not finite; SQLite stores NaN as NULL, PostgreSQL as NaN."""
    return value if value is not None and math.isfinite(value) else None
