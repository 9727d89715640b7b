"""What the page of a run shows, as plain values: the integer net, how good it is, images to try.

Goes in: a run on record and its images. Comes out: a `PageContent`; how it looks is not known here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.imageset import ImageSet
from flyweight.data.splits import Split, validation_part
from flyweight.errors import DataError, UsageError
from flyweight.evidence.stats import mean_interval, wilson
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import source_of
from flyweight.experiment.splits import split_of
from flyweight.export.format import IntegerFile, as_values
from flyweight.export.int8 import N_CALIBRATION, quantise
from flyweight.export.integer import IntegerNet, scores
from flyweight.export.subject import subject
from flyweight.model.fold import fold
from flyweight.model.lowered import lower
from flyweight.model.notation import is_own_module
from flyweight.recipe import catalogue, is_recipe
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.records.results import Misread, Predictions, RunResult
from flyweight.records.store import Store

SAMPLES_PER_CLASS: Final = 2
MAX_SAMPLES: Final = 40
MAX_MISREAD: Final = 40
SURE: Final = (0.0, 0.5, 0.8, 0.9, 0.99, 0.999, 1.0)  # edges of the groups of equally sure answers
FALSE_ALARMS: Final = 0.01
MIN_FOR_ALARM: Final = 400  # validation images: half choose the threshold, half measure the rate of false alarms


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """values: of the page, for JSON. title: the name of the net, not escaped."""

    title: str
    values: Mapping[str, Any]


def find_run(name: str, store: Store) -> RunRecord:
    """The run of a selector, or the best finished run of a recipe by its validation accuracy.

    Raises:
        UsageError: there is none, with the command that makes one.
    """
    runs = [run for run in store.runs(name=name, status="finished") if run.validation_accuracy is not None]
    if runs:
        return max(runs, key=lambda run: (run.validation_accuracy, run.id))
    if name in catalogue.names():
        raise UsageError(f"no finished run of {name!r} on record; train one: flyweight train {name}")
    if is_recipe(name):
        return subject(name, store).record
    record = store.get(name)
    if record.status != "finished":
        raise UsageError(
            f"a page needs a finished run, {record.id[:SHORT_ID]} is {record.status}; choose another: flyweight runs"
        )
    return record


def content_of(record: RunRecord, store: Store, *, with_images: bool = False) -> PageContent:
    """Everything of one net that the page shows.

    with_images: embed images of a set that is not of the catalogue; else its images are left out.

    Raises:
        UsageError: what the integer net cannot do. DataError: files or images of the run are missing or changed.
    """
    folder = store.folder(record.id)
    folder.verify()
    result, weights = folder.result(), folder.weights()
    if is_own_module(weights.net):
        raise UsageError("a page needs a net in notation, this one is a module of your own: flyweight show --layers")
    recipe = recipe_of(record)
    images = source_of(recipe).images
    if images.fingerprint != record.data_hash:
        raise DataError(
            f"the images must be those of the run ({record.data_name}, hash {record.data_hash[:12]}), found hash "
            f"{images.fingerprint[:12]}; restore them."
        )
    split = split_of(recipe, images, record.seed)
    lowered = lower(weights.net, weights.input_shape)
    folded = fold(lowered, weights.tensors, weights.mean, weights.std)
    net = quantise(lowered, folded, images.train_images[np.sort(split.train[:N_CALIBRATION])])
    named = CATALOGUE.get(record.data_name)
    is_shown = with_images or named is not None
    values = {
        "file": as_values(IntegerFile(name=record.name, class_names=weights.class_names, net=net)),
        "run": record.id[:SHORT_ID],
        "seed": record.seed,
        "name": record.name,
        "data": record.data_name if named is not None else "images of your own",
        "licence": named.licence if named is not None else "",
        "is_handwriting": bool(named and named.is_handwriting),
        "reading": {"ground": weights.ground, "fit": weights.fit},
        "layers": [_layer(row) for row in result.layers],
        "story": _story(result, record, store),
        "history": [
            {"epoch": line.epoch, "train": line.train_accuracy, "validation": line.validation_accuracy}
            for line in folder.history()
        ],
        "sureness": _sureness(folder.predictions("test")) if result.test is not None else [],
        "unlike": _unlike(net, images, split),
        "samples": _samples(images, split) if is_shown else [],
        "misread": _misread(folder.misread()) if is_shown and result.test is not None else [],
        "has_images": is_shown,
    }
    return PageContent(title=record.name, values=values)


def _layer(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "layer", "kind", "out_shape", "params", "macs", "receptive_field")}


def _story(result: RunResult, record: RunRecord, store: Store) -> dict[str, Any]:
    """Budget, accuracy with its interval, and the other seeds of the same recipe on the same images."""
    alike = store.runs(recipe_hash=record.recipe_hash, data_hash=record.data_hash, status="finished")
    tests = {run.seed: run.test_accuracy for run in alike if run.test_accuracy is not None}
    spread = mean_interval(tests.values()) if len(tests) > 1 else None
    return {
        "net": result.net,
        "params": result.params,
        "budget": result.budget.get("params"),
        "macs": result.macs,
        "epochs": result.epochs,
        "splits": {
            name: {
                "correct": figures.correct,
                "count": figures.count,
                "accuracy": figures.accuracy,
                "interval": list(wilson(figures.correct, figures.count)),
            }
            for name in ("validation", "test")
            if (figures := result.figures(name)) is not None
        },
        "seeds": [{"seed": seed, "accuracy": accuracy} for seed, accuracy in sorted(tests.items())],
        "mean": spread and {"mean": spread.mean, "interval": [spread.low, spread.high], "n": spread.n},
        "test_openings": result.test_openings,
    }


def _sureness(predictions: Predictions) -> list[dict[str, float]]:
    """How often answers that were this sure were right, by group."""
    sure, right = predictions.probabilities.max(1), predictions.predicted == predictions.labels
    found = []
    for low, high in pairwise(SURE):
        among = (sure >= low) & ((sure < high) | (high == SURE[-1]))
        found.append({"from": low, "to": high, "count": int(among.sum()), "correct": int(right[among].sum())})
    return found


def _unlike(net: IntegerNet, images: ImageSet, split: Split) -> dict[str, Any] | None:
    """Below which energy (the log of the sum of exponentials of the logits) an image is unlike those trained on.

    One half of the validation images gives the threshold, the other the rate of false alarms. Liu et al. 2020.
    """
    if len(split.validation) < MIN_FOR_ALARM or split.validated_on != "held out":
        return None
    pixels, _ = validation_part(images, split)
    energies = _energies(scores(net, pixels).astype(np.float64) * net.score_scale)
    threshold = float(np.quantile(energies[::2], FALSE_ALARMS))
    held_out = energies[1::2]
    alarms = int((held_out < threshold).sum())
    return {"threshold": threshold, "alarms": alarms, "count": len(held_out)}


def _energies(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    most = logits.max(1)
    return np.asarray(most + np.log(np.exp(logits - most[:, None]).sum(1)))


def _samples(images: ImageSet, split: Split) -> list[dict[str, Any]]:
    """Some images of each class that were not trained on: of validation, or else of the training images."""
    is_held_out = len(split.validation) and split.validated_on == "held out"
    pixels, labels = validation_part(images, split) if is_held_out else (images.train_images, images.train_labels)
    per_class = max(1, min(SAMPLES_PER_CLASS, MAX_SAMPLES // images.n_classes))
    return [
        {"label": label, "pixels": packed(pixels[row])}
        for label in range(min(images.n_classes, MAX_SAMPLES))
        for row in np.flatnonzero(labels == label)[:per_class]
    ]


def _misread(misread: Misread) -> list[dict[str, Any]]:
    return [
        {
            "label": int(misread.labels[i]),
            "predicted": int(misread.predicted[i]),
            "probability": float(misread.probabilities[i].max()),
            "index": int(misread.indices[i]),
            "pixels": packed(misread.images[i]),
        }
        for i in range(min(MAX_MISREAD, len(misread.labels)))
    ]


def packed(image: NDArray[np.uint8]) -> str:
    """An image (C, H, W) as base64 of its bytes, channels last; a run of zeros is a zero and its length.

    >>> base64.b64decode(packed(np.array([[[7, 0, 0, 0, 9]]], np.uint8))).hex(" ")
    '07 00 03 09'
    """
    found = bytearray()
    zeros = 0
    for value in image.transpose(1, 2, 0).tobytes():
        if value == 0 and zeros < 255:
            zeros += 1
            continue
        if zeros:
            found += bytes((0, zeros))
        zeros = int(value == 0)
        if value:
            found.append(value)
    if zeros:
        found += bytes((0, zeros))
    return base64.b64encode(bytes(found)).decode()
