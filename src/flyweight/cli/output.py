"""Printing: results on stdout, messages on stderr, in the requested format."""

from __future__ import annotations

import json
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from flyweight.errors import MissingError, UsageError, without_passwords
from flyweight.tables import as_csv, as_markdown, as_text, escaped, table_of

FormatName = Literal["text", "json", "md", "csv"]

COMMAND: Final = re.compile(r"`[^`\n]+`|(?<=: )flyweight .*")
HARD_SPACE: Final = "\N{NO-BREAK SPACE}"

Flag = Parameter(negative="", show_default=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputFormat:
    """How the result is printed. Default: text."""

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
            raise UsageError(f"only one output format is possible, found --{' and --'.join(chosen)}; keep one of them.")
        return chosen[0] if chosen else "text"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StoreLocation:
    """Where runs are stored."""

    home: Path | None = None
    "Folder of runs and their database. Default: $FLYWEIGHT_HOME, or else the user data folder of this system."
    database: str | None = None
    "Another database: postgresql://... or sqlite:///FILE. Default: $FLYWEIGHT_DATABASE, or else the one in --home."

    def store(self, *, only_reads: bool = False) -> Any:
        """The store; only_reads: a home that cannot be written is opened, too."""
        from flyweight.records.store import Store

        return Store.open(self.database, home=self.home, only_reads=only_reads, say=talk)

    def options(self) -> str:
        """The same options as text, to add to a suggested command."""
        given = {"--home": self.home, "--database": self.database}
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)


def talk(text: str) -> None:
    """Print a message on stderr; on a terminal, long lines are broken between words, but not inside commands."""
    text = _safe(text)
    if sys.stderr.isatty():
        text = wrapped(text, get_terminal_size().columns)
    print(text, file=sys.stderr, flush=True)


def _safe(text: str) -> str:
    """Text for a terminal, whoever wrote it; in JSON, the escapes mean what they stand for."""
    return without_passwords(escaped(text))


def wrapped(text: str, width: int) -> str:
    """Each line of a text broken between words, with later lines indented by 2; commands stay whole to be copied.

    >>> print(wrapped("no runs yet; start one with: flyweight train own/8k", 30))
    no runs yet; start one with:
      flyweight train own/8k
    """
    lines = COMMAND.sub(lambda found: found[0].replace(" ", HARD_SPACE), text).split("\n")
    indents = [" " * (2 + len(line) - len(line.lstrip(" "))) for line in lines]
    broken = [
        # A net and the line under it that points at a position stay as they are.
        line if set("".join(lines[number : number + 2])[-1:]) == {"^"} else _filled(line, width, indent)
        for number, (line, indent) in enumerate(zip(lines, indents, strict=True))
    ]
    return "\n".join(broken).replace(HARD_SPACE, " ")


def _filled(line: str, width: int, indent: str) -> str:
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def say(text: str) -> None:
    """Print a result on stdout."""
    print(_safe(text).rstrip("\n"))


def say_json(value: object) -> None:
    """Print a result as strict JSON; NaN and infinity become null."""
    print(_safe(json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False)))


def _strict(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def page_or_reason(write: Callable[[], Path]) -> Path | None:
    """The page that `write` writes; where the folder cannot be written, None, and the reason is printed."""
    try:
        return write()
    except (OSError, MissingError) as error:
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        talk(f"the page was not written: {reason}")
        return None


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    output: OutputFormat,
    *,
    gap: int = 2,
    wraps: bool = False,
    optional: Sequence[str] = (),
) -> None:
    """Print rows with equal keys as a text, Markdown or CSV table, or as JSON.

    gap: spaces between the columns of a text table. wraps: whether its last column is wrapped. optional: columns that
    are left out where there is no room for them.
    """
    if output.name == "json":
        say_json(rows)
    elif rows:
        table = table_of(rows, gap=gap, wraps=wraps, optional=optional)
        match output.name:
            case "md":
                say(as_markdown(table))
            case "csv":
                say(as_csv(table))
            case _:
                say(as_text(table, width=terminal_width() if wraps else None))


def terminal_width() -> int:
    """Width of the terminal, from 60 to 100 columns: longer lines are hard to read."""
    return min(100, max(60, get_terminal_size().columns))
