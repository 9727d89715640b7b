"""A trained net with everything needed to use it, from a run or a file of weights.

`load` finds the net; `TrainedNet` prepares pictures, runs the net, and returns predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from os import PathLike, sep
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flyweight import files
from flyweight.data.batches import normalise
from flyweight.errors import DataError, NotationError, UsageError, in_one_line
from flyweight.inference.pictures import Given, pictures
from flyweight.inference.predict import Prediction, Unread, prediction
from flyweight.inference.prepare import Prepared, prepare
from flyweight.model.build import build
from flyweight.model.count import count
from flyweight.model.notation import is_own_module
from flyweight.model.own_code import require_same
from flyweight.model.tied import stored_once
from flyweight.records.ids import SHORT_ID
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from flyweight.records.weights import Weights, brief

BATCH_SIZE: Final = 1000  # as in the evaluation of a run

# The root mean square of a training image is about 1, of an inverted one of MNIST 2.7, and of an ordinary picture some
# hundreds for a net that was trained on values 0 and 1.
FAR_DEVIATIONS: Final = 4.0
UNSURE_SHARE: Final = 0.02
# Of fewer validation images, a share of 2 % says nothing.
LEAST_TO_JUDGE: Final = 100


@dataclass(frozen=True, kw_only=True)
class TrainedNet:
    """module: in evaluation mode, from (N, *input_shape) float32 to (N, classes) logits.

    mean, std: per channel, for pixel values 0 to 1. data: name of the image set that it was trained on. ground, fit:
    how its pictures were read, as of `Weights`. unsure_below: a probability that the predictions for nearly all of the
    run's validation images exceed; 0 if it is unknown.
    """

    module: nn.Module
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    data: str
    ground: int = 0
    fit: str = "stretch"
    unsure_below: float = 0.0

    def predict(self, given: Given | Sequence[Given]) -> tuple[Prediction, ...]:
        """Classify one or many pictures: paths, bytes of files, uint8 arrays or PIL images.

        For a net of handwriting, each picture is prepared like the images of MNIST; for another net it is only resized.
        For images of a data set use `probabilities`.

        Raises:
            UsageError: no picture, or an object of another type. DataError: a picture cannot be read.
        """
        found = pictures(given, self.input_shape)
        reading: dict[str, Any] = {"data": self.data, "ground": self.ground, "fit": self.fit}
        prepared = [prepare(one, self.input_shape, **reading) for one in found]
        images = np.stack([one.image for one in prepared])
        rows = self.probabilities(images)
        prepared = [
            self._doubted(one, far, float(row.max()))
            for one, far, row in zip(prepared, self._deviations(images), rows, strict=True)
        ]
        return tuple(
            prediction(picture, one, row, self.class_names)
            for picture, one, row in zip(found, prepared, rows, strict=True)
        )

    def predict_files(self, paths: Iterable[Path]) -> Iterator[Prediction | Unread]:
        """Classify picture files in order, one at a time; a file that cannot be read does not end it."""
        for path in paths:
            try:
                yield from self.predict(path)
            except DataError as error:
                yield Unread(path=path, fault=str(error))

    def _deviations(self, images: NDArray[np.uint8]) -> list[float]:
        """How far each image (N, C, H, W) is from the mean of the training images, in their standard deviations."""
        return self.normalised(torch.from_numpy(images)).square().mean((1, 2, 3)).sqrt().tolist()

    def _doubted(self, prepared: Prepared, deviations: float, probability: float) -> Prepared:
        """With warnings if the image shows nothing, is far from all that the net was trained on, or is hard to read."""
        warnings = list(prepared.warnings)
        if prepared.image.min() == prepared.image.max():
            warnings.append("nothing in it: all values are equal")
        elif deviations >= FAR_DEVIATIONS:
            warnings.append(f"unlike the training images: {deviations:.0f} standard deviations from their mean")
        elif probability < 0.5:
            warnings.append("unsure: no class is more likely than all others together")
        elif probability < self.unsure_below:
            warnings.append(f"unsure: {1 - UNSURE_SHARE:.0%} of the validation images were read with more certainty")
        return replace(prepared, warnings=tuple(warnings))

    @torch.inference_mode()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From images of a data set, (N, C, H, W) uint8, to (N, classes) float32."""
        found = [
            self.module(self.normalised(torch.from_numpy(images[start : start + BATCH_SIZE]))).float().softmax(1)
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return torch.cat(found).numpy()

    def normalised(self, images: Tensor) -> Tensor:
        """From (N, C, H, W) uint8 to the float32 input of the module."""
        return normalise(images, mean=self.mean, std=self.std)


@in_one_line
def load(source: str | PathLike[str], *, store: Store | None = None, trust_code: bool = False) -> TrainedNet:
    """A trained net from a run (its id or the start of it, @latest or @best), or from the path of a file of weights.

    trust_code: run the file of an own module, and remember its hash; else only a file that is trusted already is run.

    Raises:
        UsageError: the run is unknown or has no trained net, or its own module is not trusted or not that of the run.
        DataError: a file is missing, damaged or changed.
    """
    path = Path(source)
    if not isinstance(source, str) or sep in source or path.suffix == ".safetensors":
        return _from_file(path)
    store = Store.open() if store is None else store
    record = store.get(source)
    folder = store.folder(record.id)
    if folder.path.is_dir() and not folder.has("weights"):
        raise UsageError(
            f"run {record.id[:SHORT_ID]} has no trained net (status: {record.status}); choose "
            "a finished run, see: flyweight runs"
        )
    return from_run_folder(folder, own_code=record.own_code, trust_code=trust_code)


def from_run_folder(folder: RunFolder, *, own_code: str | None = None, trust_code: bool = False) -> TrainedNet:
    """The net of a run, after checking the checksums of its files. own_code: the recorded hash of its own module.

    Raises:
        DataError: a file is missing, changed, or of another format.
    """
    folder.verify()
    weights = folder.weights()
    require_same(weights.net, own_code)
    return replace(_trained(weights, folder.path, trust_code=trust_code), unsure_below=_unsure_below(folder))


def _unsure_below(folder: RunFolder) -> float:
    """The probability that all but UNSURE_SHARE of the predictions for the validation images exceed."""
    if not folder.has("predictions"):
        return 0.0
    best = folder.predictions("validation").probabilities.max(axis=1, initial=0)
    return float(np.quantile(best, UNSURE_SHARE)) if len(best) >= LEAST_TO_JUDGE else 0.0


def _from_file(path: Path) -> TrainedNet:
    try:
        weights = Weights.from_bytes(files.read_bytes(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: must be a file of weights of a run, cannot read it ({_one_line(error)}).") from error
    if is_own_module(weights.net):  # code that a file names is not imported
        raise UsageError(
            f"{path}: its net is the module {brief(weights.net)}, whose code is not in the file; give its run instead."
        )
    return _trained(weights, path)


def _trained(weights: Weights, path: Path, *, trust_code: bool = False) -> TrainedNet:
    """path: of the weights, for errors."""
    try:
        cost = count(weights.net, weights.input_shape, trust_code=trust_code)
        held = sum(tensor.size for tensor in weights.tensors.values())
        if cost.registered_params > held:  # before they are allocated
            raise DataError(f"{path}: its net has {cost.registered_params:,} parameters, the file {held:,} numbers.")
        n_classes = prod(cost.out_shape)
        module = _module(weights.net, weights.input_shape, trust_code=trust_code)
    except NotationError as error:
        raise DataError(f"{path}: its net cannot be built: {str(error).splitlines()[0]}") from error
    if len(weights.class_names) != n_classes:
        raise DataError(f"{path}: its net has {n_classes} outputs, and {len(weights.class_names)} names of classes.")
    _load_weights({name: torch.tensor(tensor) for name, tensor in weights.tensors.items()}, module, path)
    return TrainedNet(
        module=module.eval(),
        input_shape=weights.input_shape,
        mean=weights.mean,
        std=weights.std,
        class_names=weights.class_names,
        data=weights.data,
        ground=weights.ground,
        fit=weights.fit,
    )


def _module(net: str, input_shape: tuple[int, int, int], *, trust_code: bool) -> nn.Module:
    if is_own_module(net):
        from flyweight.model.trace import load_module, prepare_layers

        module = load_module(net, trust_code=trust_code)
        prepare_layers(net, module, input_shape)
        return module
    # A separate generator leaves the random state of the caller unchanged.
    return build(net, input_shape, generator=torch.Generator())


def _load_weights(weights: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Copy the weights into the module.

    Raises:
        DataError: names or shapes differ from those of the module.
    """
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    needed = {name: tuple(tensor.shape) for name, tensor in stored_once(module.state_dict()).items()}
    for name in sorted(found.keys() | needed.keys()):
        if found.get(name) != needed.get(name):
            raise DataError(
                f"{path}: the weights do not fit the net: {brief(name)} must have shape {needed.get(name, 'none')}, "
                f"found {found.get(name, 'none')}; train again, or restore the file and the code of the net."
            )
    # But for the other names of tied weights, all are there.
    module.load_state_dict(dict(weights), strict=False)


def _one_line(error: Exception) -> str:
    """The text of an error; that of a KeyError is only the key."""
    return f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
