"""Markdown text as its pipe tables (GitHub flavoured): rows of plain cells, each with its line. What they say is not
known here.

A line that follows a row belongs to the table until a line is blank or begins another block, as GitHub shows it; so a
row that was broken in two is found as two rows of too few cells, and is not lost.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_DASHES = re.compile(r"\s*:?-+:?\s*")
_PIPE = re.compile(r"(?<!\\)\|")
# What ends a table other than a blank line: a heading, a quote, a fence, a rule, HTML, a list.
_OTHER_BLOCK = re.compile(r" {0,3}(?:#{1,6}\s|>|`{3,}|~{3,}|(?:[-*_] *){3,}$|</?[A-Za-z]|[-*+] |[0-9]{1,9}[.)] )")

# In this order: what is taken away whole (notes, pictures, struck words), then marks around words that stay.
_MARKUP = (
    (re.compile(r"<br\s*/?>", re.IGNORECASE), "\n"),
    (re.compile(r"<sup>[^<]*</sup>|\[\^[^\]]*\]|!\[[^\]]*\]\([^)]*\)|~~[^~]*~~", re.IGNORECASE), ""),
    (re.compile(r"\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*\)"), r"\1"),
    (re.compile(r"\[([^\[\]]*)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"`+"), ""),
    (re.compile(r"(?<!\\)\*{1,3}(?=\S)([^*]+?)\*{1,3}"), r"\1"),
    (re.compile(r"(?<![\w\\])_{1,3}(?=\S)([^_]+?)_{1,3}(?!\w)"), r"\1"),
    (re.compile(r"\$(?=\S)([^$]+)\$"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
_BULLET = re.compile(r"^[-*•] +(?=[^\W\d])")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Plain text, a line of it for each line of the cell, and the line of the file (from 1) where it stands."""

    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A pipe table. The rows may have other numbers of cells than the head has."""

    heads: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_transposed: bool = False

    @property
    def line(self) -> int:
        return self.heads[0].line

    @property
    def is_even(self) -> bool:
        """Whether all rows have as many cells as the head."""
        return all(len(row) == len(self.heads) for row in self.rows)

    def column(self, place: int) -> tuple[Cell, ...]:
        """The cells under a head, of the rows that have it."""
        return tuple(row[place] for row in self.rows if place < len(row))

    def transposed(self) -> Grid:
        """Columns for rows; only for one whose rows are as long as its head."""
        heads, *rows = zip(self.heads, *self.rows, strict=True)
        return Grid(heads=heads, rows=tuple(rows), is_transposed=not self.is_transposed)


def pipe_tables(text: str) -> tuple[Grid, ...]:
    """All tables of a Markdown text, in order; those in code and in comments are none.

    >>> [grid] = pipe_tables("Exp | Params\\n--- | ---:\\n**1** | `22,186` ✅")
    >>> [cell.text for cell in (*grid.heads, *grid.rows[0])]
    ['Exp', 'Params', '1', '22,186']
    """
    lines = _readable_lines(text)
    grids, at = [], 0
    while at < len(lines) - 1:
        grid = _table_at(lines, at)
        if grid is None:
            at += 1
        else:
            grids.append(grid)
            at += 2 + len(grid.rows)
    return tuple(grids)


def plain(markup: str) -> str:
    """What a reader sees of a cell, as text: without marks, pictures, notes and emoji; <br> ends a line.

    >>> plain("**99.4** %&nbsp;✅<br>[log](https://example.org) c8 +(c8 \\\\| c8/1)")
    '99.4 %\\nlog c8 +(c8 | c8/1)'
    """
    for pattern, kept in _MARKUP:
        markup = pattern.sub(kept, markup)
    shown = "".join(character for character in html.unescape(markup) if not _is_picture(character))
    lines = (_BULLET.sub("", " ".join(line.split())) for line in shown.split("\n"))
    return "\n".join(line for line in lines if line)


def _is_picture(character: str) -> bool:
    """Emoji and other symbols, with what joins, colours or encloses them."""
    return unicodedata.category(character) in ("So", "Sk", "Cf", "Co", "Cn", "Cs") or character in "\ufe0e\ufe0f\u20e3"


def _readable_lines(text: str) -> list[str]:
    """The lines of a text, blank where code or a comment stands, so that the others keep their numbers."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    lines, fence = [], ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            lines.append("")
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        else:
            fence = found[1] if found else ""
            lines.append("" if fence else line)
    return lines


def _table_at(lines: list[str], at: int) -> Grid | None:
    """The table whose head is this line: a line of dashes with as many cells follows it."""
    dashes = _split(lines[at + 1])
    if "|" not in lines[at] or not all(_DASHES.fullmatch(cell) for cell in dashes):
        return None
    if len(_split(lines[at])) != len(dashes):
        return None
    rows = []
    for place in range(at + 2, len(lines)):
        line = lines[place]
        # GitHub ends a table at "> 95 | 22,186", too; taking that for a row loses none.
        if not line.strip() or (_OTHER_BLOCK.match(line) and not _PIPE.search(line)):
            break
        rows.append(_cells(line, place + 1))
    return Grid(heads=_cells(lines[at], at + 1), rows=tuple(rows))


def _split(line: str) -> list[str]:
    """The cells of a row as they were written; the pipes around the row may be left out."""
    row = line.strip().removeprefix("|")
    if row.endswith("|") and not row.endswith("\\|"):
        row = row[:-1]
    return [cell.replace("\\|", "|") for cell in _PIPE.split(row)]


def _cells(line: str, number: int) -> tuple[Cell, ...]:
    return tuple(Cell(text=plain(cell), line=number) for cell in _split(line))
