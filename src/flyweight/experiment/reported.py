"""The reported metrics of a run whose recipe has a protocol; its clean evaluation does not depend on them.

In: a bench and the protocol of its recipe. Out: reported metrics in the run folder.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Stream, seeds
from flyweight.data.splits import class_counts, validation_part
from flyweight.experiment.augmentation import augmentation_of
from flyweight.experiment.reported_metrics import evaluate_as_reported, mean_loss
from flyweight.experiment.setup import Workbench
from flyweight.recipe import ProtocolSection, Recipe
from flyweight.records.record import RunRecord
from flyweight.records.results import Reported, ReportedEpoch, ReportedFigures, ReportedTraining
from flyweight.records.store import Store
from flyweight.train.loss import cross_entropy
from flyweight.train.training import Training


class ReportedMetricsWriter:
    """Measures and writes what the protocol of a recipe reports of each epoch; without a protocol it does nothing."""

    def __init__(self, recipe: Recipe, record: RunRecord, bench: Workbench, store: Store) -> None:
        self.recipe, self.record, self.bench, self.store = recipe, record, bench, store
        self.folder = store.folder(record.id)
        # A resumed run has those of the epochs before.
        self.epochs = [row for row in self.folder.reported().epochs if row.epoch < bench.training.epoch]

    def on_epoch(self, training: Training) -> None:
        """Add the epoch that has just ended."""
        if self.recipe.protocol == ProtocolSection():
            return
        self.epochs.append(self._epoch(training))
        self._write()

    def on_end(self, training: Training) -> None:
        """Give the last epoch of a finished training its test figures, if it has none."""
        if self.epochs and self.epochs[-1].test is None:
            self.epochs[-1] = replace(self.epochs[-1], test=self._tested(training))
            self._write()

    def _write(self) -> None:
        self.folder.write_reported(Reported(epochs=tuple(self.epochs), class_counts=self._class_counts()))

    def _epoch(self, training: Training) -> ReportedEpoch:
        protocol, validation, test = self.recipe.protocol, None, None
        if protocol.evaluate_on == "validation":
            images, labels = self.bench.validation
            is_augmented = protocol.evaluate_augmented or protocol.shared_transform == "training"
            validation = self._measured(training, images, labels, is_augmented=is_augmented, stream=0)
        if protocol.evaluate_on != "validation" or protocol.test_every_epoch:
            test = self._tested(training)
        epoch = training.history[-1].epoch
        return ReportedEpoch(epoch=epoch, train=self._train(training), validation=validation, test=test)

    def _tested(self, training: Training) -> ReportedFigures:
        """The figures of the last epoch on what the experiment called its test images."""
        protocol = self.recipe.protocol
        images, labels = self._test_images()
        if protocol.evaluate_on != "train":
            epoch = training.history[-1].epoch
            self.store.open_test(self.record.id, f"after epoch {epoch}, as the protocol has it")
        return self._measured(training, images, labels, is_augmented=protocol.evaluate_augmented, stream=1)

    def _test_images(self) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels that the experiment called its test set."""
        images = self.bench.image_set
        if self.recipe.protocol.evaluate_on == "train":
            return images.train_images, images.train_labels
        return images.test_images, images.test_labels

    def _measured(
        self, training: Training, images: np.ndarray, labels: np.ndarray, *, is_augmented: bool, stream: int
    ) -> ReportedFigures:
        recipe, where = self.recipe, self.bench.batches.images.device
        seed = seeds(self.record.seed, Stream.REPORTED, training.history[-1].epoch, stream)[0]
        return evaluate_as_reported(
            training.result,
            torch.from_numpy(images).to(where),
            torch.from_numpy(labels).to(where),
            mean=self.bench.mean,
            std=self.bench.std,
            batch_size=recipe.train.batch_size,
            augmentation=augmentation_of(recipe, self.bench.image_set) if is_augmented else Augmentation(),
            generator=torch.Generator().manual_seed(seed),
            is_divided_twice=recipe.protocol.loss_divided_twice,
        )

    def _train(self, training: Training) -> ReportedTraining:
        """The loss of the last batch with its standard error, or that of the epoch, as the protocol reports it."""
        metrics = training.history[-1]
        if not self.recipe.protocol.last_batch_loss or training.last_batch is None:
            return ReportedTraining(accuracy=metrics.train_accuracy, loss=metrics.train_loss)
        logits, labels = training.last_batch
        smoothing = self.recipe.train.label_smoothing
        losses = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        loss, error = mean_loss(losses.double())
        return ReportedTraining(accuracy=metrics.train_accuracy, loss=loss, loss_error=error, count=len(labels))

    def _class_counts(self) -> dict[str, tuple[int, ...]]:
        """Images of each class, to know the accuracy of a net that always predicts one class."""
        images = self.bench.image_set
        labels = {"test": self._test_images()[1]}
        if self.recipe.protocol.evaluate_on == "validation":
            labels["validation"] = validation_part(images, self.bench.split)[1]
        return {split: class_counts(these, images.n_classes) for split, these in labels.items()}
