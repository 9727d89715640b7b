"""The keys of a recipe: each with its default, what it accepts, and what it means.

Goes in: a pydantic model with sections. Comes out: `Key` values. The error messages, the documentation and
`flyweight recipes --keys` are made from them, so the three cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flyweight.recipe.toml import format_value
from flyweight.tables import Markdown, as_markdown, table_of

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a recipe. `default` is TOML text, "none" for a value that is off, or "required"."""

    key: str
    default: str
    accepts: str
    meaning: str


def keys_of(model: type[BaseModel]) -> tuple[Key, ...]:
    """Every key of `model`, dotted, in the order of the file."""
    return tuple(
        Key(key=key, default=_default(field), accepts=accepts(field), meaning=field.description or "")
        for key, field in fields_of(model).items()
    )


def keys_table(keys: tuple[Key, ...]) -> str:
    """The keys as a Markdown table."""
    rows = [
        {"key": Markdown(f"`{key.key}`"), "default": Markdown(f"`{key.default}`")}
        | {"accepts": key.accepts, "meaning": Markdown(key.meaning)}
        for key in keys
    ]
    return as_markdown(table_of(rows))


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of `model` by dotted key, sections opened."""
    return dict(_leaves(model, ""))


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that is a section, or None for a plain value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def accepts(field: FieldInfo) -> str:
    """What a field accepts, as the end of "must be ..."."""
    kind, is_optional = _kind(field)
    if get_origin(kind) is Literal:
        words = [repr(word) for word in get_args(kind)]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    return _KINDS[kind] + _bounds(field) + (" or 'none'" if is_optional else "")


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from _leaves(section, f"{prefix}{name}.")


def _kind(field: FieldInfo) -> tuple[Any, bool]:
    kind = field.annotation
    if get_origin(kind) not in (Union, UnionType):
        return kind, False
    (inner,) = (part for part in get_args(kind) if part is not NoneType)
    return inner, True


def _bounds(field: FieldInfo) -> str:
    limits = {name: bound(field, name) for name in ("ge", "gt", "le", "lt", "min_length")}
    match limits:
        case {"min_length": int()}:
            return " that is not empty"
        case {"ge": None, "gt": None}:
            return ""
        case {"ge": None, "gt": low, "le": None, "lt": None}:
            return f" above {low:g}"
        case {"ge": None, "gt": low, "le": high}:
            return f" above {low:g} and at most {high:g}"
        case {"ge": low, "le": None, "lt": None}:
            return f" of at least {low:g}"
        case {"ge": low, "le": None, "lt": high}:
            return f" from {low:g} to below {high:g}"
        case {"ge": low, "le": high}:
            return f" from {low:g} to {high:g}"
    raise AssertionError("a field with bounds that no case above names")


def bound(field: FieldInfo, name: str) -> Any:
    """The limit called `name` ("ge", "le" ...) of a field, or None."""
    return next((getattr(limit, name) for limit in field.metadata if hasattr(limit, name)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default is None else format_value(field.default)
