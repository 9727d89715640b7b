"""Writes the results of a training to its run folder: weights, predictions, misread images, figures, checksums."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any, Final

import numpy as np
from torch import nn

from flyweight.data.imageset import ImageSet
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.experiment.setup import Workbench
from flyweight.model.tied import stored_once
from flyweight.recipe import Recipe, protocol_words
from flyweight.records.record import RunRecord
from flyweight.records.results import Figures, Misread, Predictions, RunResult, Split
from flyweight.records.store import Store
from flyweight.records.weights import Weights
from flyweight.train.device import peak_memory_bytes
from flyweight.train.evaluate import Evaluation
from flyweight.train.outcome import Outcome
from flyweight.train.training import Training

MAX_MISREAD: Final = 100


def write_results(
    resolved: ResolvedRecipe,
    record: RunRecord,
    bench: Workbench,
    outcome: Outcome,
    evaluated: Mapping[Split, Evaluation],
    *,
    store: Store,
) -> dict[str, Any]:
    """Write the run folder of a training that has ended, and return the columns of the record.

    evaluated: the kept net on each split. A diverged training has no net to measure; its folder still gets a result.
    """
    recipe, cost, training = resolved.recipe, resolved.cost, bench.training
    folder = store.folder(record.id)
    measured = {split: Figures(correct=one.correct, count=one.count, loss=one.loss) for split, one in evaluated.items()}
    columns: dict[str, Any] = {}
    if measured:
        n_classes = bench.image_set.n_classes
        columns = {f"{split}_{name}": value for split in measured for name, value in asdict(measured[split]).items()}
        columns["best_epoch"], test = training.best_epoch or None, evaluated.get("test")
        folder.write_weights(_weights(training.result, recipe, bench))
        folder.write_predictions(
            validation=predictions_of(evaluated.get("validation"), bench.validation[1], n_classes),
            test=None if test is None else predictions_of(test, bench.image_set.test_labels, n_classes),
            validation_indices=bench.split.validation,
        )
        if test is not None:
            folder.write_misread(misread_of(bench.image_set, test))
    reported = folder.reported().epochs
    result = RunResult(
        run=record.id,
        group=record.group_id,
        name=recipe.name,
        seed=record.seed,
        status=outcome.status,
        message=outcome.message,
        net=recipe.model.net,
        params=cost.params,
        registered_params=cost.registered_params,
        macs=cost.macs,
        activation_bytes=cost.activation_bytes,
        flash_bytes=cost.flash_bytes,
        int8_bytes=cost.int8_bytes,
        budget=recipe.budget.model_dump(exclude_none=True),
        target=recipe.target.accuracy,
        epochs=len(training.history),
        best_epoch=training.best_epoch or None,
        kept=recipe.train.keep,
        judged_on=recipe.protocol.evaluate_on,
        protocol=tuple(protocol_words(recipe)),
        train_seconds=training.seconds,
        images_per_second=_images_per_second(training),
        data=bench.image_set.name,
        class_names=tuple(bench.image_set.class_names),
        layers=tuple(asdict(row) for row in cost.rows),
        train=measured.get("train"),
        validation=measured.get("validation"),
        test=measured.get("test"),
        reported=reported[-1] if reported else None,
        test_openings=store.get(record.id).test_openings,
        total_seconds=time.time() - record.started_at.timestamp(),
        peak_memory_bytes=peak_memory_bytes(),
        n_stacked=bench.environment.get("stacked", 1),
    )
    folder.write_end(result, training.history)
    return columns


def _images_per_second(training: Training) -> float:
    """Over all epochs; one that a time budget cut short counts its finished part."""
    n_images = sum(line.images_per_second * line.seconds for line in training.history)
    return n_images / training.seconds if training.seconds else 0.0


def _weights(net: nn.Module, recipe: Recipe, bench: Workbench) -> Weights:
    image_set = bench.image_set
    return Weights(
        tensors={
            name: tensor.detach().cpu().contiguous().numpy() for name, tensor in stored_once(net.state_dict()).items()
        },
        net=recipe.model.net,
        input_shape=image_set.shape,
        mean=bench.mean,
        std=bench.std,
        class_names=tuple(image_set.class_names),
        data=image_set.name,
        ground=round(fmean(image_set.background)) if image_set.ground is None else image_set.ground,
        fit=recipe.data.fit,
    )


def predictions_of(evaluation: Evaluation | None, labels: np.ndarray, n_classes: int) -> Predictions:
    """evaluation: None of no images. labels: (N,), those of the evaluated images."""
    if evaluation is None:
        return Predictions(labels=labels, probabilities=np.zeros((0, n_classes), np.float32))
    return Predictions(labels=labels, probabilities=evaluation.probabilities.cpu().numpy())


def misread_of(image_set: ImageSet, test: Evaluation) -> Misread:
    """The test images that the net gets wrong, the most confident mistakes first."""
    predictions = predictions_of(test, image_set.test_labels, image_set.n_classes)
    predicted, labels, probabilities = predictions.predicted, predictions.labels, predictions.probabilities
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:MAX_MISREAD]
    return Misread(
        images=image_set.test_images[worst],
        labels=labels[worst],
        predicted=predicted[worst],
        probabilities=probabilities[worst],
        indices=worst,
    )
