"""Lines of a label and its text, and figures in words, for terminals and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from shutil import get_terminal_size
from typing import Final, TypeVar

from flyweight.evidence.verdict import points
from flyweight.tables import WIDTH, plain, wrapped

INDENT: Final = 13
MIN_WIDTH: Final = 60

T = TypeVar("T")


def hanging(label: str, text: str) -> str:
    """A label and its text beside it, wrapped at 80 columns or a narrower terminal's; a longer word stays whole."""
    return margin(label) + f"\n{margin('')}".join(wrapped(text, text_width() - INDENT))


def text_width() -> int:
    """The columns of a text: 80, on a narrower terminal its own, at least 60."""
    return min(WIDTH, max(MIN_WIDTH, get_terminal_size().columns))


def margin(label: str) -> str:
    return f"  {label}".ljust(INDENT)


def plain_lines(text: str) -> str:
    """The text without the same, its lines kept."""
    return "\n".join(map(plain, text.splitlines()))


def stretches(items: Iterable[T], place: Callable[[T], int]) -> list[list[T]]:
    """Items whose places follow each other, together.

    >>> stretches([0, 2, 3, 4], int)
    [[0], [2, 3, 4]]
    """
    numbered = groupby(enumerate(items), lambda pair: place(pair[1]) - pair[0])
    return [[item for _, item in stretch] for _, stretch in numbered]


def by_their_ends(names: Iterable[str], place: Callable[[str], int]) -> str:
    """Names in their order; three or more whose places follow each other by their ends.

    >>> by_their_ends("acdeg", ord)
    'a, c to e, g'
    """
    found = stretches(names, place)
    return ", ".join(f"{one[0]} to {one[-1]}" if len(one) > 2 else ", ".join(one) for one in found)


def in_points(effect: float) -> str:
    """A difference of accuracies in percentage points, the number alone.

    >>> in_points(-0.0123)
    '-1.23'
    """
    return points(effect).removesuffix(" points")
