"""The table of docs/reliability.md, from the record."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.chaos.record import Part
from flyweight.tables import as_markdown, table_of


def table(parts: Sequence[Part]) -> str:
    """A row for each part: what was tried, how often it held, what came of it, and what did not hold."""
    rows = [
        {
            "trial": part.name,
            "n": f"{part.tried:,}",
            "held": part.skipped or f"{part.held:,}",
            "outcomes": "; ".join(f"{n:,} {outcome}" for outcome, n in sorted(part.counts.items())) or "none",
            "promise": part.promise,
        }
        for part in parts
    ]
    return as_markdown(table_of(rows))


def misses(parts: Sequence[Part]) -> str:
    """Each trial that did not hold, as a list; a sentence where there is none."""
    found = [f"- {part.name}: {miss}" for part in parts for miss in part.misses]
    return "\n".join(found) or "Every trial on record held."
