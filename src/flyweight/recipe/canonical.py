"""The canonical form of a recipe: the one under which its runs are recorded and found."""

from __future__ import annotations

from flyweight.recipe.recipe import Recipe


def canonical_form(recipe: Recipe, *, data_name: str, n_held_out: int | None) -> Recipe:
    """The recipe with an absolute data path and the number of held-out images that its default stands for.

    data_name: a name, or an absolute path. n_held_out: training images that validate; None where none are held out.

    >>> recipe = Recipe.model_validate({"name": "small", "model": {"net": "flat fc10"}})
    >>> canonical_form(recipe, data_name="mnist", n_held_out=5_000).data.validation
    5000
    """
    changes = {"name": data_name} | ({} if n_held_out is None else {"validation": n_held_out})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})
