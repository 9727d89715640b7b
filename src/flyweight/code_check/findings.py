"""What is found in a program: a fault, its places, and the result for a file. Values only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from flyweight.code_check.program import Program
from flyweight.doctor.finding import Severity


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A line of the program (all cells one after another, from 1) with a fault, and what to write there.

    detail: the numbers or names of this place, in a sentence. severity: if it differs from that of the fault.
    """

    line: int
    fix: str
    detail: str = ""
    severity: Severity | None = None


Find: TypeAlias = Callable[[Program], Iterator[Spot]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One entry of the table. find: the places in a program; none where the code is not clear enough to be sure.

    explanation: three sentences for a learner: the fault, its effect, the remedy.
    """

    code: str
    title: str
    severity: Severity
    explanation: str
    find: Find


def fault(code: str, title: str, *, severity: Severity = "fault") -> Callable[[Find], Fault]:
    """Make a fault of the function that finds it; its docstring is the explanation that people read."""

    def made(find: Find) -> Fault:
        explanation = " ".join((find.__doc__ or "").split())
        return Fault(code=code, title=title, severity=severity, explanation=explanation, find=find)

    return made


@dataclass(frozen=True, kw_only=True)
class CodeFinding:
    """A fault at a place. cell: number of the code cell, from 1, None in a script; line: from 1, in the cell or the
    script; text: that line of the file."""

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
        """The place in words: "cell 4, line 12", or "line 12" in a script."""
        return f"line {self.line}" if self.cell is None else f"cell {self.cell}, line {self.line}"

    def __str__(self) -> str:
        return f"{self.code} {self.place}: {self.title}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What of a program was understood: libraries by name, and how many of each part a training has."""

    libraries: tuple[str, ...] = ()
    nets: int = 0
    data_sets: int = 0
    losses: int = 0
    optimizers: int = 0
    training_loops: int = 0
    evaluation_loops: int = 0

    @property
    def not_judged(self) -> str:
        """What no rule could look at, and why; empty where a loop that trains and one that evaluates were seen."""
        others = [name for name in self.libraries if name not in ("PyTorch", "scikit-learn")]
        if not self.training_loops:
            instead = f"; {' and '.join(others)} may train in calls of its own" if others else ""
            return f"training and its figures, since no loop with PyTorch's backward() was seen{instead}"
        if not self.evaluation_loops:
            return "the evaluation, since no loop that calls the net and counts its answers was seen"
        return ""


@dataclass(frozen=True, kw_only=True)
class CodeReading:
    """All findings of a file, the worst first. n_cells: 0 in a script; skipped: cells that are not Python.

    recognised: what the findings, or their absence, are about; None where it was not asked.
    """

    path: str
    findings: tuple[CodeFinding, ...]
    n_cells: int
    n_lines: int
    skipped: tuple[str, ...] = ()
    recognised: Recognised | None = None

    @property
    def alarms(self) -> tuple[CodeFinding, ...]:
        """The findings that are more than notes."""
        return tuple(finding for finding in self.findings if finding.severity != "note")
