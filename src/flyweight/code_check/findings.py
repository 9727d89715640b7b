"""What is found in somebody's code: a fault, its places, and the reading of a whole file. Values only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flyweight.code_check.program import Program
from flyweight.doctor.finding import Severity


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A line of the program (all cells one after another, from 1) where a fault is, and what to write there.

    detail: the numbers or names of this place, in a sentence. severity: where it is not the one of the fault.
    """

    line: int
    fix: str
    detail: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line of the table. find: all the places of a program; none where it cannot be sure.

    explanation: three sentences for a learner: what it is, what it does, what helps.
    """

    code: str
    title: str
    severity: Severity
    explanation: str
    find: Callable[[Program], Iterator[Spot]]


@dataclass(frozen=True, kw_only=True)
class CodeFinding:
    """A fault at a place. cell: its number among the code cells, from 1, None in a script; line: from 1, in the cell
    or the script; text: that line, as it stands in the file."""

    code: str
    title: str
    severity: Severity
    cell: int | None
    line: int
    text: str
    explanation: str
    fix: str
    detail: str = ""

    @property
    def place(self) -> str:
        """Where to look, in words: "cell 4, line 12", or "line 12" in a script."""
        return f"line {self.line}" if self.cell is None else f"cell {self.cell}, line {self.line}"

    def __str__(self) -> str:
        return f"{self.code} {self.place}: {self.title}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class CodeReading:
    """All that was found in a file, the worst first. n_cells: code cells, 0 in a script; skipped: what was not read."""

    path: str
    findings: tuple[CodeFinding, ...]
    n_cells: int
    n_lines: int
    skipped: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[CodeFinding, ...]:
        """What is more than a note."""
        return tuple(finding for finding in self.findings if finding.severity != "note")
