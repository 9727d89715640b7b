"""Markdown text as its pipe tables (GitHub flavoured): rows of plain cells, each with its line. What they say is not
known here.

A line that follows a row belongs to the table until a line is blank or begins another block, as GitHub shows it; so a
row that was broken in two is found as two rows of too few cells, and is not lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# What ends a table on GitHub; a cell may begin like that, as "> 95 | 22,186" does.
_OTHER_BLOCK: Final = re.compile(r"[-*+>] |[0-9]{1,9}[.)] ")
# What Markdown leaves as text: notes, links without their address, formulas.
_REST: Final = (
    (re.compile(r"\[\^[^\]]*\]"), ""),
    (re.compile(r"\[([^\[\]]*)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"\$(?=\S)([^$]+)\$"), r"\1"),
)
_NO_MARKUP: Final = re.compile(r" *[A-Za-z0-9.,%]+(?: +[A-Za-z0-9.,%]+)* *")  # no bullet, no mark of Markdown
CELLS_KEPT: Final = 100_000
_BULLET: Final = re.compile(r"^[-*•] +(?=[^\W\d])")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Plain text, a line of it for each line of the cell, and the line of the file (from 1) where it stands."""

    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A pipe table. The rows may have other numbers of cells than there are headers."""

    headers: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_transposed: bool = False

    @property
    def line(self) -> int:
        return self.headers[0].line

    @property
    def is_even(self) -> bool:
        """Whether all rows have as many cells as there are headers."""
        return all(len(row) == len(self.headers) for row in self.rows)

    def column(self, place: int) -> tuple[Cell, ...]:
        """The cells under a header, of the rows that have it."""
        return tuple(row[place] for row in self.rows if place < len(row))

    def transposed(self) -> Grid:
        """Columns for rows; only for one whose rows are as long as its headers."""
        headers, *rows = zip(self.headers, *self.rows, strict=True)
        return Grid(headers=headers, rows=tuple(rows), is_transposed=not self.is_transposed)


def pipe_tables(text: str) -> tuple[Grid, ...]:
    """All tables of a Markdown text, in order; those in code and in comments are none.

    >>> [grid] = pipe_tables("Exp | Params\\n--- | ---:\\n**1** | `22,186` ✅")
    >>> [cell.text for cell in (*grid.headers, *grid.rows[0])]
    ['Exp', 'Params', '1', '22,186']
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return tuple(
        _grid(lines, *token.map)
        for token in _blocks().parse(text)
        if token.type == "table_open" and token.level == 0 and token.map
    )


@lru_cache(maxsize=CELLS_KEPT)
def plain(markup: str) -> str:
    """What a reader sees of a cell, as text: without marks, pictures, notes and emoji; <br> ends a line.

    >>> plain("**99.4** %&nbsp;✅<br>[log](https://example.org) c8 +(c8 \\\\| c8/1)")
    '99.4 %\\nlog c8 +(c8 | c8/1)'
    """
    if _NO_MARKUP.fullmatch(markup):
        return " ".join(markup.split())
    [inline] = _markdown().parseInline(markup.replace("\n", " "))
    text = _text(inline.children or ())
    for pattern, kept in _REST:
        text = pattern.sub(kept, text)
    shown = "".join(character for character in text if not _is_picture(character))
    lines = (_BULLET.sub("", " ".join(line.split())) for line in shown.split("\n"))
    return "\n".join(line for line in lines if line)


@cache
def _markdown() -> MarkdownIt:
    """Quotes and lists are off: rows that begin like them would be lost."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable(["blockquote", "list"])


@cache
def _blocks() -> MarkdownIt:
    """To find tables only: what is in their cells is not read."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table"]).disable(["blockquote", "list", "inline"])


def _grid(lines: Sequence[str], start: int, end: int) -> Grid:
    rows: list[tuple[Cell, ...]] = []
    for number in range(start + 2, end):
        cells = _cells(lines[number], number + 1)
        if len(cells) == 1 and _OTHER_BLOCK.match(lines[number].strip()):
            break
        rows.append(cells)
    return Grid(headers=_cells(lines[start], start + 1), rows=tuple(rows))


def _cells(line: str, number: int) -> tuple[Cell, ...]:
    """The cells of a row, more or fewer than there are headers; the pipes around it may be left out."""
    from markdown_it.rules_block.table import escapedSplit

    written = escapedSplit(line.strip())
    first, last = written[0] == "", len(written) > 1 and written[-1] == ""
    return tuple(Cell(text=plain(cell), line=number) for cell in written[first : len(written) - last])


def _text(tokens: Sequence[Token]) -> str:
    """The words of a cell; what is struck out or raised above the line is none of them."""
    words, hidden = [], 0
    for token in tokens:
        if token.type in ("s_open", "s_close") or re.match(r"</?sup\b", token.content, re.IGNORECASE):
            hidden += -1 if token.type == "s_close" or token.content.startswith("</") else 1
        elif token.type == "html_inline" and re.match(r"<br\b", token.content, re.IGNORECASE):
            words.append("\n")
        elif hidden <= 0 and token.type in ("text", "text_special", "code_inline"):
            words.append(token.content)
    return "".join(words)


def _is_picture(character: str) -> bool:
    """Emoji and other symbols, with what joins, colours or encloses them."""
    return unicodedata.category(character) in ("So", "Sk", "Cf", "Co", "Cn", "Cs") or character in "\ufe0e\ufe0f\u20e3"
