"""What is exported: a trained net with the images that choose its integers and that it is compared on.

Goes in: the id of a run, `@best`, or a recipe, which means its best finished run. Comes out: a `Subject`. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flyweight.data.imageset import ImageSet
from flyweight.data.splits import Split, validated_on
from flyweight.errors import DataError, MissingError, UsageError
from flyweight.experiment.resolved import canonical_hash, source_of
from flyweight.experiment.splits import split_of
from flyweight.model.fold import Folded, fold
from flyweight.model.lowered import Lowered, lower
from flyweight.recipe import Recipe, is_recipe, load, loads
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from flyweight.records.weights import Weights


@dataclass(frozen=True, kw_only=True, eq=False)
class GateImages:
    """pixels: (N, C, H, W) uint8. names: of each image, for people. labels: (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A run, its recipe, its folder and its weights."""

    record: RunRecord
    recipe: Recipe
    folder: RunFolder
    weights: Weights

    @property
    def name(self) -> str:
        return self.record.name

    @cached_property
    def lowered(self) -> Lowered:
        return lower(self.weights.net, self.weights.input_shape)

    @cached_property
    def folded(self) -> tuple[Folded, ...]:
        weights = self.weights
        return fold(self.lowered, weights.tensors, weights.mean, weights.std)

    @cached_property
    def images(self) -> ImageSet:
        """The images of the run.

        Raises:
            MissingError: they are not there any more, or are others.
        """
        name = self.record.data_name
        try:
            found = source_of(self.recipe).images
        except (UsageError, DataError, MissingError) as error:
            raise MissingError(
                f"the images of run {self.record.id[:SHORT_ID]}, {name}, cannot be read, and the export needs them: "
                f"{error}"
            ) from error
        if found.fingerprint != self.record.data_hash:
            raise MissingError(
                f"the images of run {self.record.id[:SHORT_ID]} have changed: {name} must have the SHA-256 "
                f"{self.record.data_hash[:12]}..., found {found.fingerprint[:12]}...; restore them, or train again."
            )
        return found

    @cached_property
    def split(self) -> Split:
        return split_of(self.recipe, self.images, self.record.seed)

    def calibration(self, count: int) -> NDArray[np.uint8]:
        """Training images, a random sample of them."""
        rows = self._trained_on
        return self.images.train_images[np.sort(rows[:count])]

    @property
    def _trained_on(self) -> NDArray[np.int64]:
        return self.split.train[: self.recipe.data.train_limit]

    def gate_images(self, count: int) -> GateImages:
        """Validation images, then training images, `count` of them or all there are."""
        images, labels = validated_on(self.images, self.split)
        held_out = self.split.validation[:count]
        trained = self._trained_on[: count - len(held_out)]
        return GateImages(
            pixels=np.concatenate([images[held_out], self.images.train_images[trained]]),
            labels=np.concatenate([labels[held_out], self.images.train_labels[trained]]),
            names=(
                *(f"validation image {row}" for row in held_out.tolist()),
                *(f"training image {row}" for row in trained.tolist()),
            ),
        )


def subject(selector: str, store: Store) -> Subject:
    """The net of a run, or of the best finished run of a recipe.

    Raises:
        UsageError: no such run or recipe, or one without a trained net. DataError: damaged files.
    """
    record = _best_of(selector, store) if is_recipe(selector) else store.get(selector)
    folder = store.folder(record.id)
    if record.status != "finished":
        raise UsageError(
            f"run {record.id[:SHORT_ID]} has no trained net (status: {record.status}); choose a finished run, see: "
            "flyweight runs"
        )
    folder.verify()
    return Subject(record=record, recipe=loads(folder.recipe_text()), folder=folder, weights=folder.weights())


def _best_of(name: str, store: Store) -> RunRecord:
    """The finished run of a recipe with the best validation accuracy; of equals the newest."""
    recipe = load(name)
    found = [
        one
        for one in store.runs(recipe_hash=canonical_hash(recipe), status="finished")
        if one.validation_accuracy is not None
    ]
    if not found:
        raise UsageError(f"there is no finished run of {name} to export; train one with: flyweight train {name}")
    return max(found, key=lambda one: (one.validation_accuracy or 0.0, one.id))
