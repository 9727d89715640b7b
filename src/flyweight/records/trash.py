"""The trash: runs that a person removed, whole, until it is emptied. A removed run is in no list, and can come back.

`HOME/trash/RUN_ID` holds the folder of the run and `record.json`, the rows that it had in the database.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select

from flyweight.errors import DataError, UsageError
from flyweight.files import write_text
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.records.tables import UtcTime, epochs, runs, test_openings

# The tables of a run and the column of its id, in the order in which rows can be added.
ROWS: Final = ((runs, "id"), (epochs, "run_id"), (test_openings, "run_id"))


def remove(connection: Connection, run: RunRecord, home: Path) -> Path:
    """Move a run into the trash; gives its folder there.

    Raises:
        UsageError: a run that is under way.
    """
    if run.status == "running":
        raise UsageError(f"run {run.id[:SHORT_ID]} is running (process {run.pid} on {run.host}); stop it first.")
    rows = {table.name: _rows(connection, table, column, run.id) for table, column in ROWS}
    trashed, folder = home / "trash" / run.id, home / "runs" / run.id
    trashed.mkdir(parents=True, exist_ok=True)
    write_text(trashed / "record.json", json.dumps(rows, default=datetime.isoformat))
    for table, column in reversed(ROWS):
        connection.execute(delete(table).where(table.c[column] == run.id))
    if folder.is_dir():
        shutil.move(folder, trashed / "folder")
    return trashed


def restore(connection: Connection, selector: str, home: Path) -> str:
    """Put a run back by its id or the beginning of it; gives the id.

    Raises:
        UsageError: none or several in the trash begin like this. DataError: its record is damaged.
    """
    found = [path for path in removed(home) if path.name.startswith(selector.lower())]
    if len(found) != 1:
        known = ", ".join(path.name[:SHORT_ID] for path in removed(home)) or "nothing"
        raise UsageError(f"{len(found)} runs in the trash begin with {selector!r}; it holds {known}.")
    (trashed,) = found
    try:
        rows = json.loads((trashed / "record.json").read_text(encoding="utf-8"))
        for table, _ in ROWS:
            for row in rows[table.name]:
                connection.execute(insert(table).values(_times(table, row)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{trashed / 'record.json'} must hold the rows of a run, found something else.") from error
    if (trashed / "folder").is_dir():
        shutil.move(trashed / "folder", home / "runs" / trashed.name)
    shutil.rmtree(trashed)
    return trashed.name


def removed(home: Path) -> list[Path]:
    """The runs in the trash, oldest first."""
    return sorted((home / "trash").glob("*/")) if (home / "trash").is_dir() else []


def empty(home: Path) -> int:
    """Delete all that is in the trash, for good; gives how many runs it held."""
    n = len(removed(home))
    shutil.rmtree(home / "trash", ignore_errors=True)
    return n


def _rows(connection: Connection, table: Table, column: str, run_id: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(table.c[column] == run_id)).mappings()]


def _times(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A row of JSON with its times as such."""
    is_time = {column.name for column in table.columns if isinstance(column.type, UtcTime)}
    return {name: datetime.fromisoformat(value) if name in is_time and value else value for name, value in row.items()}
