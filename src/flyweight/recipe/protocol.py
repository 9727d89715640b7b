"""What each switch of a protocol changes, as a sentence; docs/recipes.md says why it misleads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flyweight.recipe.recipe import Recipe

# Each value of each switch that is not that of a clean evaluation, in the order of the file.
SENTENCES: Final[Mapping[tuple[str, str | bool], str]] = {
    (
        "evaluate_on",
        "test",
    ): "epochs are evaluated on the test images; nothing is held out, so all training images train",
    ("evaluate_on", "train"): "epochs are evaluated on the training images; nothing is held out, so all of them train",
    ("evaluate_augmented", True): "the reported metrics are of images that are augmented as in training",
    ("shared_transform", "training"): "the reported validation metrics are of augmented images",
    ("shared_transform", "evaluation"): "training images are not augmented: they share the transform of the evaluation",
    (
        "test_every_epoch",
        True,
    ): "the test images are evaluated after every epoch, so that the best epoch can be chosen by them",
    ("seed_after_split", True): "each seed has its own split, so that seeds also differ in the images that train",
    ("last_batch_loss", True): "the reported training loss is that of the last batch of an epoch",
    ("loss_divided_twice", True): "reported evaluation losses are sums of batch means divided by the number of images",
}


def protocol_words(recipe: Recipe) -> tuple[str, ...]:
    """A sentence for each switch of the protocol that is on; none for a clean evaluation."""
    switches = recipe.protocol.model_dump()
    return tuple(sentence for (switch, value), sentence in SENTENCES.items() if switches[switch] == value)
