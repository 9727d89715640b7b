"""Which run is meant: an id, the beginning of one, `@latest` or `@best`; and what to say of none or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, Select, cast, func, select, true

from flyweight.errors import UsageError, nearest
from flyweight.records.ids import LENGTH, SHORT_ID, normalised
from flyweight.records.record import PURPOSES, PurposeFilter, RunRecord
from flyweight.records.tables import runs, test_openings

SHORTCUTS = ("@latest", "@best")
CANDIDATES = 5


def by_selector(connection: Connection, selector: str) -> RunRecord:
    """The one run that is meant; anything else is a UsageError that lists what could have been."""
    return _by_shortcut(connection, selector) if selector.startswith("@") else _by_prefix(connection, selector)


def columns_of_runs() -> Select[Any]:
    """All columns of a run, and how often its test set was opened."""
    opened = select(func.count()).where(test_openings.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
    return select(runs, opened.label("test_openings"))


def made_for(purpose: PurposeFilter) -> ColumnElement[bool]:
    """The condition that a run was made for this purpose, or for one of these; "all" is no condition.

    Raises:
        UsageError: no such purpose.
    """
    if purpose == "all":
        return true()
    wanted = (purpose,) if isinstance(purpose, str) else purpose
    for one_of_them in wanted:
        if one_of_them not in PURPOSES:
            raise UsageError(
                f"unknown purpose {one_of_them!r}; known: all, {', '.join(PURPOSES)}."
                f"{nearest(one_of_them, ('all', *PURPOSES))}"
            )
    return runs.c.purpose.in_(wanted)


def fetch(connection: Connection, query: Select[Any]) -> tuple[RunRecord, ...]:
    return tuple(RunRecord(**row) for row in connection.execute(query).mappings())


def one(connection: Connection, run_id: str, *, lock: bool = False) -> RunRecord:
    query = columns_of_runs().where(runs.c.id == run_id)
    found = fetch(connection, query.with_for_update(of=runs) if lock else query)
    if not found:
        raise unknown(connection, run_id)
    return found[0]


def _by_shortcut(connection: Connection, shortcut: str) -> RunRecord:
    if shortcut not in SHORTCUTS:
        raise UsageError(
            f"no shortcut {shortcut!r}; there are {' and '.join(SHORTCUTS)}.{nearest(shortcut, SHORTCUTS)}"
        )
    query = columns_of_runs().where(made_for("run"))
    query = newest(query) if shortcut == "@latest" else _best(query)
    found = fetch(connection, query.limit(1))
    if not found:
        kind = "run" if shortcut == "@latest" else "finished run with a validation accuracy"
        raise UsageError(f"{shortcut}: there is no {kind} yet; `flyweight train` makes one")
    return found[0]


def newest(query: Select[Any]) -> Select[Any]:
    return query.order_by(runs.c.id.desc())


def _best(query: Select[Any]) -> Select[Any]:
    """By validation accuracy, among finished runs that were validated on the same images as the latest of them."""
    latest = select(runs.c.data_hash, runs.c.split_hash).where(
        runs.c.status == "finished", runs.c.validation_count.is_not(None), made_for("run")
    )
    latest = latest.order_by(runs.c.id.desc()).limit(1)
    same = latest.subquery()
    query = query.join(same, (runs.c.data_hash == same.c.data_hash) & (runs.c.split_hash == same.c.split_hash))
    accuracy = cast(runs.c.validation_correct, Double) / runs.c.validation_count
    measured = query.where(runs.c.status == "finished", runs.c.validation_count.is_not(None))
    return measured.order_by(accuracy.desc(), runs.c.params, runs.c.id.desc())


def _by_prefix(connection: Connection, selector: str) -> RunRecord:
    prefix = normalised(selector)
    matching = columns_of_runs().where(runs.c.id.startswith(prefix, autoescape=True))
    found = fetch(connection, newest(matching).limit(CANDIDATES + 1)) if prefix else ()
    if len(found) == 1:
        return found[0]
    if not found:
        raise unknown(connection, selector)
    length = LENGTH if len(prefix) >= SHORT_ID else SHORT_ID
    raise UsageError(f"{selector!r} is the beginning of several runs:{_listed(found, length)}")


def unknown(connection: Connection, selector: str) -> UsageError:
    """What to say of a selector that names no run: those of that name if it is one, else the latest."""
    named = fetch(connection, newest(columns_of_runs().where(runs.c.name == selector)).limit(CANDIDATES + 1))
    if named:
        return UsageError(f"{selector!r} is the name of a recipe, not of one run; its runs:{_listed(named)}")
    latest = fetch(connection, newest(columns_of_runs().where(made_for("run"))).limit(CANDIDATES + 1))
    if not latest:
        return UsageError(f"no run {selector!r}: there are no runs yet; `flyweight train` makes one")
    return UsageError(f"no run {selector!r}; give an id, the beginning of one, @latest or @best:{_listed(latest)}")


def _listed(records: Sequence[RunRecord], length: int = SHORT_ID) -> str:
    """A line per run, with so many characters of its id."""
    lines = [f"\n  {one.id[:length]}  {one.name}  seed {one.seed}  {one.status}" for one in records[:CANDIDATES]]
    return "".join(lines) + ("\n  ..." if len(records) > CANDIDATES else "")
