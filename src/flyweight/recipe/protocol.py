"""What a protocol means for the figures of a run, in plain sentences; docs/recipes.md has the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flyweight.recipe.recipe import Recipe

# Each value of each switch that is not the honest one, in the order of the file.
SENTENCES: Final[Mapping[tuple[str, str | bool], str]] = {
    ("evaluate_on", "test"): "epochs are judged on the test images, and nothing is held out: all training images train",
    ("evaluate_on", "train"): "epochs are judged on the training images, and nothing is held out: all of them train",
    ("evaluate_augmented", True): "what is told is measured on images that are augmented as in training",
    ("shared_transform", "training"): "the validation figures that are told are of augmented images",
    ("shared_transform", "evaluation"): "training images are not augmented: they share the transform of evaluation",
    ("test_every_epoch", True): "the test images are measured after every epoch, so that one can be picked by them",
    ("seed_after_split", True): "each seed splits anew, so that seeds differ in the images that train, too",
    ("last_batch_loss", True): "the training loss that is told is that of the last batch of an epoch",
    ("loss_divided_twice", True): "evaluation losses that are told are sums of batch means over the number of images",
}


def protocol_words(recipe: Recipe) -> tuple[str, ...]:
    """How the figures of a recipe's runs are made otherwise, a sentence for each switch; none where all is honest."""
    switches = recipe.protocol.model_dump()
    return tuple(sentence for (switch, value), sentence in SENTENCES.items() if switches[switch] == value)
