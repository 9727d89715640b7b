"""The pictures of a comparison: how both sides learned, and the images that they classify differently.

Everything is made from records and run folders; what a folder no longer has is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError
from flyweight.evidence.compare import Comparison, ImageDifference
from flyweight.evidence.groups import Group
from flyweight.records.record import RunRecord
from flyweight.tables import plain

if TYPE_CHECKING:
    from flyweight.records.store import Store

PICTURES: Final = ("curves", "images")


def pictures_of(store: Store, comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> dict[str, bytes]:
    """PNG files by name, as far as there is something to show."""
    from flyweight.report.run import plots

    found = {}
    sides = [
        (f"{name} (n={group.n})", seeds)
        for name, group in zip(comparison.names(), (comparison.baseline, comparison.changed), strict=True)
        if (seeds := _learned(store, group))
    ]
    if sides:
        found["curves"] = plots.learning(sides)
    if pixels:
        found["images"] = plots.captioned(_blocks(store, comparison, pixels))
    return found


def _learned(store: Store, group: Group[RunRecord]) -> list[dict[int, float]]:
    """Validation accuracy by epoch, seed by seed; of diverged runs only where there are no others."""
    found = [
        {line.epoch: line.validation_accuracy for line in store.epochs(run.id) if line.validation_accuracy is not None}
        for run in (group.runs or group.diverged)
    ]
    return [seed for seed in found if seed]


def _blocks(
    store: Store, comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]
) -> list[tuple[str, list[NDArray[np.uint8]], list[str]]]:
    """What is gained and what is lost, each with its images and what stands above them."""
    assert comparison.images is not None
    names = _class_names(store, comparison)
    n = comparison.baseline.n, comparison.changed.n
    shown = [image for image in comparison.images.differing if image.index in pixels]
    gained = [image for image in shown if image.changed > image.baseline]
    lost = [image for image in shown if image.changed < image.baseline]
    return [
        (heading, [pixels[image.index] for image in some], [_caption(image, n, names) for image in some])
        for heading, some in (
            (f"newly correct ({len(gained)} of {comparison.images.gained})", gained),
            (f"newly wrong ({len(lost)} of {comparison.images.lost})", lost),
        )
    ]


def _caption(image: ImageDifference, n: tuple[int, int], names: Sequence[str]) -> str:
    """The true class, and how many seeds classify it right, before and now."""
    name = plain(names[image.label]) if image.label < len(names) else str(image.label)
    before, now = (f"{round(share * of)}/{of}" for share, of in zip((image.baseline, image.changed), n, strict=True))
    return f"{name}\n{before} → {now}"


def _class_names(store: Store, comparison: Comparison) -> tuple[str, ...]:
    """From the first run folder that has them; none if no folder has."""
    for run in _measured(comparison):
        try:
            return store.folder(run.id).result().class_names
        except DataError:
            continue
    return ()


def differing_images(store: Store, comparison: Comparison) -> dict[int, NDArray[np.uint8]]:
    """The images that the sides classify differently, by their place in the test set, as far as run folders keep them.

    An image that most seeds of a side misclassify is likely among the images that one of them kept.
    """
    if comparison.part != "test" or comparison.images is None:
        return {}
    wanted = {image.index for image in comparison.images.differing}
    found: dict[int, NDArray[np.uint8]] = {}
    for run in _measured(comparison):
        if wanted <= found.keys():
            break
        try:
            misread = store.folder(run.id).misread()
        except DataError:
            continue
        indices = map(int, misread.indices)
        found |= {index: image for index, image in zip(indices, misread.images, strict=True) if index in wanted}
    return found


def _measured(comparison: Comparison) -> tuple[RunRecord, ...]:
    return (*comparison.baseline.runs, *comparison.changed.runs)


def images_note(comparison: Comparison, pixels: Mapping[int, NDArray[np.uint8]]) -> str:
    """What the picture shows, and which images it should show and cannot."""
    images = comparison.images
    if images is None:
        return "Unknown; the notes say why."
    if not images.differing:
        return "None: most seeds of both classify the same images correctly."
    counted = f"{images.gained:,} images are newly correct, {images.lost:,} newly wrong."
    if comparison.part != "test":
        return f"{counted} They cannot be shown: run folders only have images of the test set."
    if pixels:
        counted += " Above each image: its class, and how many seeds classify it correctly, baseline → changed."
    missing = len(images.differing) - len(pixels)
    if missing:
        counted += (
            f" {missing} of {len(images.differing)} cannot be shown: a run folder only has the 100 most confident "
            "mistakes, or a folder is missing."
        )
    return counted
