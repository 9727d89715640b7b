"""Images to look at before training: some of each class, and a few as a recipe augments them."""

from __future__ import annotations

import numpy as np

from flyweight.data.imageset import Images, ImageSet
from flyweight.recipe import Recipe

PER_CLASS, PREVIEWED, VARIANTS = 10, 6, 7


def examples_per_class(image_set: ImageSet, *, count: int = PER_CLASS) -> list[Images]:
    """For each class up to `count` training images, (n, C, H, W), the first ones of the set."""
    labels = image_set.train_labels
    return [image_set.train_images[np.flatnonzero(labels == label)[:count]] for label in range(image_set.n_classes)]


def augmented(image_set: ImageSet, recipe: Recipe, *, seed: int = 0) -> Images:
    """(PREVIEWED, 1 + VARIANTS, C, H, W): some images, each followed by variants of it as training gets them."""
    import torch

    from flyweight.data.augment import augment
    from flyweight.experiment.augmentation import augmentation_of

    settings, generator = augmentation_of(recipe, image_set), torch.Generator().manual_seed(seed)
    originals = torch.from_numpy(image_set.train_images[:PREVIEWED]).float()
    variants = [augment(originals.clone(), generator, settings) for _ in range(VARIANTS)]
    found: Images = torch.stack([originals, *variants], dim=1).round().clamp(0, 255).byte().numpy()
    return found
