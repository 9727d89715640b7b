"""`predict`: how fast a trained net predicts, in bulk and one image at a time.

Plain eager torch comes first; the engine is `train.evaluate`, which evaluates every run; onnxruntime takes part if it
and the packages for the export are installed. All have equal weights and threads, and their predictions are compared.
"""

from __future__ import annotations

import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from flyweight.bench.engine import new_net, start_engine
from flyweight.bench.isolated import IsolatedProcess, once
from flyweight.bench.notebook import SET_BY_FLYWEIGHT, plain_net
from flyweight.bench.rows import Row, row, side_by_side
from flyweight.bench.sizes import Size
from flyweight.bench.task import BATCH_SIZE, SHAPE, Images, digits, plain_probabilities
from flyweight.bench.timing import alternate
from flyweight.train import device as devices
from flyweight.train.device import usable_cores
from flyweight.train.evaluate import evaluate

SECTION: Final = "predict"
BULK, SINGLE = "images/s", "µs, one image"
FOR_ONNXRUNTIME: Final = ("onnxruntime", "onnx", "onnxscript")

# From (N, 1, 28, 28) uint8 to (N, 10) float32 probabilities.
Predict = Callable[[np.ndarray], np.ndarray]
# The tensors of a state dict in their order: the names differ between a notebook's net and the engine's.
Weights = list[np.ndarray]


def predict(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for images per second in bulk, and microseconds for one image."""
    makers: dict[str, Callable[..., Predict]] = {"eager torch": eager, "flyweight": engine}
    missing = [name for name in FOR_ONNXRUNTIME if find_spec(name) is None]
    if not missing:
        makers["onnxruntime"] = onnxruntime
    weights = once(trained_weights, steps=size.steps)
    rows = _take_turns(makers, size, weights=weights, threads=threads or usable_cores())
    note = f"not measured: {', '.join(missing)} not installed"
    return rows + [row(SECTION, "onnxruntime", quantity, [], note=note) for quantity in (BULK, SINGLE) if missing]


def trained_weights(steps: int) -> Weights:
    """The weights of a net after a short training."""
    training = start_engine(count=steps * BATCH_SIZE, threads=usable_cores())
    training.take(steps=steps)
    return [tensor.numpy().copy() for tensor in training.model.state_dict().values()]


class Predictor:
    """A loaded net with its input images, (N, 1, 28, 28) uint8."""

    def __init__(self, predict: Predict, images: np.ndarray) -> None:
        self.predict, self.images = predict, images

    def in_bulk(self) -> None:
        self.predict(self.images)

    def one_by_one(self, *, count: int) -> None:
        for number in range(count):
            self.predict(self.images[number : number + 1])

    def probabilities(self) -> np.ndarray:
        """(N, 10) float32 probabilities."""
        return self.predict(self.images)


def _start_predictor(*, maker: Callable[..., Predict], count: int, weights: Weights, threads: int) -> Predictor:
    images = digits(count=0, test_count=count)
    return Predictor(maker(images, weights=weights, threads=threads), images.test_images)


def eager(images: Images, *, weights: Weights, threads: int) -> Predict:
    """Plain torch: float32, default memory layout, no gradients."""
    torch.set_num_threads(threads)
    net = _filled(plain_net(), weights)
    return functools.partial(plain_probabilities, net, mean=images.mean, std=images.std)


def engine(images: Images, *, weights: Weights, threads: int) -> Predict:
    """The evaluation of the engine; it also computes the loss, here with labels of 0."""
    devices.prepare(threads=threads)
    net = devices.to_device(_filled(new_net(), weights), torch.device("cpu"))
    labels = torch.zeros(len(images.test_images), dtype=torch.int64)

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        found = evaluate(
            net, torch.from_numpy(pixels), labels[: len(pixels)], mean=[images.mean], std=[images.std]
        ).probabilities
        numbers: np.ndarray = found.numpy()
        return numbers

    return probabilities


def onnxruntime(images: Images, *, weights: Weights, threads: int) -> Predict:
    """A session of the net exported by torch, with the batches of `plain_probabilities`."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        _export(_filled(plain_net(), weights), path)
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())

    def probabilities(pixels: np.ndarray, batch_size: int = 1000) -> np.ndarray:
        found = []
        for start in range(0, len(pixels), batch_size):
            normalised = (pixels[start : start + batch_size].astype(np.float32) / 255 - images.mean) / images.std
            found.append(session.run(None, {name: normalised.astype(np.float32)})[0])
        return np.concatenate(found)

    return probabilities


def _export(net: nn.Module, path: Path) -> None:
    """Export with any batch size, from images to probabilities."""
    to_probabilities = nn.Sequential(net, nn.Softmax(1)).eval()
    # The exporter warns about torchvision, which is not needed, and about its own deprecations.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            to_probabilities,
            (torch.zeros(2, *SHAPE),),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )


def _filled(net: nn.Module, weights: Weights) -> nn.Module:
    net.load_state_dict(dict(zip(net.state_dict(), map(torch.from_numpy, weights), strict=True)))
    return net.eval()


def _take_turns(
    makers: Mapping[str, Callable[..., Predict]], size: Size, *, weights: Weights, threads: int
) -> list[Row]:
    settings: dict[str, Any] = {"count": size.bulk_images, "weights": weights, "threads": threads}
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(
                IsolatedProcess(
                    _start_predictor, without=() if maker is engine else SET_BY_FLYWEIGHT, maker=maker, **settings
                )
            )
            for name, maker in makers.items()
        }
        bulk = {name: functools.partial(process.call, Predictor.in_bulk) for name, process in opened.items()}
        single = {
            name: functools.partial(process.call, Predictor.one_by_one, count=size.single_images)
            for name, process in opened.items()
        }
        bulk_seconds = alternate(bulk, rounds=size.rounds)
        single_seconds = alternate(single, rounds=size.rounds)
        notes = agreement({name: process.call(Predictor.probabilities) for name, process in opened.items()})
    rates = (
        row(SECTION, name, BULK, [size.bulk_images / taken for taken in seconds], note=notes[name])
        for name, seconds in bulk_seconds.items()
    )
    latencies = (
        row(SECTION, name, SINGLE, [1e6 * taken / size.single_images for taken in seconds])
        for name, seconds in single_seconds.items()
    )
    return [*side_by_side(rates, more_is_better=True), *side_by_side(latencies)]


def agreement(predictions: Mapping[str, np.ndarray]) -> dict[str, str]:
    """How many predictions equal those of the first, and the largest difference of probabilities, as a note."""
    first, *others = predictions
    notes = {first: ""}
    for name in others:
        same = int((predictions[name].argmax(1) == predictions[first].argmax(1)).sum())
        distance = np.abs(predictions[name] - predictions[first]).max()
        notes[name] = (
            f"{same:,} of {len(predictions[name]):,} predictions equal, probabilities differ by at most {distance:.1e}"
        )
    return notes
