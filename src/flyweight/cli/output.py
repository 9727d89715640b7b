"""Where words go: results on stdout, talk on stderr, in the form that was asked for."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flyweight.errors import UsageError

FormatName = Literal["text", "json", "md", "csv"]

Flag = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """How the result is printed; text unless told otherwise."""

    json: Annotated[bool, Flag] = False
    "Print JSON."
    md: Annotated[bool, Flag] = False
    "Print Markdown."
    csv: Annotated[bool, Flag] = False
    "Print CSV."

    @property
    def name(self) -> FormatName:
        chosen: list[FormatName] = [name for name in ("json", "md", "csv") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"one format must be chosen, found --{' and --'.join(chosen)}; leave all but one out.")
        return chosen[0] if chosen else "text"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs are kept."""

    home: Path | None = None
    "Folder of runs and database. Default: FLYWEIGHT_HOME, else the platform's place for a user's data."
    database: str | None = None
    "Address of another database, postgresql://... or sqlite:///FILE. Default: FLYWEIGHT_DATABASE, else in the home."

    def store(self) -> Any:
        from flyweight.records.store import Store

        return Store.open(self.database, home=self.home)

    def options(self) -> str:
        """What must be added to a command that is to look in the same place."""
        given = {"--home": self.home, "--database": self.database}
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)


def talk(text: str) -> None:
    """Say something that is not a result."""
    print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a result."""
    print(text.rstrip("\n"))


def say_json(value: object) -> None:
    """Print a result for a program: strict JSON, so a figure that is no number is null."""
    print(json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False))


def _strict(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def print_rows(rows: Sequence[Mapping[str, Any]], form: Form, *, gap: int = 2) -> None:
    """Rows that share their keys, as a table of text (`gap` blanks between columns), Markdown or CSV, or as JSON."""
    if not rows and form.name != "json":
        return
    match form.name:
        case "json":
            say_json(rows)
        case "md":
            say(markdown_table(rows))
        case "csv":
            say(csv_table(rows))
        case _:
            say(text_table(rows, gap=gap))


def text_table(rows: Sequence[Mapping[str, Any]], *, gap: int = 2) -> str:
    """Columns side by side, numbers to the right; the last column may run on."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [all(re.fullmatch(r"[\d,.]*", cell) for cell in column[1:]) for column in columns]
    lines = [
        (cell.rjust(width) if right else cell.ljust(width))
        for line in cells
        for cell, width, right in zip(line, widths, is_number, strict=True)
    ]
    n = len(widths)
    return "\n".join((" " * gap).join(lines[start : start + n]).rstrip() for start in range(0, len(lines), n))


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table that renders the same whatever stands in its cells."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Values as they are; a text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    from flyweight.trackers.run_table import disarmed

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow([disarmed(value) for value in row.values()])
    return buffer.getvalue()


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
