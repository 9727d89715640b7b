"""What two recipes do differently, and one number that says whether they do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from flyweight.recipe.keys import fields_of
from flyweight.recipe.reading import IDENTITY
from flyweight.recipe.recipe import Recipe

Value = str | bool | int | float | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key that differs; None is a value that is off."""

    key: str
    old: Value
    new: Value


def diff(old: Recipe, new: Recipe) -> tuple[Change, ...]:
    """The keys in which two recipes differ, in the order of the file; name and description do not count."""
    return tuple(
        Change(key=key, old=was, new=now)
        for key in fields_of(Recipe)
        if key not in IDENTITY and (was := value_at(old, key)) != (now := value_at(new, key))
    )


def value_at(recipe: Recipe, key: str) -> Value:
    """The value of a dotted key."""
    value: object = recipe
    for part in key.split("."):
        value = getattr(value, part)
    assert value is None or isinstance(value, str | bool | int | float)
    return value


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 (hex) of everything but name and description: equal if and only if `diff` is empty."""
    values = recipe.model_dump(mode="json", exclude=set(IDENTITY))
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
