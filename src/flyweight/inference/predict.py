"""The prediction for one picture, with its text and the image that the net received."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flyweight import files
from flyweight.inference.pictures import Picture
from flyweight.inference.prepare import Prepared

SHADES: Final = " .:-=+*#%@"


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """predicted: name of the most probable class. others: the next two. seen: the input of the net, (C, H, W) uint8.

    path: of the picture; None if it was not given as a file. notes: what was done to it. warnings: why the prediction
    may be wrong.
    """

    path: Path | None
    predicted: str
    probability: float
    others: tuple[tuple[str, float], ...]
    seen: NDArray[np.uint8]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": None if self.path is None else str(self.path),
            "predicted": self.predicted,
            "probability": self.probability,
            "others": dict(self.others),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def as_row(self) -> dict[str, Any]:
        """The columns of a table of predictions."""
        nearest = dict(enumerate(self.others, start=2))
        row = {"path": str(self.path or ""), "predicted": self.predicted, "probability": round(self.probability, 4)}
        for rank in (2, 3):
            name, probability = nearest.get(rank, ("", 0.0))
            row |= {f"predicted_{rank}": name, f"probability_{rank}": round(probability, 4)}
        return row | {"warnings": ", ".join(self.warnings), "error": ""}

    def as_line(self) -> str:
        """The predicted class, the next two, and the warnings."""
        others = ", ".join(f"{name} {probability:.1%}" for name, probability in self.others)
        line = f"{self.path or 'picture'}: {self.predicted} ({self.probability:.1%}; then {others})"
        return f"{line}; warning: {', '.join(self.warnings)}" if self.warnings else line

    def as_text(self) -> str:
        """The line, what was done to the picture, and the input of the net as ASCII art."""
        lines = [self.as_line()]
        if self.notes:
            lines += textwrap.wrap(", ".join(self.notes), 78, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([*lines, *_ascii_art(self.seen)])


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A picture file that has no prediction, and why."""

    path: Path
    fault: str

    def as_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "error": self.fault}

    def as_row(self) -> dict[str, Any]:
        """The columns of `Prediction.as_row`."""
        names = ("predicted", "probability", "predicted_2", "probability_2", "predicted_3", "probability_3", "warnings")
        return {"path": str(self.path), **dict.fromkeys(names), "error": self.fault}


def prediction(
    picture: Picture, prepared: Prepared, row: NDArray[np.float32], class_names: Sequence[str]
) -> Prediction:
    """row: the probability of each class."""
    first, *others = np.argsort(-row, kind="stable")[:3]
    return Prediction(
        path=picture.path,
        predicted=class_names[first],
        probability=float(row[first]),
        others=tuple((class_names[other], float(row[other])) for other in others),
        seen=prepared.image,
        notes=prepared.notes,
        warnings=prepared.warnings,
    )


def save_seen(predictions: Sequence[Prediction], folder: Path) -> None:
    """Save the input of the net for each picture as a PNG file in the folder.

    Raises:
        UsageError, MissingError: the folder cannot be created.
    """
    files.make_folder(folder)
    for number, one in enumerate(predictions, start=1):
        pixels = one.seen[0] if len(one.seen) == 1 else one.seen.transpose(1, 2, 0)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.write_bytes(folder / f"{number}-{one.path.stem if one.path else 'picture'}.png", buffer.getvalue())


def _ascii_art(image: NDArray[np.uint8]) -> list[str]:
    """One character for two pixels of height, since characters are twice as high as wide."""
    grey = image.mean(axis=0)
    grey = grey[: len(grey) // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(axis=1)
    levels = (grey / 256 * len(SHADES)).astype(int)
    return ["  |" + "".join(SHADES[level] for level in row) + "|" for row in levels]
