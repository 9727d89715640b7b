"""The recipes between two that differ in several things: each one change further, so that each can be credited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flyweight.errors import RecipeError
from flyweight.recipe import Change, Recipe, factor, has_effect, override

if TYPE_CHECKING:
    pass


def ablation_path(changed: Mapping[str, Any], changes: Sequence[Change]) -> tuple[Recipe, ...]:
    """The recipes from the baseline to the changed one, one factor a step, both ends left out.

    changed: the changed recipe as stored. Changes that cannot be meant without one another go together.
    """
    end = Recipe.model_validate(dict(changed))
    steps: dict[str, list[Change]] = {}
    for change in changes:
        steps.setdefault(factor(change.key), []).append(change)
    # The changes without an effect go with the first step: they are part of the way and cost no step of their own.
    idle = [change for change in changes if not has_effect(change)]
    names = [name for name, of_step in steps.items() if any(map(has_effect, of_step))]
    found = []
    for done in range(1, len(names)):
        undone = [change for name in names[done:] for change in steps[name] if change not in idle]
        between = _undo(end, undone)
        if between is not None:
            changed_so_far = ", ".join(names[:done])
            found.append(
                between.model_copy(
                    update={
                        "name": f"{end.name}-step{done}-{names[done - 1]}",
                        "description": f"Between two recipes that differ in more: only {changed_so_far} changed.",
                    }
                )
            )
    return tuple(found)


def _undo(recipe: Recipe, changes: Sequence[Change]) -> Recipe | None:
    """The recipe with the old values; None where they cannot be meant with what stays."""
    values = recipe.model_dump()
    for change in changes:
        section, _, name = change.key.partition(".")
        values[section][name] = change.old
    try:
        return override(Recipe.model_validate(values), ())
    except (RecipeError, KeyError, TypeError):
        return None
