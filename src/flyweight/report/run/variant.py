"""What a run is called beside others: its recipe with what was changed, its images, and what really computed it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.errors import DataError
from flyweight.recipe import diff_flat, flat, has_effect, is_recipe, load, names, new_in_words
from flyweight.records.record import RunFigures, RunRecord, other_precision
from flyweight.records.run_folder import RunFolder

if TYPE_CHECKING:
    from flyweight.records.store import Store

# Keys that a title shows in another place: beside the recipe, or as the number of images.
SHOWN_ELSEWHERE = ("data.name", "data.train_limit", "train.precision")


def titles(records: Sequence[RunRecord], store: Store) -> dict[str, str]:
    """The title of each run, by its id."""
    on_record = {
        name: flat(recipe) for name, recipe in store.first_recipes({record.name for record in records}).items()
    }
    packaged = {
        name: flat(load(name).model_dump(mode="json")) for name in on_record if is_recipe(name) and name in names()
    }
    bases = on_record | packaged
    return {record.id: title(record, bases[record.name]) for record in records}


def title(record: RunRecord, base: Mapping[str, Any]) -> str:
    """As "own/20k-fast + lr 0.05, mnist 3,000 images"; base: the flat recipe that the name stands for.

    It is the packaged recipe of that name, or else the first on record.
    """
    changes = [
        change
        for change in diff_flat(base, flat(record.recipe))
        # A packaged recipe does not say how many images its default holds out.
        if has_effect(change)
        and change.key not in SHOWN_ELSEWHERE
        and (change.key, change.old) != ("data.validation", None)
    ]
    changed = f" + {', '.join(map(new_in_words, changes))}" if changes else ""
    n_images = record.train_count or record.recipe.get("data", {}).get("train_limit")
    images = f" {n_images:,} images" if n_images else ""
    other = f", in {record.other_precision}" if record.other_precision else ""
    return f"{record.name}{changed}, {data_title(record)}{images}{other}"


def data_title(record: RunFigures) -> str:
    """A named image set, or the name of the file or folder."""
    return Path(record.data_name).name or record.data_name


def computed(folder: RunFolder) -> str | None:
    """What really computed a run, in words; None for a folder that does not say."""
    try:
        facts, recipe = folder.environment(), tomllib.loads(folder.recipe_text())
    except (DataError, tomllib.TOMLDecodeError):
        return None
    precision, other = facts.get("precision", "precision not on record"), other_precision(facts, recipe)
    wanted = f", not {recipe['train']['precision']} as the recipe has it: this device cannot" if other else ""
    threads = f", {facts['threads']} thread{'' if facts['threads'] == 1 else 's'}" if "threads" in facts else ""
    kernels = facts.get("kernels", "not on record")
    return f"in {precision}{wanted}; {facts.get('device', 'device not on record')}{threads}, kernels {kernels}"


def equal_run(record: RunRecord, store: Store) -> str | None:
    """The id of an earlier run with the same recipe, images and seed whose weights are equal to the bit, if any."""
    mine = store.folder(record.id).weights_digest()
    alike = store.runs(
        recipe_hash=record.recipe_hash, data_hash=record.data_hash, split_hash=record.split_hash, purpose="all"
    )
    earlier = [other.id for other in alike if other.seed == record.seed and other.id < record.id]
    return next((other for other in earlier if mine and store.folder(other).weights_digest() == mine), None)
