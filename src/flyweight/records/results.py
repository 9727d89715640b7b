"""The results of a run as values: figures, reported metrics, predictions. Files are in `run_folder.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of the kept net on a split; a loss that is not a number is None."""

    correct: int
    count: int
    loss: float | None = None

    @property
    def accuracy(self) -> float:
        return self.correct / self.count


@dataclass(frozen=True, kw_only=True)
class EpochLine:
    """A line of a run's history; None for a loss that was not a number, and without validation images."""

    epoch: int
    train_loss: float | None
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float


@dataclass(frozen=True, kw_only=True)
class ReportedFigures(Figures):
    """Figures of a split as the protocol of the recipe measures them; loss_error: standard error of the loss."""

    loss_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedTraining:
    """Reported figures of the training images. count: of the last batch if its loss is reported; else None."""

    accuracy: float
    loss: float | None = None
    loss_error: float | None = None
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedEpoch:
    """The reported metrics of an epoch, with the names of splits in the protocol."""

    epoch: int
    train: ReportedTraining
    validation: ReportedFigures | None = None
    test: ReportedFigures | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without those that were not measured."""
        values = asdict(self)
        values["train"] = {
            name: value for name, value in sorted(values["train"].items()) if name == "loss" or value is not None
        }
        return {name: value for name, value in sorted(values.items()) if value is not None}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The reported metrics of a run whose recipe has a protocol. class_counts: images of each class, by split."""

    epochs: tuple[ReportedEpoch, ...] = ()
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"epochs": [epoch.as_dict() for epoch in self.epochs], "class_counts": dict(self.class_counts)}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """All figures of an ended run; a diverged run has no figures of splits.

    judged_on: the split that chose the best epoch. kept: which epoch's weights were kept, "best" or "last".
    protocol: what its protocol does otherwise, in words. reported: its last epoch as that reports it.
    layers: the table of layers. n_stacked: how many runs trained with it as one stacked net, in the same seconds.
    """

    run: str
    name: str
    seed: int
    status: str
    net: str
    params: int
    registered_params: int
    macs: int
    activation_bytes: int
    flash_bytes: int
    int8_bytes: int
    epochs: int
    kept: str
    data: str
    class_names: tuple[str, ...]
    layers: tuple[Mapping[str, Any], ...]
    train_seconds: float
    total_seconds: float
    images_per_second: float
    test_openings: int
    group: str | None = None
    message: str = ""
    budget: Mapping[str, int | float] = field(default_factory=dict)
    target: float | None = None
    best_epoch: int | None = None
    judged_on: Split = "validation"
    protocol: tuple[str, ...] = ()
    reported: ReportedEpoch | None = None
    train: Figures | None = None
    validation: Figures | None = None
    test: Figures | None = None
    peak_memory_bytes: int | None = None
    n_stacked: int = 1

    def figures(self, split: Split) -> Figures | None:
        """The figures of a split by its name."""
        found: Figures | None = getattr(self, split)
        return found

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept; 0 if none was finished."""
        return self.best_epoch or 0 if self.kept == "best" else self.epochs

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, in the order of their names."""
        values = asdict(self)
        del values["reported"]
        return dict(sorted({**values, "told": self.reported and self.reported.as_dict()}.items()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions for the images of a split in order. labels: (N,) int64. probabilities: (N, classes) float32."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image."""
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes): counts by true class (row) and predicted class (column)."""
        import numpy as np

        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Misread:
    """Misclassified test images, the most confident mistakes first, limited in number.

    images: (N, C, H, W) uint8. indices: (N,), where they stand in the test set.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]
