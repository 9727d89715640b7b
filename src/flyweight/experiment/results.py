"""What a finished training leaves in its run folder: weights, predictions, misread images, figures, checksums."""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from safetensors.torch import save
from torch import nn

from flyweight.experiment.reported import last_row
from flyweight.experiment.setup import Workbench
from flyweight.model.cost import Cost
from flyweight.recipe import Recipe, protocol_words
from flyweight.records import folder as files
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.device import peak_memory_bytes
from flyweight.train.evaluate import Evaluation
from flyweight.train.loop import Outcome
from flyweight.train.metrics import EpochMetrics
from flyweight.train.training import Training

CHECKPOINT: Final = "checkpoint.safetensors"

MOST_MISREAD_KEPT: Final = 100
METRICS_COLUMNS: Final = tuple(EpochMetrics.__annotations__)


def metrics_csv(history: list[EpochMetrics]) -> str:
    """One line per epoch; losses are means per image, accuracies fractions."""
    lines = [",".join(METRICS_COLUMNS)]
    lines += [",".join(f"{getattr(line, column):.10g}" for column in METRICS_COLUMNS) for line in history]
    return "\n".join(lines) + "\n"


def keep_results(
    recipe: Recipe, record: RunRecord, cost: Cost, bench: Workbench, outcome: Outcome, *, store: Store
) -> dict[str, Any]:
    """Measure the net that the recipe keeps, write the run folder, and return the columns of the record.

    A training that diverged has nothing to measure; its folder still says what happened. The test images are looked
    at here and, unless a protocol has it otherwise, nowhere else, once; the record counts it.
    """
    folder, training = store.folder(record.id), bench.training
    openings = store.get(record.id).test_openings
    result = {**_facts(recipe, record, cost, bench, outcome), "told": last_row(folder), "test_openings": openings}
    columns: dict[str, Any] = {}
    if outcome.status == "finished" and training.best_epoch:
        net = _kept(recipe, training)
        validation, train = bench.evaluate(net, *bench.validation), bench.evaluate(net, *bench.trained_on)
        result["test_openings"] = store.open_test(record.id, "final figure of the run")
        test = bench.evaluate(net, bench.image_set.test_images, bench.image_set.test_labels)
        measured = {"train": train, "validation": validation, "test": test}
        result |= {split: _figures(evaluation) for split, evaluation in measured.items()}
        columns = {f"{split}_{name}": value for split in measured for name, value in result[split].items()}
        columns["best_epoch"] = training.best_epoch
        files.write_bytes(folder / "weights.safetensors", _weights(net, recipe, bench))
        files.write_bytes(folder / "predictions.npz", _predictions(bench, validation, test))
        files.write_bytes(folder / "misread.npz", _misread(bench, test))
    result["total_seconds"] = time.time() - record.started_at.timestamp()
    result["peak_memory_bytes"] = peak_memory_bytes()
    files.write_json(folder / "result.json", result)
    files.write_text(folder / "metrics.csv", metrics_csv(training.history))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    files.write_checksums(folder)
    return columns


def _kept(recipe: Recipe, training: Training) -> nn.Module:
    """The best epoch by validation, or the last, as the recipe says; by the test set only if a protocol has it so."""
    if recipe.train.keep == "best":
        training.result.load_state_dict(training.best_weights)
    return training.result


def _facts(recipe: Recipe, record: RunRecord, cost: Cost, bench: Workbench, outcome: Outcome) -> dict[str, Any]:
    training = bench.training
    return {
        "run": record.id,
        "group": record.group_id,
        "name": recipe.name,
        "seed": record.seed,
        "status": outcome.status,
        "message": outcome.message,
        "net": recipe.model.net,
        "params": cost.params,
        "registered_params": cost.registered_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
        "flash_bytes": cost.flash_bytes,
        "int8_bytes": cost.int8_bytes,
        "budget": {kind: limit for kind, limit in recipe.budget.model_dump().items() if limit is not None},
        "target": recipe.target.accuracy,
        "epochs": len(training.history),
        "best_epoch": training.best_epoch or None,
        "kept": recipe.train.keep,
        "judged_on": recipe.protocol.evaluate_on,
        "protocol": list(protocol_words(recipe)),
        "train": None,
        "validation": None,
        "test": None,
        "train_seconds": training.seconds,
        "images_per_second": _images_per_second(training),
        "data": bench.image_set.name,
        "class_names": list(bench.image_set.class_names),
        "layers": [asdict(row) for row in cost.rows],
    }


def _images_per_second(training: Training) -> float:
    """Over the epochs that were measured; one that a time budget cut off counts what it did."""
    n_images = sum(line.images_per_second * line.seconds for line in training.history)
    return n_images / training.seconds if training.seconds else 0.0


def _figures(evaluation: Evaluation) -> dict[str, float | int]:
    return {"correct": evaluation.correct, "count": evaluation.count, "loss": evaluation.loss}


def _weights(net: nn.Module, recipe: Recipe, bench: Workbench) -> bytes:
    """The file says all that is needed to use it: net, shape, normalisation, names of the classes."""
    image_set = bench.image_set
    metadata = {
        "net": recipe.model.net,
        "input_shape": ",".join(map(str, image_set.shape)),
        "mean": ",".join(map(repr, bench.mean)),
        "std": ",".join(map(repr, bench.std)),
        "classes": json.dumps(list(image_set.class_names)),
        "data": image_set.name,
    }
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}, metadata)


def _predictions(bench: Workbench, validation: Evaluation, test: Evaluation) -> bytes:
    _, validation_labels = bench.validation
    return _npz(
        test_labels=bench.image_set.test_labels,
        test_probabilities=test.probabilities.cpu().numpy(),
        validation_labels=validation_labels,
        validation_probabilities=validation.probabilities.cpu().numpy(),
        validation_indices=bench.split.validation,
    )


def _misread(bench: Workbench, test: Evaluation) -> bytes:
    """The test images with wrong answers, the most confident first."""
    probabilities, labels = test.probabilities.cpu().numpy(), bench.image_set.test_labels
    answers = probabilities.argmax(1)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:MOST_MISREAD_KEPT]
    return _npz(
        images=bench.image_set.test_images[worst],
        labels=labels[worst],
        answers=answers[worst],
        probabilities=probabilities[worst],
        indices=worst,
    )


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
