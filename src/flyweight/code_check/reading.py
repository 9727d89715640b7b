"""Finds faults in a training script or notebook, from its text and syntax tree: nothing of it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from flyweight.code_check.findings import CodeFinding, CodeReading, Fault, Spot
from flyweight.code_check.program import Program, program_of
from flyweight.code_check.recognised import recognised
from flyweight.code_check.source import Source, read_source, too_deep
from flyweight.code_check.table import FAULTS
from flyweight.doctor.finding import SEVERITIES
from flyweight.errors import in_one_line


@in_one_line
def read_code(path: str | os.PathLike[str]) -> CodeReading:
    """Find the faults in a .py or .ipynb file; the worst come first, then by line.

    Raises:
        UsageError: the path is neither that of a script nor of a notebook.
        DataError: there is no such file, or it is not Python or not a notebook.
    """
    source = read_source(Path(path))
    try:
        program = program_of(source.tree)
        findings = tuple(sorted(_found(source, program, FAULTS), key=_order))
        seen = recognised(program)
    except RecursionError:
        raise too_deep(Path(path)) from None
    return CodeReading(
        path=os.fspath(path),
        findings=findings,
        n_cells=len(source.starts),
        n_lines=source.n_lines,
        skipped=source.skipped,
        recognised=seen,
    )


def _found(source: Source, program: Program, faults: Iterable[Fault]) -> Iterator[CodeFinding]:
    for fault in faults:
        # A line that is found in two ways is one finding.
        spots = {spot.line: spot for spot in reversed(list(fault.find(program)))}
        for spot in spots.values():
            yield _finding(source, fault, spot)


def _finding(source: Source, fault: Fault, spot: Spot) -> CodeFinding:
    cell, line = source.place(spot.line)
    return CodeFinding(
        code=fault.code,
        title=fault.title,
        severity=spot.severity or fault.severity,
        cell=cell,
        line=line,
        text=source.lines[spot.line - 1].strip(),
        explanation=fault.explanation,
        fix=spot.fix,
        detail=spot.detail,
    )


def _order(finding: CodeFinding) -> tuple[int, int, int, str]:
    return SEVERITIES.index(finding.severity), finding.cell or 0, finding.line, finding.code
