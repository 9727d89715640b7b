"""A trained net and all that is needed to use it: from a run, or from a file of weights.

`load` resolves a name to a net; `TrainedNet` makes pictures ready, runs the net, and says what it predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, sep
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flyweight.data.batches import normalise
from flyweight.errors import DataError, NotationError, UsageError
from flyweight.inference.pictures import Given, pictures
from flyweight.inference.predict import Prediction, prediction
from flyweight.inference.prepare import prepare
from flyweight.model.build import build
from flyweight.model.notation import is_own_module
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from flyweight.records.weights import Weights

AT_ONCE: Final = 1000  # images that go through a net together, as in the evaluation of a run


@dataclass(frozen=True, kw_only=True)
class TrainedNet:
    """module: in evaluation mode, (N, *input_shape) float32 to (N, classes) logits, weights under the layers' paths.

    mean, std: per channel, for pixel values in 0..1. data: name of the image set that it was trained on.
    """

    module: nn.Module
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    data: str

    def predict(self, given: Given | Sequence[Given]) -> tuple[Prediction, ...]:
        """What the net sees in each picture: paths, bytes of files, uint8 arrays or PIL images, one or many.

        For a net of handwriting, each picture becomes what MNIST's makers would have made of it; for another net it is
        taken as it is, in the net's size. Images of a data set go to `probabilities` instead.

        Raises:
            UsageError: no picture, or something that is none. DataError: a picture that cannot be read.
        """
        found = pictures(given, self.input_shape)
        prepared = [prepare(one, self.input_shape, data=self.data) for one in found]
        rows = self.probabilities(np.stack([one.image for one in prepared]))
        return tuple(
            prediction(picture, one, row, self.class_names)
            for picture, one, row in zip(found, prepared, rows, strict=True)
        )

    @torch.inference_mode()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, C, H, W) uint8, as data sets have them, to (N, classes) float32."""
        found = [
            self.module(self.normalised(torch.from_numpy(images[start : start + AT_ONCE]))).float().softmax(1)
            for start in range(0, len(images), AT_ONCE)
        ]
        return torch.cat(found).numpy()

    def normalised(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 to what the module takes."""
        return normalise(images, mean=self.mean, std=self.std)


def load(source: str | PathLike[str], *, store: Store | None = None) -> TrainedNet:
    """A trained net: of a run by its id, the beginning of it, @latest or @best; or of a file of weights by its path.

    Raises:
        UsageError: an unknown run, or one without a trained net. DataError: a file that is missing, damaged or changed.
    """
    path = Path(source)
    if not isinstance(source, str) or sep in source or path.suffix == ".safetensors":
        return _from_file(path)
    store = Store.open() if store is None else store
    record = store.get(source)
    folder = store.folder(record.id)
    if folder.path.is_dir() and not folder.has("weights"):
        raise UsageError(f"run {record.id} must have a trained net, found it {record.status} without one.")
    return from_run_folder(folder)


def from_run_folder(folder: RunFolder) -> TrainedNet:
    """The net of a run, after its files' checksums were checked.

    Raises:
        DataError: a file is missing, changed, or not of this format.
    """
    folder.verify()
    return _trained(folder.weights(), folder.path)


def _from_file(path: Path) -> TrainedNet:
    try:
        weights = Weights.from_bytes(path.read_bytes())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: must hold the weights of a run's net, found {_in_a_line(error)}.") from error
    if is_own_module(weights.net):  # code that a file names is not imported
        raise UsageError(
            f"{path}: is of the module {weights.net!r}, whose code is not in the file; load its run by its id."
        )
    return _trained(weights, path)


def _trained(weights: Weights, path: Path) -> TrainedNet:
    """path: where the weights are from, for the words of an error."""
    try:
        module = _module(weights.net, weights.input_shape)
    except NotationError as error:
        raise DataError(f"{path}: names a net that cannot be built: {str(error).splitlines()[0]}") from error
    _put({name: torch.tensor(tensor) for name, tensor in weights.tensors.items()}, module, path)
    return TrainedNet(
        module=module.eval(),
        input_shape=weights.input_shape,
        mean=weights.mean,
        std=weights.std,
        class_names=weights.class_names,
        data=weights.data,
    )


def _module(net: str, input_shape: tuple[int, int, int]) -> nn.Module:
    if is_own_module(net):
        from flyweight.model.trace import load_module

        return load_module(net)
    # With a generator of its own, the random state of whoever loads a net stays as it was.
    return build(net, input_shape, generator=torch.Generator())


def _put(weights: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Copy the weights into the module.

    Raises:
        DataError: names or shapes are not those of the module.
    """
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    needed = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(found.keys() | needed.keys()):
        if found.get(name) != needed.get(name):
            raise DataError(
                f"{path}: must hold the weights of its net: {name} of shape {needed.get(name, 'none')}, found "
                f"{found.get(name, 'none')}; train again, or bring back the file and the code of its net."
            )
    module.load_state_dict(dict(weights))


def _in_a_line(error: Exception) -> str:
    """A KeyError's text is only the key."""
    return f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
