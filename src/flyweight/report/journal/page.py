"""A journal for people: a table for the terminal, one for a README, rows for a spreadsheet, and a page.

Goes in: a `Journal`, and for the page the store that knows how each run learned. Comes out: text. Names, notes and
changes are other people's words: whatever stands in them, it stays text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyweight.evidence.journal import Journal, Row
from flyweight.evidence.verdict import p_value
from flyweight.records.folder import make_folder, write_text
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import Note
from flyweight.report.rendering import file_name, render, report_links
from flyweight.report.wording import WIDTH, columns, hanging, in_points, padded, plain

if TYPE_CHECKING:
    from markupsafe import Markup

    from flyweight.records.store import Store

GAP: Final = "  "
FEWEST_COLUMNS: Final = 24  # of what changed, before a column that can be done without is shown
MOST_DRAWN: Final = 500  # rows that get a picture of how they learned
MOST_POINTS: Final = 60  # of a line that is 120 pixels wide

# What people call the kinds of notes in a journal.
NOTES: Final = {"before": "expected", "after": "found"}

# A verdict is told by its word, its sign and its colour, so that any one of them is enough.
SIGNS: Final = {
    "better": "▲",
    "worse": "▼",
    "no evidence": "○",
    "confounded": "◆",
    "one seed": "·",
    "diverged": "✕",
}

# GitHub's Markdown takes each of these for the beginning of something in some place; "$" begins a formula.
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]#|~$])")
NUMBERS: Final = ("parameters", "effect, points", "seconds")
NOTHING: Final = "no step has a result yet; one has when a run of it is over."
LEGEND: Final = "Mean ± s.d. (n seeds) \\[95 % interval: Student's over seeds, for one Wilson's over images\\]."
_FORMULA: Final = ("=", "+", "-", "@")


def journal_text(journal: Journal, *, width: int = WIDTH) -> str:
    """The steps as a table `width` columns wide, then what people noted of them, then what to mind.

    Columns that say nothing in this journal are left out, and so are the run and the seconds where there is no room.
    """
    if not journal.rows:
        return NOTHING
    table = _table(journal, width)
    return "\n".join(
        [
            *table,
            "",
            *(hanging("", told) for told in (_held_against(journal), _left_out(table)) if told),
            *(line for row in journal.rows for line in _words_of(row)),
            *(hanging("mind", flag) for flag in journal.flags),
        ]
    ).rstrip("\n")


def journal_rows(journal: Journal) -> list[dict[str, Any]]:
    """A row a step for programs: accuracies and effects as fractions, ids in full, every word as it is on record."""
    return [
        {
            "number": row.number,
            "parent": row.parent,
            "name": row.name,
            "changed": row.changed,
            "params": row.params,
            "epochs": row.epochs,
            "n": row.n,
            "n_diverged": row.n_diverged,
            "part": journal.part,
            "accuracy": None if row.result is None else row.result.mean,
            "sd": None if row.result is None else row.result.sd,
            "low": row.low,
            "high": row.high,
            "effect": None if row.effect is None else row.effect.effect,
            "effect_low": None if row.effect is None else row.effect.low,
            "effect_high": None if row.effect is None else row.effect.high,
            "p": None if row.effect is None else row.effect.p,
            "p_adjusted": row.p_adjusted,
            "verdict": _kind(row) or None,
            "sentence": None if row.verdict is None else row.verdict.sentence,
            "seconds": row.seconds,
            "run": row.run,
            "recipe_hash": row.recipe_hash,
            **_flat_note("expected", row.before),
            **_flat_note("found", row.after),
            "flags": "; ".join(row.flags),
        }
        for row in journal.rows
    ]


def journal_markdown(journal: Journal) -> str:
    """The steps as a table for a README, and below it what to mind; every word in it is shown as it was written.

    Columns that say nothing in this journal are left out.
    """
    cells = [_markdown_cells(row, journal.part) for row in journal.rows]
    heads = [head for head in (cells[0] if cells else ()) if any(line[head] for line in cells)]
    flags = [*journal.flags, *(f"step {row.number}: {flag}" for row in journal.rows for flag in row.flags)]
    lines = [
        heads,
        ["---:" if head in NUMBERS else "---" for head in heads],
        *([line[head] for head in heads] for line in cells),
    ]
    parts = [
        "\n".join(f"| {' | '.join(line)} |" for line in lines if line),
        f"{LEGEND} {in_markdown(_held_against(journal))}".rstrip(),
        "\n".join(f"- {in_markdown(flag)}" for flag in flags),
    ]
    return "\n\n".join(part for part in parts if part) if cells else NOTHING


def write_journal(store: Store, journal: Journal, path: Path | None = None) -> Path:
    """Write the journal as one page with small pictures of how each step learned and what it reached.

    path: where to; by default named after the study, in the home's `journals`.

    Raises:
        UsageError, MissingError: a folder that cannot be made.
    """
    path = path or store.home / "journals" / f"{_page_name(journal.study)}.html"
    folder = make_folder(path.parent)
    is_drawn = len(journal.rows) <= MOST_DRAWN
    learned = {row.number: _learned(store, row) for row in journal.rows} if is_drawn else {}
    results = _scale(error for row in journal.rows for error in _errors(row))
    validation = _scale(1 - accuracy for seeds in learned.values() for seed in seeds for _, accuracy in seed)
    longest = max((epoch for seeds in learned.values() for seed in seeds for epoch, _ in seed), default=1)
    link = report_links(store, folder)
    page = render(
        "journal.html",
        journal=journal,
        title=journal.study or "all runs",
        is_drawn=is_drawn,
        most_drawn=MOST_DRAWN,
        held_against=_held_against(journal),
        axis=_axis(results),
        ticks=_ticks_drawn(results),
        validation=validation if any(learned.values()) else None,
        longest=longest,
        signs=SIGNS,
        rows=[
            {
                "row": row,
                "kind": _kind(row),
                "p": "" if row.p_adjusted is None else p_value(row.p_adjusted),
                "reached": _reached(row, results),
                "learned": _curves(learned.get(row.number, []), validation, longest),
                "notes": [(NOTES[kind], note) for kind, note in row.notes().items() if note],
                "runs": [(seed, run, link(run)) for seed, run in zip(row.seeds, row.runs, strict=True)],
            }
            for row in journal.rows
        ],
    )
    write_text(path, page)
    return path


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table in a terminal; `optional` ones are shown while there is room, the first of them first."""

    head: str
    cells: list[str]
    is_number: bool = False
    is_optional: bool = False

    @property
    def width(self) -> int:
        return max(len(self.head), *map(len, self.cells))

    def aligned(self) -> Iterator[str]:
        width = self.width
        for cell in (self.head, *self.cells):
            yield cell.rjust(width) if self.is_number else cell.ljust(width)


def _table(journal: Journal, width: int) -> list[str]:
    rows = journal.rows
    before = [
        Column(head="#", cells=[str(row.number) for row in rows], is_number=True),
        Column(head="from", cells=["" if row.parent is None else str(row.parent) for row in rows], is_number=True),
    ]
    after = [
        Column(head="params", cells=[f"{row.params:,}" for row in rows], is_number=True),
        Column(head=f"{journal.part} %", cells=[_result(row) for row in rows]),
        Column(head="n", cells=[str(row.n) for row in rows], is_number=True),
        Column(head="effect", cells=[_effect(row) for row in rows], is_number=True),
        Column(head="verdict", cells=[_kind(row) for row in rows]),
        Column(head="run", cells=[row.run[:SHORT_ID] for row in rows], is_optional=True),
        Column(head="s", cells=[_seconds(row) for row in rows], is_number=True, is_optional=True),
    ]
    changed = [_changed(row) for row in rows]
    wanted = max(map(columns, changed))
    before, after = ([column for column in some if any(column.cells)] for some in (before, after))
    room = width - sum(column.width + len(GAP) for column in (*before, *after) if not column.is_optional)
    shown = []
    for column in after:
        if column.is_optional:
            if room - column.width - len(GAP) < min(wanted, FEWEST_COLUMNS):
                continue
            room -= column.width + len(GAP)
        shown.append(column)
    room = max(min(room, wanted), len("what changed"))
    told = [padded(cut(text, room), room) for text in ("what changed", *changed)]
    cells = [*(column.aligned() for column in before), told, *(column.aligned() for column in shown)]
    return [GAP.join(line).rstrip() for line in zip(*cells, strict=True)]


def _changed(row: Row) -> str:
    """What a step changed; where it changed nothing known, what it is."""
    return plain(row.changed) if row.parent is not None else f"{row.changed}: {plain(row.name)}"


def _result(row: Row) -> str:
    """Mean and spread in percent; one seed has no spread."""
    if row.result is None:
        return "-"
    mean = f"{100 * row.result.mean:.2f}"
    return mean if row.result.sd is None else f"{mean} ± {100 * row.result.sd:.2f}"


def _effect(row: Row) -> str:
    return "" if row.effect is None else in_points(row.effect.effect)


def _kind(row: Row) -> str:
    return "" if row.verdict is None else row.verdict.kind


def _seconds(row: Row) -> str:
    return "" if row.seconds is None else f"{row.seconds:,.0f}"


def cut(text: str, width: int) -> str:
    """The beginning of a text that fits, with … where something is missing.

    >>> cut("lr 0.1 → 0.05", 9)
    'lr 0.1 →…'
    """
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += columns(character)
        if used > width:
            break
        kept.append(character)
    return f"{''.join(kept).rstrip()}…"


def _held_against(journal: Journal) -> str:
    """What the effects and verdicts of this journal mean; nothing where it has none."""
    if not any(row.effect for row in journal.rows):
        return ""
    tested = sum(row.p_adjusted is not None for row in journal.rows)
    holm = f"; verdicts hold for all {tested} tests together (Holm)" if tested > 1 else ""
    return f"Effects are points of {journal.part} accuracy, against the step that each was changed from{holm}."


def _left_out(table: list[str]) -> str:
    """What the columns without a whole word mean, and where those are that found no room."""
    heads = table[0].split()
    seconds = "s: median seconds of training a seed. " if "s" in heads else ""
    return seconds + ("" if "run" in heads else "A wider terminal, --md and --html name the runs.")


def _words_of(row: Row) -> Iterator[str]:
    """What people wrote of a step and what to mind about it."""
    label = f"step {row.number}"
    for kind, note in row.notes().items():
        if note is not None:
            yield hanging(label, f"{NOTES[kind]}: {note.text} ({_signed(note)})")
            label = ""
    for flag in row.flags:
        yield hanging(label, f"mind: {flag}")
        label = ""


def _signed(note: Note) -> str:
    return f"{note.author}, {note.written_at:%Y-%m-%d}"


def _flat_note(name: str, note: Note | None) -> dict[str, str | None]:
    return {
        name: None if note is None else note.text,
        f"{name}_by": None if note is None else note.author,
        f"{name}_at": None if note is None else note.written_at.isoformat(timespec="seconds"),
    }


def _markdown_cells(row: Row, part: str) -> dict[str, str]:
    """The cells of a row by the heads of their columns."""
    came_from = "" if row.parent is None else f" (from {row.parent})"
    return {
        "step": f"{row.number}{came_from}",
        "what changed": in_markdown(_changed(row)),
        "parameters": f"{row.params:,}",
        f"{part} accuracy, %": _result_with_interval(row),
        "effect, points": _effect(row),
        "verdict": _verdict_with_p(row),
        "seconds": _seconds(row),
        "run": f"`{row.run[:SHORT_ID]}`",
        **{
            NOTES[kind]: "" if note is None else in_markdown(f"{note.text} ({_signed(note)})")
            for kind, note in row.notes().items()
        },
    }


def _result_with_interval(row: Row) -> str:
    if row.result is None or row.low is None or row.high is None:
        return f"diverged ({row.n_diverged})" if row.n_diverged else ""
    # The brackets are escaped: with a link's name elsewhere in the document they would be a link.
    return f"{_result(row)} ({row.n}) \\[{100 * max(row.low, 0):.2f} to {100 * min(row.high, 1):.2f}\\]"


def _verdict_with_p(row: Row) -> str:
    return _kind(row) if row.p_adjusted is None else f"{_kind(row)} ({p_value(row.p_adjusted)})"


def in_markdown(text: str) -> str:
    """A text that Markdown shows as it is, in one line, in a table too.

    >>> in_markdown("a|b <b>*c*")
    'a\\\\|b &lt;b&gt;\\\\*c\\\\*'
    """
    text = _MARKDOWN.sub(r"\\\1", plain(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\\{text}" if text.startswith(_FORMULA) else text


def _page_name(study: str | None) -> str:
    """Two studies never share a page: where a name had to be altered, or is "all", a piece of its hash tells it."""
    if study is None:
        return "all"
    safe = file_name(study)
    return safe if safe == study != "all" else f"{safe}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


Learned = list[list[tuple[int, float]]]


def _learned(store: Store, row: Row) -> Learned:
    """Validation accuracy by epoch, a line for each seed."""
    found = [
        [(line.epoch, line.validation_accuracy) for line in store.epochs(run) if line.validation_accuracy is not None]
        for run in row.runs
    ]
    return [_thinned(seed) for seed in found if seed]


def _thinned(seed: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """No more points than can be seen; the last is always among them."""
    stride = math.ceil(len(seed) / MOST_POINTS)
    return seed[::-stride][::-1]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A logarithmic axis of errors, as fractions: from 99.0 to 99.5 % right is as far as from 98 to 99."""

    least: float
    most: float

    def at(self, error: float) -> float:
        """Where an error stands: 1 at the least, 0 at the most; what lies outside stands at the end."""
        place = math.log(self.most / max(error, self.least)) / math.log(self.most / self.least)
        return min(max(place, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round errors on the axis: two at least, if there are two at all, and four at most."""
        inside: list[float] = []
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
            found = [step * 10.0**power for power in range(-6, 1) for step in steps]
            inside = [error for error in found if self.least <= error <= min(self.most, 1.0)]
            if len(inside) > 1:
                break
        return inside[:: math.ceil(len(inside) / 4)] if inside else []


def _scale(errors: Iterator[float]) -> Scale:
    """An axis that holds all errors; one of 0 stands with half the least of the others."""
    known = list(errors)
    found = [error for error in known if error > 0]
    if not found:
        return Scale(least=0.001, most=1.0)
    least, most = min(found) / (2 if len(found) < len(known) else 1), max(found)
    return Scale(least=least / 1.1, most=most * 1.1)


def _errors(row: Row) -> list[float]:
    """What the axis of results must hold: an interval that reaches beyond 100 % ends there."""
    if row.result is None or row.low is None or row.high is None:
        return []
    reach = (1 - row.result.mean, 1 - max(row.low, 0.0), 1 - row.high)
    return [error for error in reach if error > 0] or [0.0]


def _reached(row: Row, scale: Scale) -> Markup | str:
    """The result as a dot and its interval as a line through it, on the axis of all rows."""
    if row.result is None or row.low is None or row.high is None:
        return ""
    left, right, dot = (_x(scale, 1 - accuracy) for accuracy in (max(row.low, 0.0), row.high, row.result.mean))
    described = f"{100 * row.result.mean:.2f} %, 95 % interval {100 * row.low:.2f} to {100 * min(row.high, 1):.2f} %"
    return _svg(
        f'<use href="#ticks"/><path class="reach" d="M{left} 9H{right}"/>'
        f'<circle class="{"many" if row.n > 1 else "single"}" cx="{dot}" cy="9" r="3.4"/>',
        described,
        (160, 18),
    )


def _curves(seeds: Learned, scale: Scale, longest: int) -> Markup | str:
    """Validation error by epoch, a thin line a seed; a single epoch is a dot."""
    if not seeds:
        return ""
    drawn = []
    for seed in seeds:
        places = [(_epoch_x(epoch, longest), f"{2 + 24 * scale.at(1 - accuracy):.1f}") for epoch, accuracy in seed]
        if len(places) == 1:
            drawn.append(f'<circle class="many" cx="{places[0][0]}" cy="{places[0][1]}" r="1.8"/>')
        else:
            drawn.append(f'<polyline points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    last = [seed[-1][1] for seed in seeds]
    described = f"validation error by epoch, at the end {100 * (1 - max(last)):.2f} to {100 * (1 - min(last)):.2f} %"
    return _svg("".join(drawn), described, (120, 28))


def _x(scale: Scale, error: float) -> str:
    return f"{4 + 152 * scale.at(error):.1f}"


def _epoch_x(epoch: int, longest: int) -> str:
    return f"{2 + 116 * (epoch - 1) / max(longest - 1, 1):.1f}"


def _axis(scale: Scale) -> Markup:
    """The head of the results' column: what accuracy the thin lines mean."""
    told = "".join(
        f'<text x="{_x(scale, error)}" y="12" text-anchor="middle">{100 * (1 - error):.5g}</text>'
        for error in scale.ticks()
    )
    return _svg(told, "accuracy in per cent", (160, 16))


def _ticks_drawn(scale: Scale) -> Markup:
    from markupsafe import Markup

    return Markup("".join(f'<path class="tick" d="M{_x(scale, error)} 0V18"/>' for error in scale.ticks()))  # noqa: S704  # numbers alone


def _svg(content: str, described: str, size: tuple[int, int]) -> Markup:
    """A small picture; what goes in is made of numbers and our own words."""
    from markupsafe import Markup

    width, height = size
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{described}">'
        f"{content}</svg>"
    )
