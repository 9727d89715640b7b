"""Where words go: results on stdout, talk on stderr, in the form that was asked for."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flyweight.errors import UsageError
from flyweight.tables import as_csv, as_markdown, as_text, table_of

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


def print_rows(rows: Sequence[Mapping[str, Any]], form: Form, *, gap: int = 2, wraps: bool = False) -> None:
    """Rows that share their keys, as a table of text, Markdown or CSV, or as JSON.

    gap: blanks between columns of text. wraps: whether its last column runs on below itself.
    """
    if form.name == "json":
        say_json(rows)
    elif rows:
        table = table_of(rows, gap=gap, wraps=wraps)
        match form.name:
            case "md":
                say(as_markdown(table))
            case "csv":
                say(as_csv(table))
            case _:
                say(as_text(table, width=terminal_width() if wraps else None))


def terminal_width() -> int:
    """Columns that a text may fill: more than 100 are hard to read."""
    return min(100, max(80, get_terminal_size().columns))
