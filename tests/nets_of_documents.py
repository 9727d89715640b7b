"""The nets of the documents, layer by layer, as a study of the documents' own sources lists them.

Nothing of it comes from flyweight: an independent reference. label: what the document calls the
change. reported: the count that the document gives; in_source: the one that its notebook printed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, kw_only=True)
class NetOfDocument:
    id: str
    label: str
    notation: str
    reported: int | None
    in_source: int | None
    params: int
    registered: int
    layers: list[tuple[tuple[int, ...], int]]


def _read(part: str) -> tuple[NetOfDocument, ...]:
    found = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))[part]
    return tuple(
        NetOfDocument(**{**one, "layers": [(tuple(shape), params) for shape, params in one["layers"]]}) for one in found
    )


EXPERIMENTS: Final = _read("experiments")
BESIDE: Final = _read("beside")
