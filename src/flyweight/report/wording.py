"""Lines of a label and its text, and figures in words, for terminals and pages."""

from __future__ import annotations

from typing import Final

from flyweight.evidence.verdict import points
from flyweight.tables import WIDTH, plain, wrapped

INDENT: Final = 13


def hanging(label: str, text: str) -> str:
    """A label and its text beside it, wrapped at 80 columns; a longer word stays whole."""
    return margin(label) + f"\n{margin('')}".join(wrapped(text, WIDTH - INDENT))


def margin(label: str) -> str:
    return f"  {label}".ljust(INDENT)


def plain_lines(text: str) -> str:
    """The text without the same, its lines kept."""
    return "\n".join(map(plain, text.splitlines()))


def in_points(effect: float) -> str:
    """A difference of accuracies in percentage points, the number alone.

    >>> in_points(-0.0123)
    '-1.23'
    """
    return points(effect).removesuffix(" points")
