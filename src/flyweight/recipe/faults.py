"""All faults of a recipe in one error, in the words of its keys.

Goes in: the errors of pydantic. Comes out: `Fault` values with the key, what it must be, and what was found; the
messages of pydantic are not used.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flyweight.errors import RecipeError, nearest
from flyweight.recipe.keys import accepts, bound, fields_of, section_of
from flyweight.recipe.toml import format_value

Location = tuple[str, ...]
MAX_FAULTS: Final = 100  # of a recipe in one error
_MAX_LENGTH = 60
# Names that other tools use and whose spelling does not resemble ours.
_FOREIGN_NAMES = {
    "learning_rate": "train.lr",
    "beta1": "train.momentum",
    "beta_1": "train.momentum",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: its key, and a sentence."""

    location: Location
    message: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where the values of a recipe were written, and the faults found before the values were checked.

    places: the place of each location in words ("mine.toml, line 4"); () is the recipe as a whole.
    """

    places: Mapping[Location, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def place(self, location: Location) -> str:
        """The place of a key, else of the table around it, else of a key under it, else of the recipe."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.places:
                return self.places[location[:length]]
        under = (known for known in self.places if known[: len(location)] == location)
        return self.places.get(next(under, ()), "")


def error_for(faults: Iterable[Fault], origins: Origins) -> RecipeError:
    """All faults in one error, one line each; of very many, the first."""
    found = list(faults)
    lines = [
        f"{place}: {fault.message}" if (place := origins.place(fault.location)) else fault.message
        for fault in found[:MAX_FAULTS]
    ]
    if len(found) == 1:
        return RecipeError(lines[0])
    more = [f"  and {len(found) - MAX_FAULTS:,} more."] if len(found) > MAX_FAULTS else []
    return RecipeError("\n".join([f"the recipe has {len(found):,} faults:", *(f"  {line}" for line in lines), *more]))


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """The faults that pydantic found in values for `model`; those that are not shown have no message."""
    details = error.errors(include_url=False)
    shown = [
        Fault(location=location, message=message)
        for detail in details[:MAX_FAULTS]
        for location, message in _messages(detail, model)
    ]
    return [*shown, *(Fault(location=tuple(map(str, one["loc"])), message="") for one in details[MAX_FAULTS:])]


def _messages(detail: ErrorDetails, model: type[BaseModel]) -> list[tuple[Location, str]]:
    location, found = tuple(str(part) for part in detail["loc"]), detail["input"]
    fields = fields_of(model)
    if detail["type"] == "missing":
        required = [key for key, one in fields.items() if one.is_required() and _is_under(location, key)]
        return [(tuple(key.split(".")), f"{key} must be given: {accepts(fields[key])}.") for key in required]
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return [(location, _unknown(key, found, model))]
    if key not in fields:
        return [(location, f"{key} must be a section, [{key}] with keys under it, found {show(found)}.")]
    return [(location, f"{key} must be {accepts(fields[key])}, found {show(found)}.{_hint(fields[key], found)}")]


def _is_under(location: Location, key: str) -> bool:
    return tuple(key.split("."))[: len(location)] == location


def _unknown(key: str, found: Any, model: type[BaseModel]) -> str:
    known = list(fields_of(model))
    sections = [name for name, one in model.model_fields.items() if section_of(one)]
    if isinstance(found, Mapping) and "." not in key:
        return f"[{key}] is no section of a recipe.{nearest(key, sections)} Sections are {', '.join(sections)}."
    return f"{brief(key)} is not a key of a recipe.{_nearest_key(key, known)}"


# What belongs to one training and its machine.
_OPTIONS = frozenset(("device", "seed", "seeds", "threads", "home", "study"))


def _nearest_key(key: str, known: list[str]) -> str:
    """A similar key of the same section, else the same word in another section, else any similar key."""
    section, _, word = key.rpartition(".")
    if word in _OPTIONS:
        return f" It is no part of a recipe but an option: flyweight train --{word}."
    siblings = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == section}
    elsewhere = {one.rpartition(".")[2]: one for one in reversed(known)}
    close = difflib.get_close_matches(word, siblings, n=1)
    if close and word not in _FOREIGN_NAMES:
        return f" Did you mean {siblings[close[0]]!r}?"
    if word in _FOREIGN_NAMES or word in elsewhere:
        return f" Did you mean {_FOREIGN_NAMES.get(word) or elsewhere[word]!r}?"
    close = difflib.get_close_matches(word, elsewhere, n=1)
    return f" Did you mean {elsewhere[close[0]]!r}?" if close else " `flyweight recipes --keys` lists them."


def _hint(field: Any, found: Any) -> str:
    if isinstance(found, str):
        words = getattr(field.annotation, "__args__", ())
        return nearest(found, [word for word in words if isinstance(word, str)])
    # Momentum is from 0 to 1 as well, but is never given in percent: the description says which values are shares.
    is_share = 1 in (bound(field, "le"), bound(field, "lt")) and re.search("fraction|share", field.description, re.I)
    if is_share and isinstance(found, int | float) and 1 < found <= 100:
        return f" For {found:g} % write {found / 100:g}."
    return ""


def show(found: Any) -> str:
    """A value as the user wrote it, shortened."""
    if found is None:
        return "none"
    if isinstance(found, Mapping):
        return "a table"
    return brief(format_value(found) if isinstance(found, bool) else repr(found))


def brief(text: str) -> str:
    """A text on one line of at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 3]}..."
