"""Pictures of an image set: a grid of its classes, and what a recipe's augmentation makes of some images."""

from __future__ import annotations

import numpy as np
import torch

from flyweight.data.augment import Augmentation, augment
from flyweight.data.imageset import ImageSet
from flyweight.recipe import Recipe

PER_CLASS, PREVIEWED, VARIANTS = 10, 8, 7


def examples_per_class(image_set: ImageSet, *, count: int = PER_CLASS) -> list[np.ndarray]:
    """For each class up to `count` training images, (n, C, H, W) uint8, the first ones of the set."""
    labels = image_set.train_labels
    return [image_set.train_images[np.flatnonzero(labels == label)[:count]] for label in range(image_set.n_classes)]


def augmented(recipe: Recipe, image_set: ImageSet, *, seed: int, count: int = PREVIEWED) -> np.ndarray:
    """(count, 1 + VARIANTS, C, H, W) uint8: each image, then variants of it as training would see them."""
    settings, generator = Augmentation(**recipe.augment.model_dump()), torch.Generator().manual_seed(seed)
    originals = torch.from_numpy(image_set.train_images[:count]).float()
    variants = [augment(originals.clone(), generator, settings) for _ in range(VARIANTS)]
    stacked = torch.stack([originals, *variants], dim=1)
    found: np.ndarray = stacked.round().clamp(0, 255).byte().numpy()
    return found
