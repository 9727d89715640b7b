"""A journal as one page with a small picture of how each step learned and what it reached."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flyweight.errors import in_one_line
from flyweight.evidence.journal import Journal, Row
from flyweight.evidence.verdict import p_value
from flyweight.files import make_folder, write_text
from flyweight.report.journal.scales import (
    MAX_POINTS,
    Learned,
    axis,
    curves,
    errors_of,
    reached,
    scale_of,
    ticks_drawn,
)
from flyweight.report.journal.text import NOTES, kind_of, verdict_of, what_effects_are
from flyweight.report.rendering import file_name, render, report_links

if TYPE_CHECKING:
    from flyweight.records.store import Store

MAX_DRAWN: Final = 500  # rows that get a picture of how they learned

# A verdict is shown by its word, its sign and its colour, so that any one of them is enough.
SIGNS: Final = {
    "better": "▲",
    "worse": "▼",
    "no evidence": "○",
    "confounded": "◆",
    "one seed": "·",
    "diverged": "✕",
}


@in_one_line
def write_journal(store: Store, journal: Journal, path: Path | None = None) -> Path:
    """Write the journal as one page with small pictures of how each step learned and what it reached.

    path: where to; by default named after the study, in the home's `journals`.

    Raises:
        UsageError, MissingError: a folder that cannot be made.
    """
    path = path or store.home / "journals" / f"{_page_name(journal.study)}.html"
    folder = make_folder(path.parent)
    is_drawn = len(journal.rows) <= MAX_DRAWN
    learned = {row.number: _learned(store, row) for row in journal.rows} if is_drawn else {}
    results = scale_of(error for row in journal.rows for error in errors_of(row))
    validation = scale_of(1 - accuracy for seeds in learned.values() for seed in seeds for _, accuracy in seed)
    longest = max((epoch for seeds in learned.values() for seed in seeds for epoch, _ in seed), default=1)
    link = report_links(store, folder)
    page = render(
        "journal/page.html",
        journal=journal,
        title=journal.study or "all runs",
        is_drawn=is_drawn,
        max_drawn=MAX_DRAWN,
        what_effects_are=what_effects_are(journal),
        axis=axis(results),
        ticks=ticks_drawn(results),
        validation=validation if any(learned.values()) else None,
        longest=longest,
        signs=SIGNS,
        rows=[
            {
                "row": row,
                "kind": kind_of(row),
                "verdict": verdict_of(row),
                "p": "" if row.p_adjusted is None else p_value(row.p_adjusted),
                "reached": reached(row, results),
                "learned": curves(learned.get(row.number, []), validation, longest),
                "notes": [(NOTES[kind], note) for kind, note in row.notes().items() if note],
                "runs": [(seed, run, link(run)) for seed, run in zip(row.seeds, row.runs, strict=True)],
            }
            for row in journal.rows
        ],
    )
    write_text(path, page)
    return path


def _page_name(study: str | None) -> str:
    """Two studies never share a page: where a name had to be altered, or is "all", a piece of its hash says so."""
    if study is None:
        return "all"
    safe = file_name(study)
    return safe if safe == study != "all" else f"{safe}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def _learned(store: Store, row: Row) -> Learned:
    """Validation accuracy by epoch, a line for each seed."""
    found = [
        [(line.epoch, line.validation_accuracy) for line in store.epochs(run) if line.validation_accuracy is not None]
        for run in row.runs
    ]
    return [_thinned(seed) for seed in found if seed]


def _thinned(seed: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """No more points than can be seen; the last is always among them."""
    stride = math.ceil(len(seed) / MAX_POINTS)
    return seed[::-stride][::-1]
