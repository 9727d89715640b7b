"""The recipe of a run on record, as this version reads it."""

from __future__ import annotations

from flyweight.errors import RecipeError
from flyweight.recipe import Recipe
from flyweight.records.record import RunRecord


def recipe_of(record: RunRecord) -> Recipe:
    """The recipe of a run as it was recorded.

    Raises:
        RecipeError: one that this version cannot read.
    """
    try:
        return Recipe.model_validate(record.recipe)
    except RecipeError as error:
        found = " ".join(str(error).split())
        raise RecipeError(
            f"run {record.id}: its recipe must be one that this version reads, found one of flyweight "
            f"{record.environment.get('flyweight', 'unknown')} ({found}); use that version."
        ) from error
