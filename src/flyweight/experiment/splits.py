"""Which images train and which validate: from a recipe, its images and a seed to indices; no torch.

This module does not read or normalise images.
"""

from __future__ import annotations

from flyweight.data.imageset import ImageSet
from flyweight.data.splits import Split, nothing_held_out, split
from flyweight.recipe import Recipe


def split_of(recipe: Recipe, image_set: ImageSet, seed: int) -> Split:
    """The split of a recipe and its protocol."""
    data, protocol = recipe.data, recipe.protocol
    if protocol.evaluate_on != "validation":
        return nothing_held_out(image_set, validated_on=protocol.evaluate_on)
    return split(image_set, seed=_split_seed(recipe, seed), validation=data.validation)


def _split_seed(recipe: Recipe, seed: int) -> int:
    """The split seed of the recipe, or one per seed if the protocol set the seed after the split."""
    if not recipe.protocol.seed_after_split:
        return recipe.data.split_seed
    from flyweight.data.batches import Stream, seeds  # with torch, which no other split needs

    return seeds(seed, Stream.SPLIT, recipe.data.split_seed)[0]
