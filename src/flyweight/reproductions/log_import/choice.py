"""Which table of a text is the log, and which of its columns is what: as the user says, else by headers and cells.

Goes in: pipe tables. Comes out: a `Choice`, or one error that names what is there. What the cells claim is not
known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flyweight.errors import DataError, NotationError, UsageError, nearest
from flyweight.model.notation import parse_net
from flyweight.records.results import Split
from flyweight.reproductions.log_import import headers
from flyweight.reproductions.log_import.cells import named_accuracies, named_count, says_nothing, starts_like_figure
from flyweight.reproductions.log_import.headers import FIGURES, PREFERRED, ROLES, Role
from flyweight.reproductions.log_import.pipes import Cell, Grid, plain


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A grid and which of its columns is what."""

    grid: Grid
    places: Mapping[Role, int]

    def header(self, role: Role) -> str:
        return one_line(self.grid.headers[self.places[role]].text)

    def column(self, role: Role) -> tuple[Cell, ...]:
        return self.grid.column(self.places[role])

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Of two tables the one with more columns of figures, then a log of experiments, then one with several."""
        filled = sum(role in self.places and _holds_figures(self.column(role), role) for role in FIGURES)
        return filled, headers.is_of_experiments(self.grid.headers[0].text), len(self.grid.rows) > 1

    @property
    def part(self) -> Split | None:
        """The images that the accuracies are on: as the header says, else the best that its cells name."""
        said = headers.part(self.header("accuracy"))
        named = {part for cell in self.column("accuracy") for part in by_part(cell.text)}
        return said or next((preferred for preferred in PREFERRED if preferred in named), None)


def choose(grids: Sequence[Grid], named: Mapping[str, str], label: str) -> Choice:
    """The table that serves best, the first of those."""
    turned = [grid.transposed() for grid in grids if _names_figures_below(grid)]
    candidates = [grid for grid in (*grids, *turned) if _has_all(grid, named)]
    if named and not candidates:
        _refuse_names((*grids, *turned), named, label)
    choices = [Choice(grid=grid, places=_places(grid, named)) for grid in candidates]
    serving = [choice for choice in choices if any(role in choice.places for role in FIGURES)]
    if not serving:
        there = ", ".join(repr(header) for header in _all_headers(grids))
        raise DataError(
            f"{label}: a table needs a column of parameters or of accuracies, found the columns {there}. "
            'Say which is which, as in --accuracy "Top-1".'
        )
    # max keeps the first of equals.
    return max(serving, key=lambda choice: choice.rank)


def _names_figures_below(grid: Grid) -> bool:
    """Whether it has experiments as columns: figures are named in its first column, and none in its header."""
    if not grid.is_even or len(grid.headers) < 2 or not grid.rows:
        return False
    named_below = any(headers.names_figure(cell.text) for cell in grid.column(0))
    return named_below and not any(headers.names_figure(cell.text) for cell in grid.headers)


def _has_all(grid: Grid, named: Mapping[str, str]) -> bool:
    there = {_named(cell.text) for cell in grid.headers}
    return all(_named(plain(name)) in there for name in named.values())


def _refuse_names(grids: Sequence[Grid], named: Mapping[str, str], label: str) -> None:
    """Raise for the first header that no table has, else for headers that stand in different tables."""
    known = _all_headers(grids)
    there = ", ".join(repr(header) for header in known)
    for role, name in named.items():
        if _named(plain(name)) not in map(_named, known):
            raise UsageError(
                f"{label}: no table has a column {name!r} for --{role}.{nearest(name, known)} Found {there}."
            )
    given = " and ".join(f'--{role} "{name}"' for role, name in named.items())
    raise UsageError(f"{label}: {given} must stand in one table, found them in several. Found {there}.")


def _all_headers(grids: Sequence[Grid]) -> list[str]:
    """Every header once, as printed."""
    printed = (one_line(cell.text) for grid in grids for cell in grid.headers)
    return list(dict.fromkeys(header for header in printed if header))


def _places(grid: Grid, named: Mapping[str, str]) -> dict[Role, int]:
    """Which column is what: as the user says, else by its header, else by what its cells say. A column is one thing."""
    exact = [_named(cell.text) for cell in grid.headers]
    places: dict[Role, int] = {role: exact.index(_named(plain(named[role]))) for role in ROLES if role in named}

    def place(role: Role, *candidates: Sequence[int]) -> None:
        """Take the best fitting of the first candidates that are free, unless the role has its place."""
        for columns in candidates:
            free = [column for column in columns if column not in places.values()]
            if free and role not in places:
                places[role] = min(free, key=lambda column: _order(grid.headers[column].text, role))

    for role in FIGURES:
        by_header = fitting(grid, role)
        filled = [column for column in by_header if _holds_figures(grid.column(column), role)]
        empty = [column for column in by_header if all(says_nothing(cell.text) for cell in grid.column(column))]
        naming = [column for column in range(len(exact)) if _names_figures(grid.column(column), role)]
        place(role, filled, empty, naming)
    nets = fitting(grid, "net")
    place("net", [column for column in nets if any(is_net(cell.text) for cell in grid.column(column))])
    place("step", fitting(grid, "step"))
    place("change", fitting(grid, "change"))
    place("net", nets)
    place("step", [0])
    if "step" in places and any(map(str.isalpha, "".join(cell.text for cell in grid.column(places["step"])))):
        # A log whose experiments are called by what was changed.
        places.setdefault("change", places["step"])
    return places


def fitting(grid: Grid, role: Role) -> list[int]:
    """The columns whose headers may be those of a role."""
    return [column for column, header in enumerate(grid.headers) if headers.fit(header.text, role) is not None]


def _order(header: str, role: Role) -> tuple[int, int]:
    """Smaller for a header that fits a role better."""
    return PREFERRED.index(headers.part(header)) if role == "accuracy" else 0, headers.fit(header, role) or 0


def _holds_figures(cells: Sequence[Cell], role: Role) -> bool:
    """Whether a cell of a column was meant as a figure of this role."""
    return any(starts_like_figure(cell.text) for cell in cells) or _names_figures(cells, role)


def _names_figures(cells: Sequence[Cell], role: Role) -> bool:
    """Whether a cell says the name of its figure before it, as in "Total parameter count: 12,026"."""
    return any(named_count(cell.text) if role == "parameters" else by_part(cell.text) for cell in cells)


def is_net(text: str) -> bool:
    """Whether a text is a net in our notation (docs/notation.md)."""
    try:
        parse_net(text)
    except NotationError:
        return False
    return True


def _named(text: str) -> str:
    """A header as a user may write it: capitals and blanks do not matter."""
    return " ".join(text.casefold().split())


def one_line(text: str) -> str:
    return "; ".join(text.split("\n"))


def by_part(text: str) -> dict[Split | None, str]:
    """The figures of a cell that names its accuracies, by the images they are on."""
    found: dict[Split | None, str] = {}
    for words, figure in named_accuracies(text).items():
        found.setdefault(headers.part(words), figure)
    return found
