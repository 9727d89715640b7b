"""Reads a `Recipe` from a name, a file or a text, and writes it as text.

A file may extend another: its keys replace those of the parent, so that the file *is* the change. The `--set`
overrides replace both. The place of each value is stored until it has been checked.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flyweight import files
from flyweight.errors import DataError, RecipeError, UsageError, in_one_line
from flyweight.recipe import catalogue
from flyweight.recipe.faults import Fault, Location, Origins, brief, show
from flyweight.recipe.recipe import Recipe
from flyweight.recipe.toml import format_toml, key_lines, parse_toml

MAX_BYTES: Final = 10_000_000
MAX_PARTS: Final = 10  # of a key; recipes have keys of two
MAX_EXTENDS: Final = 50
# Keys that only name a recipe: never inherited, hashed or compared.
IDENTITY = ("name", "description")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A text and its name in errors. A recipe of the catalogue has no folder, so that a copy is valid anywhere."""

    label: str
    text: str
    name: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Values as nested dicts, and where each was written."""

    values: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def over(self, parent: _Layer) -> _Layer:
        return _Layer(
            values=_merged(parent.values, self.values),
            places={**parent.places, **self.places},
            faults=parent.faults + self.faults,
        )

    def recipe(self) -> Recipe:
        return Recipe.model_validate(self.values, context=Origins(places=self.places, faults=self.faults))


def load(name_or_path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a catalogue name ("own/20k-fast"), of a file that ends in .toml, or of a net alone.

    A net in notation or FILE:CLASS gives a recipe in which all else has its default.

    overrides: "key.path=value" texts that replace values of the file: TOML, a bare word, or a count such as 20k.

    >>> load("own/20k-fast", overrides=["train.lr=0.02", "budget.params=25k"]).budget.params
    25000

    Raises:
        RecipeError: every fault of the recipe at once, each with its place.
        UsageError: a name that is not in the catalogue. DataError: a file that is missing or not readable.
    """
    return _load(name_or_path, overrides)


@in_one_line
def _load(name_or_path: str | os.PathLike[str], overrides: Sequence[str]) -> Recipe:
    return _overridden(_resolved(_given(name_or_path)), overrides).recipe()


def parent(name_or_path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> Recipe | None:
    """The recipe that this one changes: itself without the overrides, else the one that it extends, else None.

    >>> parent("own/20k-fast", overrides=["train.lr=0.02"]) == load("own/20k-fast")
    True
    """
    if overrides:
        return load(name_or_path)
    source = _given(name_or_path)
    values = parse_toml(source.text, source.label)
    if "extends" not in values:
        return None
    above = _parent(source, values["extends"], source.label)
    return _resolved(above).recipe()


def draft(name_or_path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a recipe as nested tables, unchecked, also of one that does not load; empty if it is not TOML."""
    try:
        return _overridden(_resolved(_given(name_or_path)), overrides).values
    except (UsageError, DataError):
        return {}


def loads(text: str, *, label: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML text; `label` is what the text is called in an error."""
    return _overridden(_resolved(_Source(label=label, text=text)), overrides).recipe()


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with `overrides` applied, checked again."""
    return _overridden(_Layer(values=recipe.model_dump()), overrides).recipe()


def dumps(recipe: Recipe, *, only_changes: bool = False) -> str:
    """The recipe as TOML: `loads(dumps(recipe)) == recipe`. only_changes: leave out what is at its default."""
    return format_toml(recipe.model_dump(exclude_defaults=only_changes))


def _given(name_or_path: str | os.PathLike[str]) -> _Source:
    """What a user names: a recipe or a net. A recipe of a net alone is called "net", or as the class of the module."""
    given = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and catalogue.is_net(given):
        name = given.rpartition(":")[2].strip() or "net"
        text = format_toml({"model": {"net": given}})
        return _Source(label=given, text=text, name=name if name.isidentifier() else "net")
    return _source(name_or_path, Path())


def _source(name_or_path: str | os.PathLike[str], folder: Path | None) -> _Source:
    given = os.fspath(name_or_path)
    if not given.endswith(".toml") and not isinstance(name_or_path, os.PathLike):
        return _Source(label=given, text=catalogue.text(given), name=given)
    if folder is None:
        raise RecipeError(f"a recipe of the catalogue extends a name, found the file {given!r}.")
    path = folder / given
    return _Source(label=str(path), text=_read(path), name=path.stem, folder=path.parent)


def _read(path: Path) -> str:
    try:
        return files.read_bytes(path, max_bytes=MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; `flyweight copy own/20k-fast {path}` makes one.") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise DataError(f"{path} must be text in UTF-8, found other bytes; save it as UTF-8.") from None
    except ValueError:
        raise RecipeError(f"{str(path)!r} is not a valid path of a file.") from None


def _resolved(source: _Source, children: tuple[str, ...] = ()) -> _Layer:
    """The values of a source over those of what it extends."""
    chain = (*children, _same(source))
    if _same(source) in children:
        raise RecipeError(f"a recipe must not extend itself, found {' extends '.join(chain)}.")
    if len(chain) > MAX_EXTENDS:
        raise RecipeError(f"{children[0]}: extends a recipe that extends another, more than {MAX_EXTENDS} times.")
    values = parse_toml(source.text, source.label)
    parent = values.pop("extends", None)
    lines = key_lines(source.text)
    places = {location: f"{source.label}, line {line}" for location, line in lines.items()} | {(): source.label}
    if source.name is not None:
        values.setdefault("name", source.name)
    layer = _Layer(values=_with_data_beside(values, source.folder), places=places)
    if parent is None:
        return layer
    inherited = _resolved(_parent(source, parent, places.get(("extends",), source.label)), chain)
    return layer.over(_anonymous(inherited))


def _with_data_beside(values: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """A relative path in data.name is relative to the file, if it is there; a word alone is the name of a set."""
    data = values.get("data")
    if folder is None or not isinstance(data, dict):
        return values
    name = data.get("name")
    if not isinstance(name, str) or not (os.sep in name or Path(name).suffix):
        return values
    beside = os.path.join(folder, name)
    return values | {"data": {**data, "name": beside}} if os.path.exists(beside) else values


def _same(source: _Source) -> str:
    return source.label if source.folder is None else str(Path(source.label).resolve())


def _parent(source: _Source, parent: Any, place: str) -> _Source:
    if not isinstance(parent, str):
        raise RecipeError(f"{place}: extends must be the name or file of a recipe, found {show(parent)}.")
    try:
        return _source(parent, source.folder)
    except (UsageError, DataError) as error:
        raise RecipeError(f"{place}: extends: {error}") from None


def _anonymous(layer: _Layer) -> _Layer:
    values = {key: value for key, value in layer.values.items() if key not in IDENTITY}
    return _Layer(values=values, places=layer.places, faults=layer.faults)


def _overridden(layer: _Layer, overrides: Sequence[str]) -> _Layer:
    for text in overrides:
        layer = _override_layer(text).over(layer)
    return layer


def _override_layer(text: str) -> _Layer:
    key, equals, value = text.partition("=")
    location = tuple(part.strip() for part in key.split("."))
    place = {location: f"--set {brief(text)}"}
    if not equals or not all(location) or len(location) > MAX_PARTS:
        fault = Fault(location=location, message="must be KEY=VALUE, such as train.lr=0.02.")
        return _Layer(values={}, places=place, faults=(fault,))
    values: Any = _word(value.strip())
    for part in reversed(location):
        values = {part: values}
    return _Layer(values=values, places=place)


def _word(text: str) -> Any:
    """A TOML value, or the text itself where it is none: `cosine` and `20k` need no quotes in a shell."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def _merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """`child` over `parent`, table by table and key by key."""
    merged = dict(parent)
    for key, value in child.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
