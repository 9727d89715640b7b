"""What a reader of an imported log should know of how it was read: what was taken, passed over, and is a mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flyweight.errors import NotationError
from flyweight.model.notation import parse_net
from flyweight.reproductions.log_import import headers
from flyweight.reproductions.log_import.cells import says_nothing, shortened
from flyweight.reproductions.log_import.choice import Choice, fitting, one_line
from flyweight.reproductions.log_import.headers import FIGURES
from flyweight.reproductions.log_import.pipes import Grid
from flyweight.reproductions.log_import.table import Row

MAX_SINGLE_NOTES: Final = 3  # nets that are not in our notation; of more than so many one note tells
MAX_NUMBERS: Final = 8  # of rows in a note


def choices(choice: Choice, grids: Sequence[Grid]) -> Iterator[str]:
    """What was taken where there was a choice."""
    if len(grids) > 1:
        left_lines = [f"{grid.line}" for grid in grids if grid.line != choice.grid.line]
        those = "that of line" if len(left_lines) == 1 else "those of lines"
        yield (f"read the table of line {choice.grid.line}, one of {len(grids)}; not read: {those} {_and(left_lines)}")
    for role in FIGURES:
        others = [column for column in fitting(choice.grid, role) if column != choice.places.get(role)]
        if role in choice.places and others:
            left = ", ".join(repr(one_line(choice.grid.headers[column].text)) for column in others)
            yield f"{role} is that of {choice.header(role)!r}; left: {left}"
    if "accuracy" in choice.places and headers.part(choice.header("accuracy")) is None:
        part = choice.part
        yield (
            f"{choice.header('accuracy')!r} does not say of which images; taken to be the test images"
            if part is None
            else f"of the accuracies under {choice.header('accuracy')!r} those on the {part} images are taken"
        )


def other_nets(choice: Choice, rows: Sequence[Row], is_named: bool) -> Iterator[str]:
    """Which nets were passed over, where a reader expects them to be counted: as others are, or as the user said."""
    named = [row for row in rows if not says_nothing(row.net)]
    faults = {row.number: fault for row in named if (fault := _fault_of(row.net)) is not None}
    if not faults or (len(faults) == len(named) and not is_named):
        return
    header, nets = choice.header("net"), {row.number: row.net for row in named}
    if len(faults) > MAX_SINGLE_NOTES:
        first, fault = next(iter(faults.items()))
        yield (
            f"{_named_rows(list(faults))}, {header!r}: not in flyweight's notation (row {first}: {fault}); not counted"
        )
        return
    for number, fault in faults.items():
        net = shortened(nets[number])
        yield f"row {number}, {header!r}: {net!r} is not in flyweight's notation ({fault}); not counted"


def _fault_of(net: str) -> str | None:
    """What keeps a text from being a net in our notation, without the place and the hint."""
    try:
        parse_net(net)
    except NotationError as error:
        first, *_ = str(error).splitlines()
        return shortened(re.sub(r"^net, position [0-9]+: ", "", first).split(". ")[0].removesuffix("."))
    return None


def means(rows: Sequence[Row]) -> Iterator[str]:
    """Which accuracies are means, and what they can be compared with."""
    known = [row.number for row in rows if row.mean is not None and row.mean.n_seeds is not None]
    unknown = [row.number for row in rows if row.mean is not None and row.mean.n_seeds is None]
    if unknown:
        is_one = len(unknown) == 1
        yield (
            f"{_named_rows(unknown)} {'is a mean' if is_one else 'are means'} over seeds; how many is not given, so "
            f"{'it is' if is_one else 'they are'} not compared"
        )
    if known:
        yield (
            f"{_named_rows(known)} {'is a mean' if len(known) == 1 else 'are means'} over seeds, ± taken for their "
            "standard deviation; compared only with other means, by Welch's t test"
        )


def _named_rows(numbers: Sequence[int]) -> str:
    """Rows by their numbers: "row 2", "rows 1 and 2"; of very many how many more there are.

    >>> _named_rows([1, 2, 5])
    'rows 1, 2 and 5'
    """
    shown = [str(number) for number in numbers]
    if len(shown) > MAX_NUMBERS:
        shown[MAX_NUMBERS - 1 :] = [f"{len(shown) - MAX_NUMBERS + 1} more"]
    return f"row{'' if len(shown) == 1 else 's'} {_and(shown)}"


def _and(words: Sequence[str]) -> str:
    """Words as a list of them is written: "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
