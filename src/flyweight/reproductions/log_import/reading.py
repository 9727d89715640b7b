"""Somebody else's experiment log, a Markdown table, as claims to judge.

Goes in: the text, and which column is what where the user says it. Comes out: a frozen `Table`, or one error with all
that is wrong with it, by row and column. What the claims are worth is not known here: `doubts` says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from flyweight.errors import DataError, UsageError, nearest
from flyweight.records.results import Split
from flyweight.reproductions.document import Claim
from flyweight.reproductions.log_import import headers
from flyweight.reproductions.log_import.cells import (
    Accuracy,
    Count,
    Spread,
    epoch_of,
    is_limit,
    named_count,
    read_accuracy,
    read_count,
    says_nothing,
    says_outcome,
    seeds_of,
    starts_like_figure,
)
from flyweight.reproductions.log_import.choice import Choice, by_part, choose, one_line
from flyweight.reproductions.log_import.headers import FIGURES, ROLES, Role
from flyweight.reproductions.log_import.pipes import Cell, Grid, pipe_tables
from flyweight.reproductions.log_import.reading_notes import choices, means, other_nets
from flyweight.reproductions.log_import.table import Mean, Row, Table
from flyweight.tables import counted

NumberedRow = tuple[int, tuple[Cell, ...]]


@dataclass
class _Faults:
    """Collects what is wrong, each with its place, until all of it is said at once."""

    label: str
    grid: Grid | None = None
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, reason: str, number: int | None = None, line: int | None = None, column: str | None = None) -> None:
        word = "column" if self.grid is not None and self.grid.is_transposed else "row"
        place = "" if number is None else f"{word} {number} (line {line})"
        place += "" if column is None else f", {column!r}"
        self.found.append((number or 0, f"{place}: {reason}" if place else reason))

    def raise_any(self) -> None:
        faults = [fault for _, fault in sorted(self.found, key=lambda found: found[0])]
        if len(faults) == 1:
            raise DataError(f"{self.label}: {faults[0]}.")
        if faults:
            lines = "".join(f"\n  {fault}." for fault in faults)
            raise DataError(f"{self.label}: {len(self.found)} faults, and nothing was imported.{lines}")


def read_table(text: str, *, label: str, columns: Mapping[str, str] | None = None) -> Table:
    """The experiment log in a Markdown text: of its tables the first with parameters and accuracy, else with either.

    A table that has the experiments as columns is turned where its first column names figures.

    Args:
        label: what messages and the table call the text, such as its path.
        columns: headers by role ("parameters", "accuracy", "change", "net", "step"), where guessing would go wrong.

    >>> table = read_table("| Exp | Params | Test acc |\\n|--|--|--|\\n| 1 | 22,186 | 99.17% |", label="log.md")
    >>> table.rows[0].parameters.reported, table.rows[0].accuracy.reported
    ('22186', '99.17 %')

    Raises:
        DataError: no such table, or one with faults: all of them, by row and column.
        UsageError: a role or a header that is not there.
    """
    named = dict(columns or {})
    _check_roles(named)
    grids = pipe_tables(text)
    if not grids:
        raise DataError(
            f"{label}: must have a Markdown table (a header, a line of | --- | with as many cells, rows), found none."
        )
    choice = choose(grids, named, label)
    faults = _Faults(label, choice.grid)
    _find_uneven(choice.grid, faults)
    rows, notes = _rows(choice, faults)
    faults.raise_any()
    return Table(
        label=label,
        line=choice.grid.line,
        columns={role: choice.header(role) for role in ROLES if role in choice.places},
        rows=rows,
        notes=(*choices(choice, grids), *notes, *other_nets(choice, rows, "net" in named), *means(rows)),
        is_transposed=choice.grid.is_transposed,
    )


def _check_roles(named: Mapping[str, str]) -> None:
    for role in named:
        if role not in ROLES:
            raise UsageError(
                f"a column must be named as one of {', '.join(ROLES)}, found {role!r}.{nearest(role, ROLES)}"
            )


def _find_uneven(grid: Grid, faults: _Faults) -> None:
    if not grid.rows:
        faults.add(f"the table of line {grid.line} must have rows, found none")
    n = len(grid.headers)
    for number, row in enumerate(grid.rows, start=1):
        if len(row) != n:
            hint = "; end the table with a blank line, if this is no row" if len(row) == 1 else ""
            needed, found = counted(n, "cell"), counted(len(row), "cell")
            faults.add(f"must have {needed}, one for each header, found {found}{hint}", number, row[0].line)


def _rows(choice: Choice, faults: _Faults) -> tuple[tuple[Row, ...], list[str]]:
    """The rows of an even width, what is wrong with their cells being collected; and what was left out on purpose."""
    grid, notes = choice.grid, list[str]()
    even = [(number, row) for number, row in enumerate(grid.rows, start=1) if len(row) == len(grid.headers)]
    counts = dict(_counts(choice, even, faults, notes))
    accuracies = dict(_accuracies(choice, even, faults, notes))
    rows = []
    for number, row in even:
        texts = {role: row[choice.places[role]].text for role in ROLES if role in choice.places}
        line, count = row[0].line, counts.get(number)
        accuracy, mean = accuracies.get(number, (None, None))
        _find_empty(choice, texts, number, line, faults)
        rows.append(
            Row(
                number=number,
                line=line,
                step=one_line(texts.get("step", "")) or str(number),
                change=one_line(texts.get("change", "")),
                net=" ".join(texts.get("net", "").split()),
                parameters=None if count is None else Claim(what="parameters", reported=count.reported, mark="stated"),
                within=1 if count is None else count.within,
                accuracy=accuracy,
                mean=mean,
            )
        )
    return tuple(rows), notes


def _find_empty(choice: Choice, texts: Mapping[Role, str], number: int, line: int, faults: _Faults) -> None:
    """A row with neither figure claims nothing."""
    roles = [role for role in FIGURES if role in choice.places]
    if all(says_nothing(texts[role]) for role in roles):
        names = " and ".join(repr(choice.header(role)) for role in roles)
        faults.add(f"a claim needs a figure, found none under {names}; leave the row out", number, line)


def _counts(
    choice: Choice, rows: Sequence[NumberedRow], faults: _Faults, notes: list[str]
) -> Iterator[tuple[int, Count]]:
    """The counts by the numbers of their rows."""
    if "parameters" not in choice.places:
        return
    header = choice.header("parameters")
    for number, row in rows:
        cell = row[choice.places["parameters"]]
        text = cell.text if starts_like_figure(cell.text) else named_count(cell.text) or cell.text
        if _is_silent(text, number, header, notes):
            continue
        try:
            yield number, read_count(text, scale=headers.unit(header))
        except ValueError as fault:
            faults.add(str(fault), number, cell.line, header)


def _accuracies(
    choice: Choice, rows: Sequence[NumberedRow], faults: _Faults, notes: list[str]
) -> Iterator[tuple[int, tuple[Claim, Mean | None]]]:
    """The accuracies by the numbers of their rows, those over seeds as means too; all percentages or all fractions."""
    if "accuracy" not in choice.places:
        return
    header = choice.header("accuracy")
    part = choice.part
    found: dict[int, tuple[Cell, Accuracy]] = {}
    for number, row in rows:
        cell = row[choice.places["accuracy"]]
        text = _figure_of(cell.text, part)
        if cell.text and not text:
            notes.append(f"row {number}, {header!r}: no accuracy on the {part} images; left out")
        if _is_silent(text, number, header, notes):
            continue
        try:
            found[number] = cell, read_accuracy(text)
        except ValueError as fault:
            faults.add(str(fault), number, cell.line, header)
    scale = _scale(header, [accuracy for _, accuracy in found.values()])
    is_best = headers.is_picked(header)
    for number, (cell, accuracy) in found.items():
        if accuracy.scale not in ("either", scale):
            faults.add(_mixed(accuracy, scale), number, cell.line, header)
        claim = Claim(
            what="accuracy",
            reported=accuracy.reported(scale),
            mark="stated",
            on=part or "test",
            epoch=epoch_of(header) if accuracy.epoch is None else accuracy.epoch,
            is_best=is_best,
            images=accuracy.images,
            correct=accuracy.correct,
        )
        yield number, (claim, None if accuracy.spread is None else _mean(claim, accuracy.spread, scale, header))


def _mean(claim: Claim, spread: Spread, scale: Literal["percent", "fraction"], header: str) -> Mean:
    """A claim that is a mean. scale: of the column, and so of the spread unless it has a percent sign of its own."""
    in_percent = spread.number if scale == "percent" or spread.is_percent else spread.number.scaleb(2)
    last_digit = Decimal(1).scaleb(int(in_percent.as_tuple().exponent))
    n_seeds = seeds_of(header) if spread.n_seeds is None else spread.n_seeds
    return Mean(
        value=claim.value,
        sd=float(in_percent or last_digit / 2) / 100,
        reported=f"{claim.reported.removeprefix('about ').removesuffix(' %')} ± {in_percent:f} %",
        n_seeds=None if n_seeds is None or n_seeds < 2 else n_seeds,
    )


def _is_silent(text: str, number: int, header: str, notes: list[str]) -> bool:
    """Whether a cell makes no claim of a figure; what it says instead is noted."""
    if says_nothing(text):
        return True
    if is_limit(text):
        notes.append(f"row {number}, {header!r}: {one_line(text)!r} is a limit and no figure; left out")
        return True
    if says_outcome(text) and not starts_like_figure(text):
        notes.append(f"row {number}, {header!r}: {one_line(text)!r} is no figure; left out")
        return True
    return False


def _figure_of(text: str, part: Split | None) -> str:
    """The figure of a cell: all of it, or what it names for these images; "" where it names only others."""
    figures = by_part(text)
    if starts_like_figure(text) or not figures:
        return text
    return figures.get(part) or figures.get(None) or ""


def _scale(header: str, accuracies: Sequence[Accuracy]) -> Literal["percent", "fraction"]:
    """What a column's numbers are: as the header says, else as most are."""
    if headers.is_percent(header):
        return "percent"
    fractions = sum(accuracy.scale == "fraction" for accuracy in accuracies)
    percents = sum(accuracy.scale == "percent" for accuracy in accuracies)
    return "fraction" if fractions > percents else "percent"


def _mixed(accuracy: Accuracy, scale: Literal["percent", "fraction"]) -> str:
    if scale == "percent":
        return f"{accuracy.number} would be a fraction among percentages; add its percent sign, or write all alike"
    return f"{accuracy.number} would be a percentage among fractions; write all alike"
