"""The keys in which two recipes differ, and a hash that is equal where none differs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flyweight.recipe.keys import fields_of
from flyweight.recipe.reading import IDENTITY
from flyweight.recipe.recipe import ProtocolSection, Recipe

Value = str | bool | int | float | None

# Keys that do not change the training: budgets, the target, the batch size of evaluation, and reported metrics.
WITHOUT_EFFECT = (
    "budget.",
    "target.accuracy",
    "train.eval_batch_size",
    "protocol.evaluate_augmented",
    "protocol.test_every_epoch",
    "protocol.last_batch_loss",
    "protocol.loss_divided_twice",
)

# The keys of a clean evaluation; recipes of runs from before there were protocols do not have them.
CLEAN = {f"protocol.{key}": value for key, value in ProtocolSection().model_dump().items()}

# Keys added to a section since, with what recipes without them did.
ADDED: dict[str, Value] = {
    "data.fit": "stretch",
    "augment.flip_probability": 0.0,
    "augment.brightness": 0.0,
    "augment.fill": None,
    "model.start": None,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key that differs; the value None is off."""

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


def diff_stored(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """`diff` of two recipes as records store them; keys that this version does not know come last.

    A recipe without the section `protocol`, from before it existed, has the protocol of a clean evaluation.
    """
    return diff_flat(flat(old), flat(new))


def diff_flat(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """`diff_stored` of recipes that are `flat` already: for thousands of them."""
    keys, old, new = _known_keys(), CLEAN | ADDED | dict(old), CLEAN | ADDED | dict(new)
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in IDENTITY]
    differing.sort(key=lambda key: (keys.get(key, len(keys)), key))
    return tuple(Change(key=key, old=old.get(key), new=new.get(key)) for key in differing)


@functools.cache
def _known_keys() -> dict[str, int]:
    """The position of each key in the file."""
    return {key: position for position, key in enumerate(fields_of(Recipe))}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables as one, by dotted keys.

    >>> flat({"name": "a", "train": {"lr": 0.1}})
    {'name': 'a', 'train.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            for inner, one in flat(value).items():
                found[f"{key}.{inner}"] = one
        else:
            found[key] = value
    return found


def has_effect(change: Change) -> bool:
    """Whether a change can alter the training; a limit on its seconds can, since it can stop it earlier."""
    return change.key == "budget.seconds" or not change.key.startswith(WITHOUT_EFFECT)


def value_at(recipe: Recipe, key: str) -> Value:
    """The value of a dotted key."""
    value: object = recipe
    for part in key.split("."):
        value = getattr(value, part)
    assert value is None or isinstance(value, str | bool | int | float)
    return value


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 (hex) of everything but name and description: equal if and only if `diff` is empty.

    The protocol of a clean evaluation and keys added later, at their defaults, are left out: recipes of before have
    the same hash.
    """
    values = recipe.model_dump(mode="json", exclude=set(IDENTITY))
    if recipe.protocol == ProtocolSection():
        del values["protocol"]
    for key, default in ADDED.items():
        section, name = key.split(".")
        if values[section][name] == default:
            del values[section][name]
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
