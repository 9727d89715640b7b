"""A recipe that was resolved: its canonical form, its cost and its images, from the command line to the run.

Goes in: a recipe. Comes out: what can be known of it before a run. Images of a user's own are read for it, once; those
of a named set are read when they are asked for. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flyweight.data.facts import DataFacts, ImageSource, SetSizes
from flyweight.model.cost import Cost
from flyweight.recipe import Recipe, canonical_form, recipe_hash

if TYPE_CHECKING:
    from flyweight.data.imageset import ImageSet


@dataclass(frozen=True, kw_only=True)
class ResolvedRecipe:
    """A recipe that can be trained. recipe: in canonical form. source: its images."""

    recipe: Recipe
    cost: Cost
    source: ImageSource

    @cached_property
    def hash(self) -> str:
        """What its runs are recorded under."""
        return recipe_hash(self.recipe)

    @cached_property
    def data(self) -> DataFacts:
        """How many images train and validate."""
        return data_facts(self.recipe, self.source.sizes)

    @property
    def images(self) -> ImageSet:
        """The image set, read at most once."""
        return self.source.images


def source_of(recipe: Recipe, known: ImageSource | None = None) -> ImageSource:
    """The images of a recipe; `known` itself, which may have been read already, if it means the same."""
    source = ImageSource(name=recipe.data.name, resize=recipe.data.resize)
    return known if known is not None and known.is_same(source) else source


def canonical(recipe: Recipe, source: ImageSource | None = None) -> Recipe:
    """The recipe as its runs are recorded, so that its hash finds them; images of the user's own are read for it.

    source: images that may have been read already, taken if they are the recipe's.

    Raises:
        UsageError: neither a known name nor a path. DataError: files that are not what they must be.
    """
    source = source_of(recipe, source)
    return canonical_form(recipe, data_name=source.canonical_name, n_held_out=_held_out(recipe, source.sizes))


def canonical_hash(recipe: Recipe, source: ImageSource | None = None) -> str:
    """The hash under which the runs of a recipe are recorded."""
    return recipe_hash(canonical(recipe, source))


def data_facts(recipe: Recipe, sizes: SetSizes) -> DataFacts:
    """How many images train and validate, as the protocol has it (experiment/splits.py)."""
    n_held_out = _held_out(recipe, sizes) or 0
    n_train = sizes.n_train - n_held_out
    n_validation = {"test": sizes.n_test, "train": sizes.n_train, "validation": sizes.n_validation or n_held_out}
    return DataFacts(
        n_train=min(n_train, recipe.data.train_limit or n_train),
        n_validation=n_validation[recipe.protocol.evaluate_on],
        n_classes=sizes.n_classes,
        shape=sizes.shape,
    )


def _held_out(recipe: Recipe, sizes: SetSizes) -> int | None:
    """How many training images validate; None where a protocol or the set itself has others for it."""
    from flyweight.data.splits import held_out

    if sizes.n_validation is not None or recipe.protocol.evaluate_on != "validation":
        return None
    return held_out(sizes.n_train, recipe.data.validation)
