"""A document as text for a terminal: all steps, one line each, or single steps in full.

Goes in: a document. Comes out: text, and rows for programs; what its reproduction gave is not known here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from flyweight.model.count import count
from flyweight.recipe import all_in_words, diff, flat
from flyweight.reproductions.document import MARKS, Document, Step
from flyweight.reproductions.verdicts import INPUT_SHAPE, headline
from flyweight.tables import as_text, counted, table_of


def document_text(document: Document, *, width: int) -> str:
    """The goal of the document, a line per step, and commands that show more."""
    goal = document.goal
    lines = [
        f"{document.name}  {document.title}",
        *textwrap.wrap(document.about, width),
        f"goal: {goal.accuracy:.1%} with at most {goal.params:,} parameters and {counted(goal.epochs, 'epoch')}",
        "",
    ]
    lines.append(_wrapped(show_rows(document.all_steps), width))
    if document.related:
        names = ", ".join(step.name for step in document.related)
        lines += textwrap.wrap(f"not among its experiments: {names}", width)
    lines += ["", f"show one step: flyweight journey show {document.name} STEP"]
    lines += [f"reproduce them: flyweight journey run {document.name}, or with --quick for a short test"]
    return "\n".join(lines)


def step_text(step: Step, *, width: int) -> str:
    """The settings of a step with their marks, and its claims."""
    recipe = step.recipe
    lines = [f"{step.name}  {step.label}"]
    lines += textwrap.wrap(f"changed from {step.extends}: {_changed(step)}", width) if step.extends else []
    lines += textwrap.wrap(step.notes, width)
    lines += [f"source: {step.link}"] if step.link else []
    values = flat(recipe.model_dump())
    rows = [
        {"key": key, "mark": step.marks[key], "value": _value(values[key], step.alternatives.get(key))}
        for key in values
        if key in step.marks
    ]
    lines += ["", _wrapped(rows, width), ""]
    claims = [{"claim": claim.subject, "mark": claim.mark, "reported": claim.reported} for claim in step.claims]
    lines.append(_wrapped(claims, width))
    lines += ["", *(f"{mark}: {meaning}" for mark, meaning in MARKS.items())]
    lines += [f"train it: flyweight train {step.name}"]
    return "\n".join(lines)


def show_rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A row per step: parameters, main claim, and change."""
    return [
        {
            "step": step.name,
            "params": count(step.recipe.model.net, INPUT_SHAPE).params,
            "reported": claim.reported if (claim := headline(step.claims)) else "",
            "change": f"{step.label}: {_changed(step)}",
        }
        for step in steps
    ]


def _wrapped(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    return as_text(table_of(rows, wraps=True), width=width)


def _changed(step: Step) -> str:
    return all_in_words(diff(step.parent, step.recipe)) if step.parent else step.recipe.model.net


def _value(value: object, alternatives: str | None) -> str:
    shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{shown}  (or {alternatives})" if alternatives else shown
