"""Text of the faults in a notebook or script: place, line, reason and what to write instead, 80 columns wide."""

from __future__ import annotations

from flyweight.code_check.findings import CodeFinding, CodeReading
from flyweight.report.diagnosis.text import counted_by_severity
from flyweight.report.wording import hanging
from flyweight.tables import counted, plain


def code_text(reading: CodeReading, *, is_full: bool = False) -> str:
    """The faults in the order of the file, their number, and what was not read.

    A fault is explained the first time, a note only if `is_full`.
    """
    explained: set[str] = set()
    parts = [_heading(reading)]
    for finding in reading.findings:
        is_to_explain = finding.code not in explained and (is_full or finding.severity != "note")
        parts.append(_fault(finding, is_explained=is_to_explain))
        explained.add(finding.code)
    summary = [counted_by_severity(reading.findings)]
    summary += [hanging("" if number else "not read", text) for number, text in enumerate(reading.skipped)]
    return "\n\n".join([*parts, "\n".join(summary)])


def _heading(reading: CodeReading) -> str:
    cells = f"{counted(reading.n_cells, 'code cell')}, " if reading.n_cells else ""
    return f"{plain(reading.path)}: {cells}{counted(reading.n_lines, 'line')}; read as text, nothing was run"


def _fault(finding: CodeFinding, *, is_explained: bool) -> str:
    lines = [("at", f"{finding.place}: {finding.text.strip()}")]
    if finding.detail:
        lines.append(("here", finding.detail))
    if is_explained:
        lines.append(("why", finding.explanation))
    lines.append(("instead", finding.fix))
    first = f"{finding.code}  {finding.severity:<7}  {plain(finding.title)}"
    return "\n".join([first, *(hanging(label, text) for label, text in lines)])
