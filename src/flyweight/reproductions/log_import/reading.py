"""Somebody else's experiment log, a Markdown table, as claims to judge.

Goes in: the text, and which column is what where the user says it. Comes out: a frozen `Table`, or one error with all
that is wrong with it, by row and column. What the claims are worth is not known here; `doubts` tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from flyweight.errors import DataError, NotationError, UsageError, nearest
from flyweight.model.notation import parse_net
from flyweight.reproductions.document import Claim, Part
from flyweight.reproductions.log_import import headers
from flyweight.reproductions.log_import.cells import (
    Accuracy,
    Count,
    Spread,
    epoch_of,
    is_limit,
    named_accuracies,
    named_count,
    read_accuracy,
    read_count,
    says_nothing,
    says_outcome,
    seeds_of,
    shortened,
    starts_like_figure,
)
from flyweight.reproductions.log_import.headers import FIGURES, PREFERRED, ROLES, Role
from flyweight.reproductions.log_import.pipes import Cell, Grid, pipe_tables, plain

NumberedRow = tuple[int, tuple[Cell, ...]]

MOST_SINGLE_NOTES: Final = 3  # nets that are not in our notation; of more than so many one note tells
MOST_NUMBERS: Final = 8  # of rows in a note


@dataclass(frozen=True, kw_only=True)
class Mean:
    """An accuracy over seeds, as fractions, with the text of its figures. n_seeds: None where it is not given.

    sd: what stands after the ±, taken for the standard deviation of the seeds; half a last digit where that is 0.
    """

    value: float
    sd: float
    reported: str
    n_seeds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment. number: from 1; line: of the file. The texts are as a reader sees them, "" where there is none.

    within: the reported parameters can stand for counts less than this from them: 1 for an exact count, 100 for
    "22.2k". mean: the accuracy once more, where it is one over seeds.
    """

    number: int
    line: int
    step: str
    change: str = ""
    net: str = ""
    parameters: Claim | None = None
    within: int = 1
    accuracy: Claim | None = None
    mean: Mean | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A log as claims. label: what it is called; line: of its head; columns: the heads as printed, by what was taken
    from them; notes: what a reader should know of how it was read."""

    label: str
    line: int
    columns: Mapping[Role, str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    is_transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A grid and which of its columns is what."""

    grid: Grid
    places: Mapping[Role, int]

    def head(self, role: Role) -> str:
        return _one_line(self.grid.headers[self.places[role]].text)

    def column(self, role: Role) -> tuple[Cell, ...]:
        return self.grid.column(self.places[role])

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Of two tables the one with more columns of figures, then a log of experiments, then one with several."""
        filled = sum(role in self.places and _holds_figures(self.column(role), role) for role in FIGURES)
        return filled, headers.is_of_experiments(self.grid.headers[0].text), len(self.grid.rows) > 1


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
        columns: heads by role ("parameters", "accuracy", "change", "net", "step"), where guessing would go wrong.

    >>> table = read_table("| Exp | Params | Test acc |\\n|--|--|--|\\n| 1 | 22,186 | 99.17% |", label="log.md")
    >>> table.rows[0].parameters.reported, table.rows[0].accuracy.reported
    ('22186', '99.17 %')

    Raises:
        DataError: no such table, or one with faults: all of them, by row and column.
        UsageError: a role or a head that is not there.
    """
    named = dict(columns or {})
    _check_roles(named)
    grids = pipe_tables(text)
    if not grids:
        raise DataError(
            f"{label}: must have a Markdown table (a head, a line of | --- | with as many cells, rows), found none."
        )
    reading = _chosen(grids, named, label)
    faults = _Faults(label, reading.grid)
    _find_uneven(reading.grid, faults)
    rows, notes = _rows(reading, faults)
    faults.raise_any()
    return Table(
        label=label,
        line=reading.grid.line,
        columns={role: reading.head(role) for role in ROLES if role in reading.places},
        rows=rows,
        notes=(*_choices(reading, grids), *notes, *_other_nets(reading, rows, "net" in named), *_means(rows)),
        is_transposed=reading.grid.is_transposed,
    )


def _check_roles(named: Mapping[str, str]) -> None:
    for role in named:
        if role not in ROLES:
            raise UsageError(
                f"a column must be named as one of {', '.join(ROLES)}, found {role!r}.{nearest(role, ROLES)}"
            )


def _chosen(grids: Sequence[Grid], named: Mapping[str, str], label: str) -> _Reading:
    """The table that serves best, the first of those."""
    turned = [grid.transposed() for grid in grids if _names_figures_below(grid)]
    candidates = [grid for grid in (*grids, *turned) if _has_all(grid, named)]
    if named and not candidates:
        _refuse_names((*grids, *turned), named, label)
    readings = [_Reading(grid=grid, places=_places(grid, named)) for grid in candidates]
    serving = [reading for reading in readings if any(role in reading.places for role in FIGURES)]
    if not serving:
        there = ", ".join(repr(head) for head in _all_headers(grids))
        raise DataError(
            f"{label}: a table needs a column of parameters or of accuracies, found the columns {there}. "
            'Say which is which, as in --accuracy "Top-1".'
        )
    # max keeps the first of equals.
    return max(serving, key=lambda reading: reading.rank)


def _names_figures_below(grid: Grid) -> bool:
    """Whether it has experiments as columns: figures are named in its first column, and none in its head."""
    if not grid.is_even or len(grid.headers) < 2 or not grid.rows:
        return False
    named_below = any(headers.names_figure(cell.text) for cell in grid.column(0))
    return named_below and not any(headers.names_figure(cell.text) for cell in grid.headers)


def _has_all(grid: Grid, named: Mapping[str, str]) -> bool:
    there = {_named(cell.text) for cell in grid.headers}
    return all(_named(plain(name)) in there for name in named.values())


def _refuse_names(grids: Sequence[Grid], named: Mapping[str, str], label: str) -> None:
    """Raise for the first head that no table has, else for heads that stand in different tables."""
    known = _all_headers(grids)
    there = ", ".join(repr(head) for head in known)
    for role, name in named.items():
        if _named(plain(name)) not in map(_named, known):
            raise UsageError(
                f"{label}: no table has a column {name!r} for --{role}.{nearest(name, known)} Found {there}."
            )
    given = " and ".join(f'--{role} "{name}"' for role, name in named.items())
    raise UsageError(f"{label}: {given} must stand in one table, found them in several. Found {there}.")


def _all_headers(grids: Sequence[Grid]) -> list[str]:
    """Every head once, as printed."""
    printed = (_one_line(cell.text) for grid in grids for cell in grid.headers)
    return list(dict.fromkeys(head for head in printed if head))


def _places(grid: Grid, named: Mapping[str, str]) -> dict[Role, int]:
    """Which column is what: as the user says, else by its head, else by what its cells say. A column is one thing."""
    exact = [_named(cell.text) for cell in grid.headers]
    places: dict[Role, int] = {role: exact.index(_named(plain(named[role]))) for role in ROLES if role in named}

    def place(role: Role, *candidates: Sequence[int]) -> None:
        """Take the best fitting of the first candidates that are free, unless the role has its place."""
        for columns in candidates:
            free = [column for column in columns if column not in places.values()]
            if free and role not in places:
                places[role] = min(free, key=lambda column: _order(grid.headers[column].text, role))

    for role in FIGURES:
        fitting = _fitting(grid, role)
        filled = [column for column in fitting if _holds_figures(grid.column(column), role)]
        empty = [column for column in fitting if all(says_nothing(cell.text) for cell in grid.column(column))]
        naming = [column for column in range(len(exact)) if _names_figures(grid.column(column), role)]
        place(role, filled, empty, naming)
    nets = _fitting(grid, "net")
    place("net", [column for column in nets if any(is_net(cell.text) for cell in grid.column(column))])
    place("step", _fitting(grid, "step"))
    place("change", _fitting(grid, "change"))
    place("net", nets)
    place("step", [0])
    if "step" in places and any(map(str.isalpha, "".join(cell.text for cell in grid.column(places["step"])))):
        # A log whose experiments are called by what was changed.
        places.setdefault("change", places["step"])
    return places


def _fitting(grid: Grid, role: Role) -> list[int]:
    """The columns whose heads may be those of a role."""
    return [column for column, head in enumerate(grid.headers) if headers.fit(head.text, role) is not None]


def _order(head: str, role: Role) -> tuple[int, int]:
    """Smaller for a head that fits a role better."""
    return PREFERRED.index(headers.part(head)) if role == "accuracy" else 0, headers.fit(head, role) or 0


def _holds_figures(cells: Sequence[Cell], role: Role) -> bool:
    """Whether a cell of a column was meant as a figure of this role."""
    return any(starts_like_figure(cell.text) for cell in cells) or _names_figures(cells, role)


def _names_figures(cells: Sequence[Cell], role: Role) -> bool:
    """Whether a cell says the name of its figure before it, as in "Total parameter count: 12,026"."""
    return any(named_count(cell.text) if role == "parameters" else _by_part(cell.text) for cell in cells)


def is_net(text: str) -> bool:
    """Whether a text is a net in our notation (docs/notation.md)."""
    try:
        parse_net(text)
    except NotationError:
        return False
    return True


def _named(text: str) -> str:
    """A head as a user may write it: capitals and blanks do not matter."""
    return " ".join(text.casefold().split())


def _one_line(text: str) -> str:
    return "; ".join(text.split("\n"))


def _by_part(text: str) -> dict[Part | None, str]:
    """The figures of a cell that names its accuracies, by the images they are on."""
    found: dict[Part | None, str] = {}
    for words, figure in named_accuracies(text).items():
        found.setdefault(headers.part(words), figure)
    return found


def _find_uneven(grid: Grid, faults: _Faults) -> None:
    if not grid.rows:
        faults.add(f"the table of line {grid.line} must have rows, found none")
    n = len(grid.headers)
    for number, row in enumerate(grid.rows, start=1):
        if len(row) != n:
            words = f"{len(row)} {'cell' if len(row) == 1 else 'cells'}"
            hint = "; end the table with a blank line, if this is no row" if len(row) == 1 else ""
            needed = f"{n} {'cell' if n == 1 else 'cells'}"
            faults.add(f"must have {needed} as the head has, found {words}{hint}", number, row[0].line)


def _rows(reading: _Reading, faults: _Faults) -> tuple[tuple[Row, ...], list[str]]:
    """The rows of an even width, what is wrong with their cells being collected; and what was left out on purpose."""
    grid, notes = reading.grid, list[str]()
    even = [(number, row) for number, row in enumerate(grid.rows, start=1) if len(row) == len(grid.headers)]
    counts = dict(_counts(reading, even, faults, notes))
    accuracies = dict(_accuracies(reading, even, faults, notes))
    rows = []
    for number, row in even:
        texts = {role: row[reading.places[role]].text for role in ROLES if role in reading.places}
        line, count = row[0].line, counts.get(number)
        accuracy, mean = accuracies.get(number, (None, None))
        _find_empty(reading, texts, number, line, faults)
        rows.append(
            Row(
                number=number,
                line=line,
                step=_one_line(texts.get("step", "")) or str(number),
                change=_one_line(texts.get("change", "")),
                net=" ".join(texts.get("net", "").split()),
                parameters=None if count is None else Claim(what="parameters", reported=count.reported, mark="stated"),
                within=1 if count is None else count.within,
                accuracy=accuracy,
                mean=mean,
            )
        )
    return tuple(rows), notes


def _find_empty(reading: _Reading, texts: Mapping[Role, str], number: int, line: int, faults: _Faults) -> None:
    """A row with neither figure claims nothing."""
    roles = [role for role in FIGURES if role in reading.places]
    if all(says_nothing(texts[role]) for role in roles):
        names = " and ".join(repr(reading.head(role)) for role in roles)
        faults.add(f"a claim needs a figure, found none under {names}; leave the row out", number, line)


def _counts(
    reading: _Reading, rows: Sequence[NumberedRow], faults: _Faults, notes: list[str]
) -> Iterator[tuple[int, Count]]:
    """The counts by the numbers of their rows."""
    if "parameters" not in reading.places:
        return
    head = reading.head("parameters")
    for number, row in rows:
        cell = row[reading.places["parameters"]]
        text = cell.text if starts_like_figure(cell.text) else named_count(cell.text) or cell.text
        if _is_silent(text, number, head, notes):
            continue
        try:
            yield number, read_count(text, scale=headers.unit(head))
        except ValueError as fault:
            faults.add(str(fault), number, cell.line, head)


def _accuracies(
    reading: _Reading, rows: Sequence[NumberedRow], faults: _Faults, notes: list[str]
) -> Iterator[tuple[int, tuple[Claim, Mean | None]]]:
    """The accuracies by the numbers of their rows, those over seeds as means too; all percentages or all fractions."""
    if "accuracy" not in reading.places:
        return
    head = reading.head("accuracy")
    part = _column_part(reading)
    found: dict[int, tuple[Cell, Accuracy]] = {}
    for number, row in rows:
        cell = row[reading.places["accuracy"]]
        text = _figure_of(cell.text, part)
        if cell.text and not text:
            notes.append(f"row {number}, {head!r}: no accuracy on the {part} images; left out")
        if _is_silent(text, number, head, notes):
            continue
        try:
            found[number] = cell, read_accuracy(text)
        except ValueError as fault:
            faults.add(str(fault), number, cell.line, head)
    scale = _scale(head, [accuracy for _, accuracy in found.values()])
    is_best = headers.is_picked(head)
    for number, (cell, accuracy) in found.items():
        if accuracy.scale not in ("either", scale):
            faults.add(_mixed(accuracy, scale), number, cell.line, head)
        claim = Claim(
            what="accuracy",
            reported=accuracy.reported(scale),
            mark="stated",
            on=part or "test",
            epoch=epoch_of(head) if accuracy.epoch is None else accuracy.epoch,
            is_best=is_best,
            images=accuracy.images,
            correct=accuracy.correct,
        )
        yield number, (claim, None if accuracy.spread is None else _mean(claim, accuracy.spread, scale, head))


def _mean(claim: Claim, spread: Spread, scale: Literal["percent", "fraction"], head: str) -> Mean:
    """A claim that is a mean. scale: of the column, and so of the spread unless it has a percent sign of its own."""
    in_percent = spread.number if scale == "percent" or spread.is_percent else spread.number.scaleb(2)
    last_digit = Decimal(1).scaleb(int(in_percent.as_tuple().exponent))
    n_seeds = seeds_of(head) if spread.n_seeds is None else spread.n_seeds
    return Mean(
        value=claim.value,
        sd=float(in_percent or last_digit / 2) / 100,
        reported=f"{claim.reported.removeprefix('about ').removesuffix(' %')} ± {in_percent:f} %",
        n_seeds=None if n_seeds is None or n_seeds < 2 else n_seeds,
    )


def _is_silent(text: str, number: int, head: str, notes: list[str]) -> bool:
    """Whether a cell makes no claim of a figure; what it says instead is noted."""
    if says_nothing(text):
        return True
    if is_limit(text):
        notes.append(f"row {number}, {head!r}: {_one_line(text)!r} is a limit and no figure; left out")
        return True
    if says_outcome(text) and not starts_like_figure(text):
        notes.append(f"row {number}, {head!r}: {_one_line(text)!r} is no figure; left out")
        return True
    return False


def _column_part(reading: _Reading) -> Part | None:
    """The images that the accuracies are on: as the head says, else the best that its cells name."""
    said = headers.part(reading.head("accuracy"))
    named = {part for cell in reading.column("accuracy") for part in _by_part(cell.text)}
    return said or next((preferred for preferred in PREFERRED if preferred in named), None)


def _figure_of(text: str, part: Part | None) -> str:
    """The figure of a cell: all of it, or what it names for these images; "" where it names only others."""
    figures = _by_part(text)
    if starts_like_figure(text) or not figures:
        return text
    return figures.get(part) or figures.get(None) or ""


def _scale(head: str, accuracies: Sequence[Accuracy]) -> Literal["percent", "fraction"]:
    """What a column's numbers are: as the head says, else as most are."""
    if headers.is_percent(head):
        return "percent"
    fractions = sum(accuracy.scale == "fraction" for accuracy in accuracies)
    percents = sum(accuracy.scale == "percent" for accuracy in accuracies)
    return "fraction" if fractions > percents else "percent"


def _mixed(accuracy: Accuracy, scale: Literal["percent", "fraction"]) -> str:
    if scale == "percent":
        return f"{accuracy.number} would be a fraction among percentages; add its percent sign, or write all alike"
    return f"{accuracy.number} would be a percentage among fractions; write all alike"


def _choices(reading: _Reading, grids: Sequence[Grid]) -> Iterator[str]:
    """What was taken where there was a choice."""
    if len(grids) > 1:
        left_lines = [f"{grid.line}" for grid in grids if grid.line != reading.grid.line]
        those = "that of line" if len(left_lines) == 1 else "those of lines"
        yield (f"read the table of line {reading.grid.line}, one of {len(grids)}; not read: {those} {_and(left_lines)}")
    for role in FIGURES:
        others = [column for column in _fitting(reading.grid, role) if column != reading.places.get(role)]
        if role in reading.places and others:
            left = ", ".join(repr(_one_line(reading.grid.headers[column].text)) for column in others)
            yield f"{role} is that of {reading.head(role)!r}; left: {left}"
    if "accuracy" in reading.places and headers.part(reading.head("accuracy")) is None:
        part = _column_part(reading)
        yield (
            f"{reading.head('accuracy')!r} does not say of which images; taken to be the test images"
            if part is None
            else f"of the accuracies under {reading.head('accuracy')!r} those on the {part} images are taken"
        )


def _other_nets(reading: _Reading, rows: Sequence[Row], is_named: bool) -> Iterator[str]:
    """Which nets were passed over, where a reader expects them to be counted: as others are, or as the user said."""
    named = [row for row in rows if not says_nothing(row.net)]
    faults = {row.number: fault for row in named if (fault := _fault_of(row.net)) is not None}
    if not faults or (len(faults) == len(named) and not is_named):
        return
    head, nets = reading.head("net"), {row.number: row.net for row in named}
    if len(faults) > MOST_SINGLE_NOTES:
        first, fault = next(iter(faults.items()))
        yield (
            f"{_named_rows(list(faults))}, {head!r}: not in flyweight's notation (row {first}: {fault}); not counted"
        )
        return
    for number, fault in faults.items():
        net = shortened(nets[number])
        yield f"row {number}, {head!r}: {net!r} is not in flyweight's notation ({fault}); not counted"


def _fault_of(net: str) -> str | None:
    """What keeps a text from being a net in our notation, without the place and the hint."""
    try:
        parse_net(net)
    except NotationError as error:
        first, *_ = str(error).splitlines()
        return shortened(re.sub(r"^net, position [0-9]+: ", "", first).split(". ")[0].removesuffix("."))
    return None


def _means(rows: Sequence[Row]) -> Iterator[str]:
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
    if len(shown) > MOST_NUMBERS:
        shown[MOST_NUMBERS - 1 :] = [f"{len(shown) - MOST_NUMBERS + 1} more"]
    return f"row{'' if len(shown) == 1 else 's'} {_and(shown)}"


def _and(words: Sequence[str]) -> str:
    """Words as a list of them is written: "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
