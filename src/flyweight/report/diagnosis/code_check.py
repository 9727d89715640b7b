"""Faults in somebody's notebook or script, in words: place, line, why it matters, what to write instead.

Goes in: the reading of a file. Comes out: text for a terminal of 80 columns.
"""

from __future__ import annotations

from flyweight.code_check.findings import CodeFinding, CodeReading
from flyweight.report.diagnosis.text import counted_by_severity
from flyweight.report.wording import counted, hanging
from flyweight.tables import plain


def code_text(reading: CodeReading, *, is_full: bool = False) -> str:
    """What was read, the faults in its order, how many, and what was not read.

    A fault is explained the first time, a note only where all is asked for (is_full).
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
    told = [("at", f"{finding.place}: {finding.text.strip()}")]
    if finding.detail:
        told.append(("here", finding.detail))
    if is_explained:
        told.append(("why", finding.explanation))
    told.append(("instead", finding.fix))
    first = f"{finding.code}  {finding.severity:<7}  {plain(finding.title)}"
    return "\n".join([first, *(hanging(label, text) for label, text in told)])
