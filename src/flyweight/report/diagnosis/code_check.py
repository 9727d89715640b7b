"""Text of the faults in a notebook or script: place, line, reason and what to write instead, 80 columns wide."""

from __future__ import annotations

from flyweight.code_check.findings import CodeFinding, CodeReading, Recognised
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
    summary = [_headline(reading)]
    if reading.recognised is not None:
        summary.append(hanging("understood", _understood(reading.recognised)))
        if reading.recognised.not_judged:
            summary.append(hanging("not judged", reading.recognised.not_judged))
    summary += [hanging("" if number else "not read", text) for number, text in enumerate(reading.skipped)]
    return "\n\n".join([*parts, "\n".join(summary)])


def _headline(reading: CodeReading) -> str:
    """How many findings; where there are none, whether that says anything."""
    seen = reading.recognised
    if reading.findings or seen is None or not seen.not_judged:
        return counted_by_severity(reading.findings)
    return "nothing found in what was understood" if _parts(seen) else "nothing was judged"


def _parts(seen: Recognised) -> str:
    """The parts of a training that were recognised, with their numbers; empty for none."""
    parts = {
        "net": seen.nets,
        "data set": seen.data_sets,
        "loss function": seen.losses,
        "optimizer": seen.optimizers,
        "training loop": seen.training_loops,
        "evaluation loop": seen.evaluation_loops,
    }
    return ", ".join(counted(number, name) for name, number in parts.items() if number)


def _understood(seen: Recognised) -> str:
    libraries = ", ".join(seen.libraries) or "no library that trains nets"
    return f"{libraries}: {_parts(seen) or 'no part of a training'}"


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
