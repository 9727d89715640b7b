"""A trained net from its run folder, and what it reads in pictures of one's own."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from flyweight.data.batches import normalise
from flyweight.data.folders import read_picture
from flyweight.errors import DataError, UsageError
from flyweight.inference.prepare import Prepared, read_digit
from flyweight.model.build import build
from flyweight.model.layout import Shape
from flyweight.model.notation import is_own_module
from flyweight.records import folder as files
from flyweight.records.store import Store

# Image sets of handwriting, white on black and centred, of which people make photos with dark ink on paper.
WRITTEN: Final = ("mnist", "qmnist", "kmnist", "emnist-letters", "emnist-balanced")

SHADES: Final = " .:-=+*#%@"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A net in evaluation mode and all that is needed to use it; `mean` and `std` are for pixel values in 0..1."""

    model: nn.Module
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    data: str

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(N, C, H, W) uint8 to (N, classes) float32."""
        logits: Tensor = self.model(normalise(torch.from_numpy(images), mean=self.mean, std=self.std))
        found: np.ndarray = logits.float().softmax(1).numpy()
        return found


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a net reads in one picture, and what it was given to see: `seen` is (C, H, W) uint8."""

    path: Path
    answer: str
    probability: float
    others: tuple[tuple[str, float], ...]
    seen: np.ndarray
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "answer": self.answer,
            "probability": self.probability,
            "others": dict(self.others),
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """The answer, the next best ones, and the picture in letters."""
        others = ", ".join(f"{name} {probability:.1%}" for name, probability in self.others)
        lines = [f"{self.path}: {self.answer} ({self.probability:.1%}; then {others})"]
        if self.notes:
            lines += textwrap.wrap(", ".join(self.notes), 78, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([*lines, *_drawn(self.seen)])


def load_trained(folder: Path) -> Trained:
    """The net of a run folder, after its checksums were checked.

    Raises:
        DataError: a file is missing, changed, or not of this format.
    """
    files.verify(folder)
    path = folder / "weights.safetensors"
    try:
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata()
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # not a mapping
        shape, mean, std = (facts[key].split(",") for key in ("input_shape", "mean", "std"))
        channels, height, width = map(int, shape)
        model = _net(facts["net"], (channels, height, width))
        model.load_state_dict(weights)
        return Trained(
            model=model.eval(),
            input_shape=(channels, height, width),
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
            class_names=tuple(json.loads(facts["classes"])),
            data=facts["data"],
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: must hold the weights of the run's net, found: {error}.") from error


def predict(
    store: Store, selector: str, paths: Sequence[Path], *, inputs: Path | None = None
) -> tuple[Prediction, ...]:
    """Read each picture with the net of a run; `inputs` is a folder for PNG files of what the net was given.

    Raises:
        UsageError: an unknown run, or one without a trained net. DataError: a picture or file that cannot be read.
    """
    if not paths:
        raise UsageError("predict needs at least one picture file, found none.")
    record = store.get(selector)
    folder = store.folder(record.id)
    if not folder.is_dir():
        raise DataError(f"run {record.id}: its folder {folder} is gone, and the weights with it; choose another run.")
    if not (folder / "weights.safetensors").exists():
        raise UsageError(f"run {record.id} must have a trained net, found it {record.status} without one.")
    net = load_trained(folder)
    prepared = [prepare(path, net) for path in paths]
    if inputs is not None:
        _save(prepared, paths, inputs)
    probabilities = net.probabilities(np.stack([one.image for one in prepared]))
    return tuple(
        _prediction(path, one, row, net.class_names)
        for path, one, row in zip(paths, prepared, probabilities, strict=True)
    )


def prepare(path: Path, net: Trained) -> Prepared:
    """The picture as the net expects it: written signs as MNIST was made, anything else as it is, in the net's size.

    Raises:
        DataError: a file that cannot be read.
    """
    if net.data in WRITTEN:
        return read_digit(path, net.input_shape)
    from PIL import Image

    channels, height, width = net.input_shape
    pixels = read_picture(path)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    image = np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)
    return Prepared(
        image=np.ascontiguousarray(image), notes=(f"taken as it is, {width} x {height} pixels",), was_inverted=False
    )


def _net(net: str, shape: Shape) -> nn.Module:
    if is_own_module(net):
        from flyweight.model.trace import load_module

        return load_module(net)
    return build(net, shape)


def _prediction(path: Path, prepared: Prepared, row: np.ndarray, class_names: Sequence[str]) -> Prediction:
    first, *others = np.argsort(-row, kind="stable")[:3]
    return Prediction(
        path=path,
        answer=class_names[first],
        probability=float(row[first]),
        others=tuple((class_names[other], float(row[other])) for other in others),
        seen=prepared.image,
        notes=prepared.notes,
    )


def _drawn(image: np.ndarray) -> list[str]:
    """One letter per two pixels' height, since letters are twice as high as wide."""
    grey = image.mean(axis=0)
    grey = grey[: len(grey) // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(axis=1)
    levels = (grey / 256 * len(SHADES)).astype(int)
    return ["  |" + "".join(SHADES[level] for level in row) + "|" for row in levels]


def _save(prepared: Sequence[Prepared], paths: Sequence[Path], folder: Path) -> None:
    from io import BytesIO

    from PIL import Image

    files.make_folder(folder)
    for number, (one, path) in enumerate(zip(prepared, paths, strict=True), start=1):
        pixels = one.image[0] if len(one.image) == 1 else one.image.transpose(1, 2, 0)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.write_bytes(folder / f"{number}-{path.stem}.png", buffer.getvalue())
