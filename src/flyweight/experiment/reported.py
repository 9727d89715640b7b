"""What an experiment told of itself, epoch by epoch, where its recipe has a protocol; the honest figures do not depend
on it.

Goes in: a bench and the protocol of its recipe. Comes out: told.json in the run folder, a row per epoch.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Stream, seeds
from flyweight.data.splits import class_counts, validation_part
from flyweight.experiment.reported_metrics import evaluate_as_reported, mean_loss
from flyweight.experiment.setup import Workbench
from flyweight.recipe import ProtocolSection, Recipe
from flyweight.records import folder as files
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.loss import cross_entropy
from flyweight.train.training import Training


class Telling:
    """Measures what the protocol of a recipe tells of each epoch and keeps it; without a protocol it does nothing."""

    def __init__(self, recipe: Recipe, record: RunRecord, bench: Workbench, store: Store) -> None:
        self.recipe, self.record, self.bench, self.store = recipe, record, bench, store
        self.folder = store.folder(record.id)
        self.rows = _rows_before(self.folder, bench.training.epoch)

    def __call__(self, training: Training) -> None:
        """Told of the epoch that was just measured."""
        if self.recipe.protocol == ProtocolSection():
            return
        self.rows.append(self._row(training))
        self._write()

    def end(self, training: Training) -> None:
        """Told of a training that came to its end: at the least, its last epoch has test figures."""
        if self.rows and "test" not in self.rows[-1]:
            self.rows[-1] |= self._tested(training)
            self._write()

    def _write(self) -> None:
        files.write_json(self.folder / files.TOLD, {"epochs": self.rows, "class_counts": self._class_counts()})

    def _row(self, training: Training) -> dict[str, Any]:
        metrics = training.history[-1]
        row: dict[str, Any] = {
            "epoch": metrics.epoch,
            "train": {"accuracy": metrics.train_accuracy, **self._train_loss(training)},
        }
        protocol = self.recipe.protocol
        if protocol.evaluate_on == "validation":
            images, labels = self.bench.validation
            is_augmented = protocol.evaluate_augmented or protocol.shared_transform == "training"
            row["validation"] = self._told(training, images, labels, is_augmented=is_augmented, stream=0)
        if protocol.evaluate_on != "validation" or protocol.test_every_epoch:
            row |= self._tested(training)
        return row

    def _tested(self, training: Training) -> dict[str, Any]:
        """What the experiment called its test figures, of the epoch that was measured last."""
        protocol = self.recipe.protocol
        images, labels = self._tested_on()
        if protocol.evaluate_on != "train":
            epoch = training.history[-1].epoch
            self.store.open_test(self.record.id, f"after epoch {epoch}, as the protocol has it")
        return {"test": self._told(training, images, labels, is_augmented=protocol.evaluate_augmented, stream=1)}

    def _tested_on(self) -> tuple[np.ndarray, np.ndarray]:
        """What the experiment called its test images."""
        images = self.bench.image_set
        if self.recipe.protocol.evaluate_on == "train":
            return images.train_images, images.train_labels
        return images.test_images, images.test_labels

    def _told(
        self, training: Training, images: np.ndarray, labels: np.ndarray, *, is_augmented: bool, stream: int
    ) -> dict[str, Any]:
        recipe, where = self.recipe, self.bench.batches.images.device
        seed = seeds(self.record.seed, Stream.TOLD, training.history[-1].epoch, stream)[0]
        reported = evaluate_as_reported(
            training.result,
            torch.from_numpy(images).to(where),
            torch.from_numpy(labels).to(where),
            mean=self.bench.mean,
            std=self.bench.std,
            batch_size=recipe.train.batch_size,
            augmentation=Augmentation(**recipe.augment.model_dump()) if is_augmented else Augmentation(),
            generator=torch.Generator().manual_seed(seed),
            is_divided_twice=recipe.protocol.loss_divided_twice,
        )
        return asdict(reported)

    def _train_loss(self, training: Training) -> dict[str, float]:
        """Of the last batch, if that is what is told, with its standard error; else the mean over the epoch."""
        if not self.recipe.protocol.last_batch_loss or training.last_batch is None:
            return {"loss": training.history[-1].train_loss}
        logits, labels = training.last_batch
        smoothing = self.recipe.train.label_smoothing
        losses = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        loss, error = mean_loss(losses.double())
        return {"loss": loss, "loss_error": error, "count": len(labels)}

    def _class_counts(self) -> dict[str, tuple[int, ...]]:
        """Images of each class, by which the accuracy of a net that always gives one answer is known."""
        images = self.bench.image_set
        labels = {"test": self._tested_on()[1]}
        if self.recipe.protocol.evaluate_on == "validation":
            labels["validation"] = validation_part(images, self.bench.split)[1]
        return {part: class_counts(these, images.n_classes) for part, these in labels.items()}


def last_row(folder: Path) -> dict[str, Any] | None:
    """What a run told last, from its folder; None for one that has no protocol, or that diverged before."""
    rows: list[dict[str, Any]] = files.read_told(folder).get("epochs", [])
    return rows[-1] if rows else None


def _rows_before(folder: Path, epoch: int) -> list[dict[str, Any]]:
    """The rows that a run which goes on has already, up to where it goes on."""
    return [row for row in files.read_told(folder).get("epochs", ()) if row["epoch"] < epoch]
