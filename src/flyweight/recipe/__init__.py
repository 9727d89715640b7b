"""Recipes: what a run does, as a value that is loaded, compared and written without torch."""

from flyweight.recipe.catalogue import copy, describe, is_recipe, names, text
from flyweight.recipe.difference import Change, diff, recipe_hash, value_at
from flyweight.recipe.keys import Key, keys_table
from flyweight.recipe.reading import draft, dumps, load, loads, override
from flyweight.recipe.recipe import (
    AugmentSection,
    BudgetSection,
    DataSection,
    ModelSection,
    Recipe,
    TargetSection,
    TrainSection,
    keys,
)

__all__ = [
    "AugmentSection",
    "BudgetSection",
    "Change",
    "DataSection",
    "Key",
    "ModelSection",
    "Recipe",
    "TargetSection",
    "TrainSection",
    "copy",
    "describe",
    "diff",
    "draft",
    "dumps",
    "is_recipe",
    "keys",
    "keys_table",
    "load",
    "loads",
    "names",
    "override",
    "recipe_hash",
    "text",
    "value_at",
]
