"""Recipes: what a run does, as a value that is loaded, compared and written without torch."""

from flyweight.recipe.canonical import canonical_form
from flyweight.recipe.catalogue import copy, describe, document_names, is_recipe, names, own_names, text
from flyweight.recipe.difference import Change, diff, diff_flat, diff_stored, flat, has_effect, recipe_hash, value_at
from flyweight.recipe.keys import Key, keys_table
from flyweight.recipe.optimizers import OptimizerName, OptimizerTraits, optimizer_traits
from flyweight.recipe.protocol import protocol_words
from flyweight.recipe.reading import draft, dumps, load, loads, override, parent
from flyweight.recipe.recipe import (
    AugmentSection,
    BudgetSection,
    DataSection,
    ModelSection,
    ProtocolSection,
    Recipe,
    TargetSection,
    TrainSection,
    keys,
)
from flyweight.recipe.words import all_in_words, factor, in_words, label, net_in_words

__all__ = [
    "AugmentSection",
    "BudgetSection",
    "Change",
    "DataSection",
    "Key",
    "ModelSection",
    "OptimizerName",
    "OptimizerTraits",
    "ProtocolSection",
    "Recipe",
    "TargetSection",
    "TrainSection",
    "all_in_words",
    "canonical_form",
    "copy",
    "describe",
    "diff",
    "diff_flat",
    "diff_stored",
    "document_names",
    "draft",
    "dumps",
    "factor",
    "flat",
    "has_effect",
    "in_words",
    "is_recipe",
    "keys",
    "keys_table",
    "label",
    "load",
    "loads",
    "names",
    "net_in_words",
    "optimizer_traits",
    "override",
    "own_names",
    "parent",
    "protocol_words",
    "recipe_hash",
    "text",
    "value_at",
]
