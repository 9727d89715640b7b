"""Text for terminals and pages: wrapped, aligned, and without what could do more than be read."""

from __future__ import annotations

import unicodedata
from typing import Final

from flyweight.evidence.verdict import points

WIDTH: Final = 80
INDENT: Final = 13


def hanging(label: str, text: str) -> str:
    """A label and its text beside it, wrapped at 80 columns; a longer word stays whole."""
    return margin(label) + f"\n{margin('')}".join(_wrapped(text, WIDTH - INDENT))


def margin(label: str) -> str:
    return f"  {label}".ljust(INDENT)


def _wrapped(text: str, width: int) -> list[str]:
    text = plain(text)
    if columns(text) <= width:
        return [text]
    lines: list[list[str]] = [[]]
    used = -1
    for word in text.split(" "):
        if lines[-1] and used + 1 + columns(word) > width:
            lines.append([])
            used = -1
        lines[-1].append(word)
        used += 1 + columns(word)
    return [" ".join(line) for line in lines]


def plain(text: str) -> str:
    """The text in one line, without what could move a terminal's cursor or turn the direction of reading.

    >>> plain("two\\nlines, \\x1b[31mred")
    'two lines, �[31mred'
    """
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def plain_lines(text: str) -> str:
    """The text without the same, its lines kept."""
    return "\n".join(map(plain, text.splitlines()))


def columns(text: str) -> int:
    """How wide a terminal shows it: Chinese and Japanese characters fill two columns, accents none."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def padded(text: str, width: int) -> str:
    """Blanks after a text up to a width in columns."""
    return text + " " * (width - columns(text))


def in_points(effect: float) -> str:
    """A difference of accuracies in percentage points, the number alone.

    >>> in_points(-0.0123)
    '-1.23'
    """
    return points(effect).removesuffix(" points")
