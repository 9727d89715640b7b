"""How many images a recipe trains and validates on, and what they look like, as far as that is known without torch.

A named set is not opened for it; one of the user's own must be read.
"""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.facts import DataFacts
from flyweight.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class _SetSizes:
    """Images of a set as it comes; n_validation: of its own validation part, if it brings one."""

    n_train: int
    n_test: int
    n_validation: int | None
    n_classes: int
    shape: tuple[int, int, int]


def sizes_of(recipe: Recipe) -> DataFacts:
    """The sizes with which a recipe trains.

    Raises:
        UsageError: neither a known name nor a path. DataError: files that are not what they must be.
    """
    found = _set_sizes(recipe)
    n_train, n_validation = _parts(recipe, found)
    return DataFacts(
        n_train=min(n_train, recipe.data.train_limit or n_train),
        n_validation=n_validation,
        n_classes=found.n_classes,
        shape=found.shape,
    )


def _parts(recipe: Recipe, found: _SetSizes) -> tuple[int, int]:
    """Images of the training and of the validation part, as the protocol has it (experiment/parts.py)."""
    from flyweight.data.splits import held_out

    match recipe.protocol.evaluate_on:
        case "test":
            return found.n_train, found.n_test
        case "train":
            return found.n_train, found.n_train
        case "validation":
            if found.n_validation is not None:
                return found.n_train, found.n_validation
            n_held_out = held_out(found.n_train, recipe.data.validation)
            return found.n_train - n_held_out, n_held_out


def _set_sizes(recipe: Recipe) -> _SetSizes:
    named, resize = CATALOGUE.get(recipe.data.name), recipe.data.resize
    if named is None:
        return _opened(recipe)
    channels, height, width = named.shape
    return _SetSizes(
        n_train=named.n_train,
        n_test=named.n_test,
        n_validation=None,
        n_classes=len(named.class_names),
        shape=(channels, resize or height, resize or width),
    )


def _opened(recipe: Recipe) -> _SetSizes:
    from flyweight.data.sources import load

    images = load(recipe.data.name, resize=recipe.data.resize)
    return _SetSizes(
        n_train=len(images.train_images),
        n_test=len(images.test_images),
        n_validation=None if images.validation_labels is None else len(images.validation_labels),
        n_classes=images.n_classes,
        shape=images.shape,
    )
