"""A journal for people: a table for the terminal and one for a README; and rows for programs.

Goes in: a `Journal`. Comes out: text. Names, notes and changes are other people's words: whatever stands in them, it
stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from flyweight.evidence.journal import Journal, Row
from flyweight.evidence.verdict import p_value
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import Note
from flyweight.report.wording import hanging, in_points
from flyweight.tables import WIDTH, Column, Markdown, Table, as_markdown, as_text, in_markdown, plain

NUMBERS: Final = ("parameters", "effect, points", "seconds")

# What people call the kinds of notes in a journal.
NOTES: Final = {"before": "expected", "after": "found"}
NOTHING: Final = "no step has a result yet; one has when a run of it is over."
LEGEND: Final = "Mean ± s.d. (n seeds) \\[95 % interval: Student's over seeds, for one Wilson's over images\\]."


def journal_text(journal: Journal, *, width: int = WIDTH) -> str:
    """The steps as a table `width` columns wide, then what people noted of them, then notes on the figures.

    Columns that say nothing in this journal are left out, and so are the run and the seconds where there is no room.
    """
    if not journal.rows:
        return NOTHING
    table = as_text(_table(journal), width=width).splitlines()
    return "\n".join(
        [
            *table,
            "",
            *(hanging("", text) for text in (what_effects_are(journal), _left_out(table)) if text),
            *(line for row in journal.rows for line in _words_of(row)),
            *(hanging("note", flag) for flag in journal.flags),
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
            "verdict": kind_of(row) or None,
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
    """A table for a README, and below it notes on the figures; every word in it is shown as it was written.

    Columns that say nothing in this journal are left out.
    """
    if not journal.rows:
        return NOTHING
    cells = [_markdown_cells(row, journal.part) for row in journal.rows]
    headers = [header for header in cells[0] if any(line[header] for line in cells)]
    columns = tuple(Column(header=header, is_number=header in NUMBERS) for header in headers)
    flags = [*journal.flags, *(f"step {row.number}: {flag}" for row in journal.rows for flag in row.flags)]
    parts = [
        as_markdown(Table(columns=columns, rows=tuple(tuple(line[header] for header in headers) for line in cells))),
        f"{LEGEND} {in_markdown(what_effects_are(journal))}".rstrip(),
        "\n".join(f"- {in_markdown(flag)}" for flag in flags),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(journal: Journal) -> Table:
    """Number, origin, change and result of each step; columns that say nothing are left out."""
    columns = (
        Column(header="#", is_number=True),
        Column(header="from", is_number=True),
        Column(header="params", is_number=True),
        Column(header=f"{journal.part} %"),
        Column(header="n", is_number=True),
        Column(header="effect", is_number=True),
        Column(header="verdict"),
        Column(header="run", is_optional=True),
        Column(header="s", is_number=True, is_optional=True),
        Column(header="what changed", wraps=True),
    )
    rows = [
        (
            row.number,
            "" if row.parent is None else row.parent,
            row.params,
            _result(row),
            row.n,
            effect_of(row),
            verdict_of(row),
            row.run[:SHORT_ID],
            _seconds(row),
            _changed(row),
        )
        for row in journal.rows
    ]
    filled = [at for at in range(len(columns)) if any(row[at] != "" for row in rows)]
    return Table(
        columns=tuple(columns[at] for at in filled),
        rows=tuple(tuple(row[at] for at in filled) for row in rows),
    )


def _changed(row: Row) -> str:
    """What a step changed; where it changed nothing known, what it is."""
    return plain(row.changed) if row.parent is not None else f"{row.changed}: {plain(row.name)}"


def _result(row: Row) -> str:
    """Mean and spread in percent; one seed has no spread."""
    if row.result is None:
        return "-"
    mean = f"{100 * row.result.mean:.2f}"
    return mean if row.result.sd is None else f"{mean} ± {100 * row.result.sd:.2f}"


def effect_of(row: Row) -> str:
    return "" if row.effect is None else in_points(row.effect.effect)


def kind_of(row: Row) -> str:
    return "" if row.verdict is None else row.verdict.kind


def verdict_of(row: Row) -> str:
    """The kind of the verdict; of several seeds, which step has only one."""
    kind = kind_of(row)
    return f"one seed in {row.parent}" if kind == "one seed" and row.n > 1 else kind


def _seconds(row: Row) -> str:
    return "" if row.seconds is None else f"{row.seconds:,.0f}"


def what_effects_are(journal: Journal) -> str:
    """What the effects and verdicts of this journal mean; nothing where it has none."""
    if not any(row.effect for row in journal.rows):
        return ""
    tested = sum(row.p_adjusted is not None for row in journal.rows)
    holm = f"; verdicts hold for all {tested} tests together (Holm)" if tested > 1 else ""
    return f"Effects are differences in {journal.part} accuracy, in points, from the step that was changed{holm}."


def _left_out(table: list[str]) -> str:
    """What the columns without a whole word mean, and where those are that found no room."""
    headers = table[0].split()
    seconds = "s: median training time of a seed in seconds. " if "s" in headers else ""
    return seconds + ("" if "run" in headers else "A wider terminal, --md and --html name the runs.")


def _words_of(row: Row) -> Iterator[str]:
    """What people wrote of a step and what must be known of its figures."""
    label = f"step {row.number}"
    for kind, note in row.notes().items():
        if note is not None:
            yield hanging(label, f"{NOTES[kind]}: {note.text} ({_signed(note)})")
            label = ""
    for flag in row.flags:
        yield hanging(label, f"note: {flag}")
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
    """The cells of a row by their column headers."""
    came_from = "" if row.parent is None else f" (from {row.parent})"
    return {
        "step": f"{row.number}{came_from}",
        "what changed": _changed(row),
        "parameters": f"{row.params:,}",
        f"{part} accuracy, %": _result_with_interval(row),
        "effect, points": effect_of(row),
        "verdict": _verdict_with_p(row),
        "seconds": _seconds(row),
        "run": Markdown(f"`{row.run[:SHORT_ID]}`"),
        **{NOTES[kind]: "" if note is None else f"{note.text} ({_signed(note)})" for kind, note in row.notes().items()},
    }


def _result_with_interval(row: Row) -> str:
    if row.result is None or row.low is None or row.high is None:
        return f"diverged ({row.n_diverged})" if row.n_diverged else ""
    return f"{_result(row)} ({row.n}) [{100 * max(row.low, 0):.2f} to {100 * min(row.high, 1):.2f}]"


def _verdict_with_p(row: Row) -> str:
    return verdict_of(row) if row.p_adjusted is None else f"{kind_of(row)} ({p_value(row.p_adjusted)})"
