"""The augmentation of a recipe on an image set, whose background a warp brings in."""

from __future__ import annotations

from flyweight.data.augment import Augmentation
from flyweight.data.imageset import ImageSet
from flyweight.recipe import Recipe


def augmentation_of(recipe: Recipe, image_set: ImageSet) -> Augmentation:
    """The settings of `[augment]`; without `augment.fill` the fill is the background of the set."""
    settings = recipe.augment.model_dump()
    fill = settings.pop("fill")
    return Augmentation(**settings, fill=image_set.background if fill is None else (fill,) * image_set.shape[0])
