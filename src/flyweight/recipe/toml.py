"""TOML text of a recipe: parsed, written, and searched for the line on which a key stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import tomli_w

from flyweight.errors import RecipeError

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"\s*([\w\-.\"' ]+?)\s*=")
_TRIPLE_QUOTES = re.compile(r'"""|' + "'''")
_QUOTED = re.compile(r"""\"[^"]*\"|'[^']*'""")
MAX_DOTS: Final = 1_000
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def parse_toml(text: str, label: str) -> dict[str, Any]:
    """The document as nested dicts; `label` names the text in an error.

    Raises:
        RecipeError: text that is not TOML, with line and column.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MAX_DOTS and _QUOTED.sub("", line).count(".") > MAX_DOTS:  # tomllib would take hours
            raise RecipeError(f"{label}, line {number}: a key must have at most {MAX_DOTS} parts.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise RecipeError(f"{label}: not valid TOML: brackets are nested too deeply.") from None
    except ValueError as error:
        raise RecipeError(_syntax_fault(text, label, str(error))) from None


def _syntax_fault(text: str, label: str, message: str) -> str:
    place = _PLACE.search(message)
    what = _PLACE.sub("", message)
    hint = " Text must stand in quotes, a number starts with a digit." if what == "Invalid value" else ""
    if place is None:
        return f"{label}: not valid TOML: {what}."
    line = place["line"] or str(max(1, len(text.splitlines())))
    column = f", column {place['column']}" if place["column"] else ", at the end"
    return f"{label}, line {line}{column}: not valid TOML: {what}.{hint}"


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line (from 1) of each section header and key, for error messages; unusual forms are left out.

    >>> key_lines('name = "a"\\n[train]\\nlr = 0.1')
    {('name',): 1, ('train',): 2, ('train', 'lr'): 3}
    """
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    is_inside_text = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not is_inside_text:
            if header := _HEADER.match(line):
                section = _parts(header[1])
                found.setdefault(section, number)
            elif assignment := _ASSIGNMENT.match(line):
                found.setdefault(section + _parts(assignment[1]), number)
        is_inside_text ^= len(_TRIPLE_QUOTES.findall(line)) % 2 == 1
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def format_toml(values: Mapping[str, Any]) -> str:
    """Nested dicts, one level of sections, as a document; None and empty sections are left out."""
    known = _without_none(values)
    return tomli_w.dumps({key: value for key, value in known.items() if value != {}})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def format_value(value: str | bool | int | float) -> str:
    """One value as TOML.

    >>> format_value(0.1), format_value(True), format_value('a "b"')
    ('0.1', 'true', '"a \\\\"b\\\\""')
    """
    return tomli_w.dumps({"value": value}).removeprefix("value = ").removesuffix("\n")
