"""Searches in the database: trials are claimed once and finished once, whichever processes do it.

Claiming a trial and finishing one with its result are one transaction each. A claim has an owner and an attempt, and a
result of an older attempt changes nothing. A lease is measured by the clock of the database, since machines disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Double, Engine, cast, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from flyweight.errors import UsageError, nearest
from flyweight.records.database import now, reading, storable, writing
from flyweight.records.ids import new_run_id
from flyweight.records.process import Process, is_gone, this_process
from flyweight.records.search_record import (
    NewTrial,
    SearchRecord,
    SearchStatus,
    TrialFigures,
    TrialRecord,
    TrialStatus,
)
from flyweight.records.tables import runs, searches, trials

LEASE_SECONDS: Final = 120.0
FIGURES: Final = tuple(field.name for field in fields(TrialFigures))

# What is tried next: an old trial that is promoted, by its number, a new one, or nothing now.
Choice = Callable[[Sequence[TrialFigures], Callable[[int], dict[str, Any]]], "int | NewTrial | None"]


class Searches:
    """The searches of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, name: str, plan: Mapping[str, Any]) -> SearchRecord:
        """Write a new search, which this process owns.

        Raises:
            UsageError: a search of this name is on record.
        """
        row = {"name": storable(name), "plan": dict(plan), "status": "running", "seconds": 0.0, "started_at": now()}
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(searches).values(row | _owner(this_process())))
                return _search(connection, name)
        except IntegrityError:
            raise UsageError(
                f"a search {name!r} is on record; continue it with: flyweight search --resume {name}, or give another "
                "name with --name"
            ) from None

    def resume(self, name: str) -> SearchRecord:
        """Take over a search that is not under way.

        Raises:
            UsageError: unknown, finished, or still run by another process.
        """
        with writing(self._engine) as connection:
            found = _search(connection, name, lock=True)
            owner = Process(host=found.host, pid=found.pid, started=found.process_started)
            if found.status == "finished":
                raise UsageError(f"the search {name!r} is finished; see: flyweight search show {name}")
            if found.status == "running" and owner != this_process() and not is_gone(owner):
                raise UsageError(f"the search {name!r} is under way in process {found.pid} on {found.host}")
            values = {"status": "running", **_owner(this_process())}
            connection.execute(update(searches).where(searches.c.name == name).values(values))
            return _search(connection, name)

    def get(self, name: str) -> SearchRecord:
        """A search by its name; an unknown one is a UsageError that lists those on record."""
        with reading(self._engine) as connection:
            return _search(connection, name)

    def names(self) -> tuple[str, ...]:
        """The searches on record, newest first."""
        with reading(self._engine) as connection:
            return tuple(connection.scalars(select(searches.c.name).order_by(searches.c.started_at.desc())))

    def save(self, name: str, status: SearchStatus, *, seconds: float, result: Mapping[str, Any] | None = None) -> None:
        """Store how far a search has come; `result` stays as it was if it is None."""
        values: dict[str, Any] = {"status": status, "seconds": seconds}
        values |= {"finished_at": now()} if status == "finished" else {}
        values |= {} if result is None else {"result": dict(result)}
        with writing(self._engine) as connection:
            connection.execute(update(searches).where(searches.c.name == name).values(values))

    def figures(self, name: str) -> tuple[TrialFigures, ...]:
        """The trials of a search in order, without their designs."""
        with reading(self._engine) as connection:
            return _figures(connection, name)

    def trials(self, name: str) -> tuple[TrialRecord, ...]:
        """The trials of a search in order."""
        columns = [trials.c[column] for column in (*FIGURES, "design")]
        with reading(self._engine) as connection:
            rows = connection.execute(select(*columns).where(trials.c.search == name).order_by(trials.c.number))
            return tuple(TrialRecord(**_read(row)) for row in rows.mappings())

    def claim(self, name: str, choose: Choice) -> TrialRecord | None:
        """Take a trial for this process: one whose process has gone, else what `choose` decides; None if nothing.

        `choose` gets all trials and a function that reads a design by its number.
        """
        with writing(self._engine) as connection:
            _search(connection, name, lock=True)
            known = _figures(connection, name)
            abandoned = _abandoned(connection, name)

            def design(number: int) -> dict[str, Any]:
                query = select(trials.c.design).where(trials.c.search == name, trials.c.number == number)
                found: dict[str, Any] = connection.execute(query).scalar_one()
                return found

            chosen = abandoned if abandoned is not None else choose(known, design)
            if chosen is None:
                return None
            claimed = {"status": "running", "lease": _clock(connection) + LEASE_SECONDS, **_owner(this_process())}
            if isinstance(chosen, NewTrial):
                number = max((trial.number for trial in known), default=0) + 1
                row = asdict(chosen) | {"search": name, "number": number, "accuracies": [], "seconds": 0.0}
                row |= {"group_id": new_run_id(), "attempt": 1, "message": ""}
                connection.execute(insert(trials).values(row | claimed))
            else:
                number = chosen
                again = update(trials).where(trials.c.search == name, trials.c.number == number)
                connection.execute(again.values(attempt=trials.c.attempt + 1, **claimed))
            return _trial(connection, name, number)

    def renew(self, name: str, trial: TrialFigures) -> bool:
        """Extend the lease of a trial; False if another process has taken it."""
        with writing(self._engine) as connection:
            renewed = update(trials).where(*_is_owner(name, trial)).values(lease=_clock(connection) + LEASE_SECONDS)
            return connection.execute(renewed).rowcount == 1

    def finish(
        self,
        name: str,
        trial: TrialFigures,
        status: TrialStatus,
        *,
        accuracies: Sequence[float],
        seconds: float,
        message: str = "",
    ) -> bool:
        """Store the result of a claimed trial; False, and nothing is stored, if another process has taken it since."""
        values = {"status": status, "accuracies": list(accuracies), "seconds": seconds, "message": storable(message)}
        with writing(self._engine) as connection:
            return connection.execute(update(trials).where(*_is_owner(name, trial)).values(values)).rowcount == 1

    def halve(self, name: str, numbers: Sequence[int], *, of: Sequence[TrialStatus] = ("paused",)) -> tuple[str, ...]:
        """Give up trials for good that have a status of `of`; returns the groups of the runs of those that had."""
        with writing(self._engine) as connection:
            found = []
            for number in numbers:
                given_up = (trials.c.search == name, trials.c.number == number, trials.c.status.in_(of))
                group = connection.scalar(select(trials.c.group_id).where(*given_up))
                if group is not None:
                    connection.execute(update(trials).where(*given_up).values(status="halved"))
                    found.append(group)
            return tuple(found)

    def release(self, name: str, trial: TrialFigures) -> None:
        """Give a claimed trial back as it was: the next claim takes it first."""
        with writing(self._engine) as connection:
            connection.execute(update(trials).where(*_is_owner(name, trial)).values(lease=0.0, pid=0, host=""))

    def remove(self, name: str) -> tuple[str, ...]:
        """Remove a search with its trials and their runs; returns the ids of these runs, whose folders remain.

        Raises:
            UsageError: unknown, or under way.
        """
        with writing(self._engine) as connection:
            found = _search(connection, name, lock=True)
            owner = Process(host=found.host, pid=found.pid, started=found.process_started)
            if found.status == "running" and not is_gone(owner):
                raise UsageError(f"the search {name!r} is under way in process {found.pid} on {found.host}; stop it")
            groups = select(trials.c.group_id).where(trials.c.search == name)
            of_search = (runs.c.purpose == "search") & runs.c.group_id.in_(groups)
            ids = tuple(connection.scalars(select(runs.c.id).where(of_search)))
            connection.execute(delete(runs).where(of_search))
            connection.execute(delete(searches).where(searches.c.name == name))
            return ids


def _search(connection: Connection, name: str, *, lock: bool = False) -> SearchRecord:
    query = select(searches).where(searches.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is not None:
        return SearchRecord(**row)
    known = tuple(connection.scalars(select(searches.c.name).order_by(searches.c.started_at.desc()).limit(10)))
    hint = f" There are {', '.join(known)}." if known else " Start one with: flyweight search --budget 5k --minutes 30"
    raise UsageError(f"no search {name!r} is on record.{nearest(name, known)}{hint}")


def _figures(connection: Connection, name: str) -> tuple[TrialFigures, ...]:
    columns = [trials.c[column] for column in FIGURES]
    rows = connection.execute(select(*columns).where(trials.c.search == name).order_by(trials.c.number))
    # Without `mappings`, which takes longer than the query for ten thousand rows.
    return tuple(TrialFigures(**_read(dict(zip(FIGURES, row, strict=True)))) for row in rows)


def _trial(connection: Connection, name: str, number: int) -> TrialRecord:
    columns = [trials.c[column] for column in (*FIGURES, "design")]
    query = select(*columns).where(trials.c.search == name, trials.c.number == number)
    return TrialRecord(**_read(connection.execute(query).mappings().one()))


def _read(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "accuracies": tuple(row["accuracies"])}


def _abandoned(connection: Connection, name: str) -> int | None:
    """The first trial that is running by the record, but whose process has gone, or whose lease on another machine
    has run out."""
    query = select(trials.c.number, trials.c.host, trials.c.pid, trials.c.process_started, trials.c.lease)
    query = query.where(trials.c.search == name, trials.c.status == "running").order_by(trials.c.number)
    here, clock = this_process(), _clock(connection)
    for number, host, pid, started, lease in connection.execute(query):
        owner = Process(host=host, pid=pid, started=started)
        if owner != here and (is_gone(owner) or (host != here.host and lease < clock)):
            return int(number)
    return None


def _is_owner(name: str, trial: TrialFigures) -> tuple[ColumnElement[bool], ...]:
    owner = [trials.c[column] == value for column, value in _owner(this_process()).items()]
    same = (trials.c.search == name, trials.c.number == trial.number, trials.c.attempt == trial.attempt)
    return (*same, trials.c.status == "running", *owner)


def _clock(connection: Connection) -> float:
    """Seconds by the clock of the database."""
    if connection.dialect.name == "postgresql":
        return float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)
    return float(connection.scalar(select(cast(func.strftime("%s", "now"), Double))) or 0.0)


def _owner(process: Process) -> dict[str, object]:
    return {"host": process.host, "pid": process.pid, "process_started": process.started}
