"""The weights of a trained net and their safetensors file, with the facts to use them in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The weights of a trained net by name, and the facts to use them.

    net: in notation, or the path of a module. mean and std are per channel, for pixel values in 0..1. ground, fit: how
    pictures were read: the value below transparent pixels, and how they were made square.
    """

    tensors: Mapping[str, NDArray[Any]]
    net: str
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    data: str
    ground: int = 0
    fit: str = "stretch"

    def as_bytes(self) -> bytes:
        """A safetensors file; the same bytes each time."""
        from safetensors.numpy import save

        facts = {
            "net": self.net,
            "input_shape": ",".join(map(str, self.input_shape)),
            "mean": ",".join(map(repr, self.mean)),
            "std": ",".join(map(repr, self.std)),
            "classes": json.dumps(list(self.class_names)),
            "data": self.data,
            "ground": str(self.ground),
            "fit": self.fit,
        }
        return _with_facts(save(dict(self.tensors)), facts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Weights:
        """The inverse of `as_bytes`.

        Raises:
            ValueError, KeyError: anything else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(content)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = header.pop("__metadata__")
        channels, height, width = map(int, facts["input_shape"].split(","))
        mean, std = (tuple(map(float, facts[key].split(","))) for key in ("mean", "std"))
        return cls(
            tensors={name: tensors[name] for name in header},
            net=facts["net"],
            input_shape=(channels, height, width),
            mean=mean,
            std=std,
            class_names=tuple(json.loads(facts["classes"])),
            data=facts["data"],
            ground=int(facts.get("ground", 0)),  # files of before have neither
            fit=facts.get("fit", "stretch"),
        )


def _with_facts(content: bytes, facts: Mapping[str, str]) -> bytes:
    """A safetensors file with these facts in its header; `save` would write them in varying order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": facts, **json.loads(content[8:end])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]
