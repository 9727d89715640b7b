"""Rows as tables for people: rounded numbers, short notes in the row, long notes below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyweight.bench.rows import Row
from flyweight.tables import WIDTH, display_width


def formatted_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All columns, for a table of any width."""
    return [{"section": row.section, **_figures(row), "note": row.note} for row in rows]


def text_tables(rows: Sequence[Row]) -> list[tuple[str, list[dict[str, Any]], list[str]]]:
    """(section, its rows, its long notes); a row with a long note has the number of the note instead."""
    sections = dict.fromkeys(row.section for row in rows)
    return [(name, *_with_notes([row for row in rows if row.section == name])) for name in sections]


def _with_notes(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    figures = [_figures(row) for row in rows]
    room = WIDTH - sum(max(map(display_width, (name, *(one[name] for one in figures)))) + 1 for name in figures[0])
    long = [note for note in dict.fromkeys(row.note for row in rows) if display_width(note) > room]
    marks = {note: f"({number})" for number, note in enumerate(long, start=1)}
    shown = [{**one, "": marks.get(row.note, row.note)} for one, row in zip(figures, rows, strict=True)]
    return shown, [f"{mark} {note}" for note, mark in marks.items()]


def _figures(row: Row) -> dict[str, str]:
    return {
        "contender": row.contender,
        "quantity": row.quantity,
        "median": number(row.median),
        "quartiles": "" if row.rounds < 2 else f"{number(row.quartile_low)}-{number(row.quartile_high)}",
        "n": str(row.rounds or ""),
        "ratio": "" if row.ratio is None else f"{row.ratio:.2f}",
    }


def number(value: float | None) -> str:
    """Three significant digits, or all digits of the integer part.

    >>> [number(value) for value in (12345.6, 12.34, 0.01234, None)]
    ['12,346', '12.3', '0.0123', '']
    """
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = next((places for limit, places in ((10, 1), (1, 2), (0.1, 3), (0.01, 4)) if abs(value) >= limit), 5)
    return f"{value:.{digits}f}"
