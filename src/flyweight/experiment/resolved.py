"""A resolved recipe: its canonical form, its cost and its images, from the command line to the run.

In: a recipe. Out: what can be known before a run. A custom image set is read for it, once; a named set is read on first
use. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flyweight.data.facts import DataFacts, ImageSource, SetSizes
from flyweight.errors import UsageError
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
        """The `recipe_hash` of its runs."""
        return recipe_hash(self.recipe)

    @cached_property
    def data(self) -> DataFacts:
        """The numbers of training and validation images."""
        return data_facts(self.recipe, self.source.sizes)

    @property
    def images(self) -> ImageSet:
        """The image set, read at most once."""
        return self.source.images


def source_of(recipe: Recipe, known: ImageSource | None = None) -> ImageSource:
    """The images of a recipe; `known`, which may have been read already, if it is the same set."""
    source = ImageSource(name=recipe.data.name, resize=recipe.data.resize, fit=recipe.data.fit)
    return known if known is not None and known.is_same(source) else source


def canonical(recipe: Recipe, source: ImageSource | None = None) -> Recipe:
    """The recipe in the form that its runs record, so that its hash finds them; a custom image set is read for it.

    source: images that may have been read already, used if they are those of the recipe.

    Raises:
        UsageError: neither a known name nor a path. DataError: files that cannot be read.
    """
    source = source_of(recipe, source)
    return canonical_form(recipe, data_name=source.canonical_name, n_held_out=_held_out(recipe, source.sizes))


def canonical_hash(recipe: Recipe, source: ImageSource | None = None) -> str:
    """The `recipe_hash` of the runs of a recipe."""
    return recipe_hash(canonical(recipe, source))


def data_facts(recipe: Recipe, sizes: SetSizes) -> DataFacts:
    """The numbers of training and validation images by the protocol (experiment/splits.py)."""
    n_held_out = _held_out(recipe, sizes) or 0
    n_train = sizes.n_train - n_held_out
    n_validation = {"test": sizes.n_test, "train": sizes.n_train, "validation": sizes.n_validation or n_held_out}
    return DataFacts(
        n_train=min(n_train, recipe.data.train_limit or n_train),
        n_validation=n_validation[recipe.protocol.evaluate_on],
        n_classes=sizes.n_classes,
        shape=sizes.shape,
    )


def data_notes(recipe: Recipe, source: ImageSource) -> tuple[str, ...]:
    """What people should know of their own images before training; nothing of a named set, which is not opened."""
    from flyweight.data.notes import notes
    from flyweight.experiment.splits import split_of

    if source.is_named:
        return ()
    try:
        split = split_of(recipe, source.images, seed=0)
        n_train = min(len(split.train), recipe.data.train_limit or len(split.train))
        size = recipe.train.batch_size
        large = f"a batch of {size:,} has all {n_train:,} training images: an epoch is one step"
        return (*notes(source.images, split), *((large,) if size >= n_train else ()))
    except UsageError:  # the split is impossible: an error of the run
        return ()


def _held_out(recipe: Recipe, sizes: SetSizes) -> int | None:
    """How many training images are held out for validation; None if other images validate."""
    from flyweight.data.splits import held_out

    if sizes.n_validation is not None or recipe.protocol.evaluate_on != "validation":
        return None
    return held_out(sizes.n_train, recipe.data.validation)
