"""Tables as text for a terminal, as Markdown and as CSV.

In: columns, and rows of plain values. Out: text. Cells are escaped: they cannot contain control characters, markup or
spreadsheet formulas.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 80
MIN_WRAP: Final = 16  # minimum columns of a wrapped cell
WANTED_WRAP: Final = 24  # and with less than this, optional columns are left out

_NUMBER: Final = re.compile(r"[\d,.]*")
# Characters with a meaning in GitHub's Markdown; "$" starts a formula.
# The colon and the dot are those of addresses, which GitHub makes links of.
_MARKUP: Final = re.compile(r"[\\`*\[\]#|~$]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
# First characters of spreadsheet formulas (OWASP, CSV Injection), including full-width ones.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NO_FORMULA: Final = re.compile(r"[+-][\d.,]*(e[+-]?\d+)?")


class Markdown(str):
    """A cell that is Markdown; only bars are escaped. Other text is escaped completely."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column and its layout in a text table.

    is_number: aligned right. gap: spaces after it. min_width: cut to this width if the table is too wide; None: never.
    wanted: width that it keeps while optional columns are shown. is_optional: shown if there is room, from left to
    right. wraps: the last column is wrapped.
    """

    header: str
    is_number: bool = False
    gap: int = 2
    min_width: int | None = None
    wanted: int = 0
    is_optional: bool = False
    wraps: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, and rows with a cell for each column: text, a number, or None."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


def table_of(
    rows: Sequence[Mapping[str, Any]], *, gap: int = 2, wraps: bool = False, optional: Sequence[str] = ()
) -> Table:
    """Rows with equal keys as a table; columns of numbers are aligned right.

    wraps: whether the last column is wrapped. optional: headers of columns that are shown if there is room.
    """
    headers = list(rows[0]) if rows else []
    columns = [
        Column(
            header=header,
            is_number=all(_NUMBER.fullmatch(shown(row[header])) for row in rows),
            gap=gap,
            wraps=wraps and header == headers[-1],
            is_optional=header in optional,
        )
        for header in headers
    ]
    return Table(columns=tuple(columns), rows=tuple(tuple(row[header] for header in headers) for row in rows))


def as_text(table: Table, *, width: int | None = None, ellipsis: str = "…") -> str:
    """The table as aligned text; columns are cut, left out or wrapped to fit `width`.

    >>> print(as_text(table_of([{"net": "own/tiny", "params": 19378}, {"net": "wide", "params": 900}])))
    net       params
    own/tiny  19,378
    wide         900
    """
    lines = [[column.header for column in table.columns], *([plain(shown(cell)) for cell in row] for row in table.rows)]
    natural = [max(map(display_width, cells)) for cells in zip(*lines, strict=True)]
    chosen = _chosen(table.columns, natural, width)
    columns, widths = [table.columns[at] for at in chosen], [natural[at] for at in chosen]
    if width is not None:
        _narrow(columns, widths, width)
    laid_out = []
    for line in lines:
        cells = [cut(line[at], most, ellipsis) for at, most in zip(chosen, widths, strict=True)]
        if columns and columns[-1].wraps:
            cells[-1] = f"\n{' ' * _total(columns, [*widths[:-1], 0])}".join(wrapped(line[chosen[-1]], widths[-1]))
        laid_out.append(_joined(columns, cells, widths))
    return "\n".join(laid_out)


def as_markdown(table: Table) -> str:
    """A Markdown table with escaped cells; "" without columns."""
    if not table.columns:
        return ""
    rules = [Markdown("---:" if column.is_number else "---") for column in table.columns]
    lines: list[Sequence[object]] = [[column.header for column in table.columns], rules, *table.rows]
    return "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)


def as_csv(table: Table) -> str:
    """Comma-separated values; texts that a spreadsheet would compute get an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if table.columns:
        writer.writerow([column.header for column in table.columns])
    writer.writerows([without_formula(cell) for cell in row] for row in table.rows)
    return buffer.getvalue()


def shown(value: object) -> str:
    """The text of a cell: integers with commas, None as an empty text.

    >>> shown(19378), shown(None), shown(True)
    ('19,378', '', 'True')
    """
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def counted(n: int, word: str) -> str:
    """A number with a word in singular or plural.

    >>> counted(1, "fault"), counted(1200, "step")
    ('1 fault', '1,200 steps')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def without_formula(value: object) -> object:
    """The value; a text that looks like a spreadsheet formula gets an apostrophe in front.

    >>> without_formula("=1+1"), without_formula(-1)
    ("'=1+1", -1)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def in_markdown(text: str) -> str:
    """A text escaped for Markdown and its tables, in one line.

    >>> in_markdown("a|b <b>*c*")
    'a\\\\|b &lt;b&gt;\\\\*c\\\\*'
    """
    text = _MARKUP.sub(r"\\\g<0>", plain(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\\{text}" if text.startswith(_FORMULA) and not _NO_FORMULA.fullmatch(text) else text


def plain(text: str) -> str:
    """The text in one line, without control characters.

    >>> plain("two\\nlines, \\x1b[31mred")
    'two lines, �[31mred'
    """
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


# Control characters but the end of a line and the tabulator, marks of direction, other ends of lines, half characters.
_UNSEEN: Final = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def escaped(text: str) -> str:
    """The text with what would command a terminal, or change the order of what is read, as backslash escapes.

    >>> print(escaped("two\\nlines, \\x1b[31mred"))
    two
    lines, \\u001b[31mred
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def display_width(text: str) -> int:
    """Width in terminal columns: two for Chinese and Japanese characters, none for combining accents."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """The text with trailing spaces up to a width in terminal columns."""
    return text + " " * (width - display_width(text))


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """The text cut to a width, with … at the end if something is missing.

    >>> cut("lr 0.1 → 0.05", 9)
    'lr 0.1 →…'
    """
    if display_width(text) <= width:
        return text
    kept = text[:width]
    while kept and display_width(kept) + len(ellipsis) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}{ellipsis}"


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines, broken between words; longer words are not broken."""
    text = plain(text)
    if display_width(text) <= width:
        return [text]
    lines: list[list[str]] = [[]]
    used = -1
    for word in text.split(" "):
        if lines[-1] and used + 1 + display_width(word) > width:
            lines.append([])
            used = -1
        lines[-1].append(word)
        used += 1 + display_width(word)
    return [" ".join(line) for line in lines]


def _chosen(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> list[int]:
    """Indices of the shown columns: optional ones only if the others keep their wanted width."""
    if width is None:
        return list(range(len(columns)))
    min_widths = [
        min(most, WANTED_WRAP)
        if column.wraps
        else most
        if column.min_width is None
        else min(most, max(column.wanted, column.min_width))
        for column, most in zip(columns, natural, strict=True)
    ]
    chosen = [at for at, column in enumerate(columns) if not column.is_optional]
    for at, column in enumerate(columns):
        wider = sorted([*chosen, at])
        if column.is_optional and _total([columns[one] for one in wider], [min_widths[one] for one in wider]) <= width:
            chosen = wider
    return chosen


def _narrow(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Make columns that may be cut or wrapped narrower, from the last, until the table fits."""
    for at in reversed(range(len(columns))):
        floor = MIN_WRAP if columns[at].wraps else columns[at].min_width
        excess = _total(columns, widths) - width
        if floor is not None and excess > 0:
            widths[at] = max(widths[at] - excess, min(floor, widths[at]))


def _total(columns: Sequence[Column], widths: Sequence[int]) -> int:
    return sum(widths) + sum(column.gap for column in columns[:-1])


def _joined(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    line = ""
    for column, cell, width in zip(columns, cells, widths, strict=True):
        blanks = "" if column.wraps else " " * (width - display_width(cell))
        line += (blanks + cell if column.is_number else cell + blanks) + " " * column.gap
    return line.rstrip()


def _markdown_cell(value: object) -> str:
    """The cell escaped; in Markdown cells only bars are."""
    return " ".join(value.split()).replace("|", "\\|") if isinstance(value, Markdown) else in_markdown(shown(value))
