"""The folder of a run: the only module that knows the names and the formats of its files.

Typed, frozen values go in and come out. A file that is missing or damaged is one DataError that says what to do. What
a net or a training is, this module does not know: weights are arrays by name, layers are rows of a table.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast
from zipfile import BadZipFile

from flyweight import files
from flyweight.errors import DataError
from flyweight.records.ids import SHORT_ID
from flyweight.records.results import EpochLine, Misread, Predictions, Reported, RunResult
from flyweight.records.weights import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import TypeAdapter

File: TypeAlias = Literal[
    "recipe",
    "environment",
    "history",
    "reported",
    "result",
    "weights",
    "predictions",
    "misread",
    "checkpoint",
    "checksums",
    "report",
    "probes",
    "trials",
]

# Old names of files are kept, so that old folders can be read.
NAMES: Final[Mapping[File, str]] = MappingProxyType(
    {
        "recipe": "recipe.toml",
        "environment": "environment.json",
        "history": "metrics.csv",
        "reported": "told.json",
        "result": "result.json",
        "weights": "weights.safetensors",
        "predictions": "predictions.npz",
        "misread": "misread.npz",
        "checkpoint": "checkpoint.safetensors",
        "checksums": "checksums.json",
        "report": "report.html",
        "probes": "probes.json",
        "trials": "proofs.json",
    }
)
WRITTEN_AT_START: Final = ("recipe", "environment")
MADE_ANEW: Final = ("probes", "trials")
OF_A_TRAINED_NET: Final = ("weights", "predictions", "misread")
HISTORY_COLUMNS: Final = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "lr",
    "seconds",
    "images_per_second",
)
# Errors of reading a file that is truncated, changed or malicious.
_UNREADABLE: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    RecursionError,
    BadZipFile,
    zlib.error,
)

Value = TypeVar("Value")


class Measured(Protocol):
    """A line of the history, with an attribute for each of `HISTORY_COLUMNS`."""

    @property
    def epoch(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of one run. Methods that read raise DataError if a file is missing or damaged."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def file(self, which: File) -> Path:
        """The path of a file, existing or not."""
        return self.path / NAMES[which]

    def has(self, which: File) -> bool:
        return self.file(which).exists()

    def write_recipe(self, text: str) -> None:
        files.write_text(self.file("recipe"), text)

    def recipe_text(self) -> str:
        """The recipe with every key, in TOML."""
        return self._read("recipe", "the recipe of the run", bytes.decode)

    def write_environment(self, facts: Mapping[str, object]) -> None:
        files.write_json(self.file("environment"), facts)

    def environment(self) -> dict[str, Any]:
        """The environment of the run: versions, machine, threads, precision."""
        return self._read("environment", "facts by name", _table)

    def write_history(self, epochs: Iterable[Measured]) -> None:
        """A line per epoch; losses are means per image, accuracies fractions; empty without validation images."""
        lines = [",".join(HISTORY_COLUMNS)]
        for line in epochs:
            values = (getattr(line, column) for column in HISTORY_COLUMNS)
            lines.append(",".join("" if value is None else f"{value:.10g}" for value in values))
        files.write_text(self.file("history"), "\n".join(lines) + "\n")

    def history(self) -> tuple[EpochLine, ...]:
        """A line per finished epoch."""
        return self._read("history", "a line for each epoch", _history)

    def write_reported(self, reported: Reported) -> None:
        files.write_json(self.file("reported"), reported.as_dict())

    def reported(self) -> Reported:
        """The reported metrics; empty without the file, which only recipes with a protocol have."""
        if not self.has("reported"):
            return Reported()

        def read(content: bytes) -> Reported:
            table = _table(content)
            return validated(Reported, {"epochs": table["epochs"], "class_counts": table["class_counts"]})

        return self._read("reported", "the reported metrics of each epoch", read)

    def write_checkpoint(self, content: bytes) -> None:
        files.write_bytes(self.file("checkpoint"), content)

    def checkpoint(self) -> bytes | None:
        """The checkpoint of a stopped run; None before the first epoch, and after the end."""
        return files.read_bytes(self.file("checkpoint")) if self.has("checkpoint") else None

    def write_end(self, result: RunResult, history: Iterable[Measured]) -> None:
        """Write the last files of a run: its figures, their history and the checksums. The checkpoint stays."""
        files.write_json(self.file("result"), result.as_dict())
        self.write_history(history)
        self.write_checksums()

    def remove(self) -> None:
        """Remove the folder with all that is in it; nothing where there is none."""
        shutil.rmtree(self.path, ignore_errors=True)

    def rewrite_result(self, result: RunResult) -> None:
        """Replace the figures of an ended run, and the checksums of its files."""
        files.write_json(self.file("result"), result.as_dict())
        self.write_checksums()

    def tidy(self) -> None:
        """Remove the checkpoint and what stopped writers have left, once the row of the run is closed."""
        self.file("checkpoint").unlink(missing_ok=True)
        files.remove_unfinished(self.path)

    def result(self) -> RunResult:
        """The result of an ended run."""

        def read(content: bytes) -> RunResult:
            table = _table(content)
            return validated(RunResult, {**table, "reported": table.get("told")})

        return self._read("result", "the figures of a run", read)

    def write_weights(self, weights: Weights) -> None:
        files.write_bytes(self.file("weights"), weights.as_bytes())

    def weights(self) -> Weights:
        return self._read("weights", "the weights of the run's net", Weights.from_bytes)

    def weights_digest(self) -> str | None:
        """SHA-256 of the file of weights; None without it."""
        return files.sha256(self.file("weights")) if self.has("weights") else None

    def write_predictions(
        self, *, validation: Predictions, test: Predictions | None, validation_indices: NDArray[Any]
    ) -> None:
        """validation_indices: of the validation images in the set that they were held out of.

        test: None if the test images were not opened.
        """
        arrays = {
            f"{split}_{name}": getattr(predictions, name)
            for split, predictions in (("test", test), ("validation", validation))
            if predictions is not None
            for name in ("labels", "probabilities")
        }
        files.write_bytes(self.file("predictions"), _npz(**arrays, validation_indices=validation_indices))

    def predictions(self, split: Literal["validation", "test"]) -> Predictions:
        """The predictions of the kept net on the images of a split."""

        def read(content: bytes) -> Predictions:
            labels, probabilities = _arrays(content, f"{split}_labels", f"{split}_probabilities")
            if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
                raise ValueError(f"labels of shape {labels.shape}, probabilities of shape {probabilities.shape}")
            if len(labels) and (
                labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < probabilities.shape[1]
            ):
                raise ValueError("labels that are no classes")
            return Predictions(labels=labels, probabilities=probabilities)

        return self._read("predictions", "a row of probabilities for each label", read)

    def validation_indices(self) -> NDArray[Any]:
        """Where the validation images stand in the set that they were held out of."""
        return self._read(
            "predictions",
            "the places of the validation images",
            lambda content: _arrays(content, "validation_indices")[0],
        )

    def write_misread(self, misread: Misread) -> None:
        arrays = {name: getattr(misread, name) for name in ("images", "labels", "probabilities", "indices")}
        files.write_bytes(self.file("misread"), _npz(**arrays, answers=misread.predicted))

    def misread(self) -> Misread:
        """Test images that the kept net misclassifies."""

        def read(content: bytes) -> Misread:
            images, *others = _arrays(content, "images", "labels", "answers", "probabilities", "indices")
            if images.ndim != 4 or images.dtype.name != "uint8" or images.shape[1] not in (1, 3):
                raise ValueError(f"images of shape {images.shape} and type {images.dtype}")
            if any(len(one) != len(images) for one in others) or others[-1].dtype.kind not in "iu":
                raise ValueError("figures of other images")
            labels, predicted, probabilities, indices = others
            return Misread(
                images=images, labels=labels, predicted=predicted, probabilities=probabilities, indices=indices
            )

        return self._read("misread", "test images and what was predicted of them", read)

    def write_checksums(self) -> None:
        """SHA-256 of every file that is in the folder now, but of the checkpoint, which does not stay."""
        others = (self.file("checksums"), self.file("checkpoint"))
        found = [path for path in self.path.rglob("*") if path.is_file() and not files.is_unfinished(path)]
        names = sorted(path.relative_to(self.path).as_posix() for path in found if path not in others)
        files.write_json(self.file("checksums"), {name: files.sha256(self.path / name) for name in names})

    def verify(self) -> None:
        """Check every file that has a checksum.

        Raises:
            DataError: naming each file that has changed or is missing.
        """
        sums = self._read("checksums", "checksums by the names of files", _checksums)
        faults = [_fault(self.path / name, expected) for name, expected in sums.items()]
        found = [fault for fault in faults if fault]
        if found:
            raise DataError(f"{self.path} has changed: {'; '.join(found)}. Restore it, or train again.")

    def write_report(self, page: str, pictures: Mapping[str, bytes]) -> Path:
        """Write the page of a run and its plots as PNG files; returns the path of the page."""
        for name, content in pictures.items():
            files.write_bytes(self.path / f"{name}.png", content)
        files.write_text(self.file("report"), page)
        return self.file("report")

    def write_json(self, which: Literal["probes", "trials"], value: object) -> None:
        """Write a JSON file of the doctor."""
        files.write_json(self.file(which), value)

    def read_json(
        self, which: Literal["probes", "trials"], parse: Callable[[Any], Value], *, holds: str
    ) -> Value | None:
        """Read a file of `write_json` with `parse`, which raises ValueError for wrong values; None without a file."""
        return self._read(which, holds, lambda content: parse(json.loads(content))) if self.has(which) else None

    def _read(self, which: File, holds: str, parse: Callable[[bytes], Value]) -> Value:
        path = self.file(which)
        try:
            return parse(files.read_bytes(path))
        except FileNotFoundError:
            raise DataError(self._why_missing(which)) from None
        except _UNREADABLE as error:
            found = error.strerror or error if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            mend = "delete it" if which in MADE_ANEW else "restore it, or train again"
            raise DataError(
                f"{path} must hold {holds}, found something else ({' '.join(str(found).split())}); {mend}."
            ) from error

    def _why_missing(self, which: File) -> str:
        """The message for a missing file, with the next step."""
        run = f"run {self.run_id[:SHORT_ID]}"
        if not self.path.is_dir():
            return f"{run}: its folder {self.path} is missing: it was deleted, or the run was made on another machine."
        if which not in WRITTEN_AT_START and not self.has("result"):
            return (
                f"{run} is unfinished, so it has no {which} yet; continue it with: "
                f"flyweight train --resume {self.run_id[:SHORT_ID]}"
            )
        if which in OF_A_TRAINED_NET and (status := self.result().status) != "finished":
            return f"{run} {status}, so it has no {which}; choose a finished run."
        return f"{self.file(which)} is missing; restore it, or train again."


def _history(content: bytes) -> tuple[EpochLine, ...]:
    text = content.decode()
    if text.strip() and not text.startswith("epoch,"):
        raise ValueError("it does not begin with the names of its columns")
    rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(text.splitlines())]
    return validated(tuple[EpochLine, ...], rows)


def _number(text: str) -> float | None:
    value = float(text or "nan")
    return value if math.isfinite(value) else None


def _table(content: bytes) -> dict[str, Any]:
    return validated(dict[str, Any], json.loads(content))


def _checksums(content: bytes) -> dict[str, str]:
    return validated(dict[str, str], json.loads(content))


def _fault(path: Path, expected: str) -> str | None:
    try:
        found = files.sha256(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if found == expected:
        return None
    return f"{path.name} has changed (sha256 {found[:12]}..., was {expected[:12]}...)"


def validated(kind: type[Value], value: object) -> Value:
    """A value of this type; a wrong type or a missing key is a ValueError that names the first one."""
    from pydantic import ValidationError

    try:
        return cast("Value", _adapter(cast("Any", kind)).validate_python(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "its beginning"
        raise ValueError(f"{error.error_count()} faults, the first at {place}: {first['msg']}") from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _arrays(content: bytes, *names: str) -> list[NDArray[Any]]:
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        return [kept[name] for name in names]


def _npz(**arrays: NDArray[Any]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
