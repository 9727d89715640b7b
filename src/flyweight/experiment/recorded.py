"""The recipe of a run on record."""

from __future__ import annotations

from flyweight.errors import RecipeError
from flyweight.recipe import Recipe
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord


def recipe_of(record: RunRecord) -> Recipe:
    """The recorded recipe of a run.

    Raises:
        RecipeError: one that this version cannot read.
    """
    try:
        return Recipe.model_validate(record.recipe)
    except RecipeError as error:
        found = " ".join(str(error).split())
        raise RecipeError(
            f"run {record.id[:SHORT_ID]}: this version cannot read its recipe, written by flyweight "
            f"{record.environment.get('flyweight', 'unknown')} ({found}); use that version."
        ) from error
