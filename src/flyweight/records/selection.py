"""Select a run: by id, the beginning of one, `@latest`, `@best` or `@best:mnist`.

And what to say of none or of several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, true

from flyweight.errors import UsageError, nearest
from flyweight.records.ids import LENGTH, SHORT_ID, normalised
from flyweight.records.record import PURPOSES, PurposeFilter, RunRecord
from flyweight.records.tables import runs, test_openings

SHORTCUTS = ("@latest", "@best")
MAX_QUOTED = 60
CANDIDATES = 5


def by_selector(connection: Connection, selector: str, say: Callable[[str], None]) -> RunRecord:
    """The run of a selector; UsageError, with candidates, if there is none or several.

    say: called with a sentence about the choice of `@best`.
    """
    return _by_shortcut(connection, selector, say) if selector.startswith("@") else _by_prefix(connection, selector)


def columns_of_runs() -> Select[Any]:
    """All columns of a run, and the number of openings of the test set."""
    opened = select(func.count()).where(test_openings.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
    return select(runs, opened.label("test_openings"))


def made_for(purpose: PurposeFilter) -> ColumnElement[bool]:
    """The condition that a run has this purpose, or one of these; "all" is no condition.

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


def _by_shortcut(connection: Connection, shortcut: str, say: Callable[[str], None]) -> RunRecord:
    name, colon, data = shortcut.partition(":")
    if name not in SHORTCUTS or (colon and (name != "@best" or not data)):
        raise UsageError(
            f"unknown shortcut {shortcut!r}; known: {', '.join(SHORTCUTS)} and @best:DATA, as in @best:mnist."
            f"{nearest(shortcut, SHORTCUTS)}"
        )
    if name == "@best":
        return _best(connection, data, say)
    found = fetch(connection, newest(columns_of_runs().where(made_for("run"))).limit(1))
    if not found:
        raise UsageError("@latest: there is no run yet; `flyweight train` makes one")
    return found[0]


def newest(query: Select[Any]) -> Select[Any]:
    return query.order_by(runs.c.id.desc())


def _best(connection: Connection, data: str, say: Callable[[str], None]) -> RunRecord:
    """The best finished run on an image set, by default that of the latest finished run.

    Splits may differ, so runs are ranked by the lower end of the interval of their validation accuracy: 40 of 40 is
    less than 4,950 of 5,000. Of equals the one with fewer parameters comes first, then the newer.
    """
    judged = func.coalesce(runs.c.recipe[("protocol", "evaluate_on")].as_string(), "validation").label("judged")
    columns = (runs.c.data_name, runs.c.data_hash, runs.c.validation_correct, runs.c.validation_count, runs.c.params)
    measured = (runs.c.status == "finished", runs.c.validation_count.is_not(None), made_for("run"))
    found = connection.execute(newest(select(runs.c.id, judged, *columns).where(*measured))).all()
    names = {row.data_name: Path(row.data_name).name or row.data_name for row in found}
    wanted = [row for row in found if not data or data in (row.data_name, names[row.data_name])]
    if not wanted:
        known = f" on {data}; there are runs on {', '.join(sorted({*names.values()}))}" if data and found else " yet"
        raise UsageError(
            f"@best: there is no finished run with a validation accuracy{known}; `flyweight train` makes one"
        )
    # Accuracies on validation, test and training images cannot be compared.
    same = [row for row in wanted if (row.data_hash, row.judged) == (wanted[0].data_hash, wanted[0].judged)]
    chosen = max(same, key=lambda row: (_lower(row.validation_correct, row.validation_count), -row.params, row.id))
    record = one(connection, chosen.id)
    name, images = names[chosen.data_name], "validation images" if chosen.judged == "validation" else "images judged on"
    others = sorted({*names.values()} - {name})
    say(
        f"{'@best' if not data else f'@best:{data}'}: run {record.id[:SHORT_ID]}, {record.name}, "
        f"{chosen.validation_correct / chosen.validation_count:.2%} of {chosen.validation_count:,} {images}; "
        f"the best of {len(same)} finished run{'' if len(same) == 1 else 's'} on {name}"
        + (
            f". For other images: {', '.join(f'@best:{other}' for other in others[:CANDIDATES])}"
            if others and not data
            else ""
        )
    )
    return record


def _lower(correct: int, count: int, z: float = 1.96) -> float:
    """The lower end of the 95 % Wilson interval."""
    share, more = correct / count, z * z / count
    return (share + more / 2 - z * math.sqrt(share * (1 - share) / count + more / count / 4)) / (1 + more)


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
    """The error for a selector without a run; lists the runs of a recipe of that name, else the latest."""
    named = fetch(connection, newest(columns_of_runs().where(runs.c.name == selector)).limit(CANDIDATES + 1))
    if named:
        return UsageError(f"{selector!r} is the name of a recipe, not of one run; its runs:{_listed(named)}")
    selector = selector if len(selector) <= MAX_QUOTED else f"{selector[:MAX_QUOTED]}..."
    latest = fetch(connection, newest(columns_of_runs().where(made_for("run"))).limit(CANDIDATES + 1))
    if not latest:
        return UsageError(f"no run {selector!r}: there are no runs yet; `flyweight train` makes one")
    return UsageError(f"no run {selector!r}; give an id, the beginning of one, @latest or @best:{_listed(latest)}")


def _listed(records: Sequence[RunRecord], length: int = SHORT_ID) -> str:
    """A line per run; length: shown characters of the id."""
    lines = [f"\n  {one.id[:length]}  {one.name}  seed {one.seed}  {one.status}" for one in records[:CANDIDATES]]
    return "".join(lines) + ("\n  ..." if len(records) > CANDIDATES else "")
