"""The canonical form of a recipe: the one under which its runs are recorded and found."""

from __future__ import annotations

from flyweight.recipe.recipe import Recipe


def canonical_form(recipe: Recipe, *, data_name: str, n_held_out: int | None) -> Recipe:
    """The same from any folder, and whatever a later version holds out by default.

    data_name: a name, or a whole path. n_held_out: training images that validate; None where none are held out.

    >>> recipe = Recipe.model_validate({"name": "small", "model": {"net": "flat fc10"}})
    >>> canonical_form(recipe, data_name="mnist", n_held_out=5_000).data.validation
    5000
    """
    changes = {"name": data_name} | ({} if n_held_out is None else {"validation": n_held_out})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})
