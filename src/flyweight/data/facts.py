"""The sizes of an image set, and a set that is read at most once.

Goes in: the name of a set, or a path. Comes out: sizes, which for a named set need no file, and images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.pictures import Fit

if TYPE_CHECKING:
    from flyweight.data.imageset import ImageSet


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """n_train: images that train in each epoch. n_validation: images that each epoch is evaluated on."""

    n_train: int
    n_validation: int
    n_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SetSizes:
    """Images of a set before the split; n_validation: of its own validation part, if it has one."""

    n_train: int
    n_test: int
    n_validation: int | None
    n_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """An image set by name or path. Reading it may raise UsageError, DataError or MissingError, as `sources.load`."""

    name: str
    resize: int | None = None
    fit: Fit = "stretch"

    @property
    def is_named(self) -> bool:
        """Whether it is a set of the catalogue, not one of the user's own."""
        return self.name in CATALOGUE

    @property
    def canonical_name(self) -> str:
        """The name, or the absolute path."""
        return self.name if self.is_named else str(Path(self.name).expanduser().resolve())

    def is_same(self, other: ImageSource) -> bool:
        """Whether both mean the same images."""
        return (self.canonical_name, self.resize, self.fit) == (other.canonical_name, other.resize, other.fit)

    @cached_property
    def images(self) -> ImageSet:
        """The images, read at the first use."""
        from flyweight.data.sources import load

        return load(self.name, resize=self.resize, fit=self.fit)

    @cached_property
    def sizes(self) -> SetSizes:
        """From the catalogue for a named set; another set is read."""
        named = CATALOGUE.get(self.name)
        if named is None:
            return _sizes(self.images)
        channels, height, width = named.shape
        return SetSizes(
            n_train=named.n_train,
            n_test=named.n_test,
            n_validation=None,
            n_classes=len(named.class_names),
            shape=(channels, self.resize or height, self.resize or width),
        )


def _sizes(images: ImageSet) -> SetSizes:
    return SetSizes(
        n_train=len(images.train_images),
        n_test=len(images.test_images),
        n_validation=None if images.validation_labels is None else len(images.validation_labels),
        n_classes=images.n_classes,
        shape=images.shape,
    )
