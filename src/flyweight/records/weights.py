"""The weights of a trained net and their safetensors file, with the facts to use them in its header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
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
        """The inverse of `as_bytes`; names, shapes, types and numbers are checked.

        Raises:
            ValueError: anything else, in one line.
        """
        from safetensors import SafetensorError

        try:
            found = _parsed(content)
        except KeyError as error:
            raise ValueError(f"no {error}") from error
        except (SafetensorError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
        for what, holds in _checks(found):
            if not holds:
                raise ValueError(what)
        return found


def _parsed(content: bytes) -> Weights:
    from safetensors.numpy import load

    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    facts = header.pop("__metadata__")
    channels, height, width = map(int, facts["input_shape"].split(","))
    mean, std = (tuple(map(float, facts[key].split(","))) for key in ("mean", "std"))
    return Weights(
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


def _checks(found: Weights) -> Iterator[tuple[str, bool]]:
    """What must hold, and whether it does."""
    import numpy as np

    channels = found.input_shape[0]
    yield "images of 1 to 4096 pixels and channels", all(1 <= side <= 4096 for side in found.input_shape)
    yield "a mean and a spread for each channel", len(found.mean) == len(found.std) == channels
    yield "a mean that is a number", all(map(isfinite, found.mean))
    yield "a spread above 0", all(isfinite(one) and one > 0 for one in found.std)
    yield "a net", bool(found.net.strip())
    yield "names of classes", bool(found.class_names) and all(isinstance(one, str) for one in found.class_names)
    yield "a ground of 0 to 255", 0 <= found.ground <= 255
    yield "tensors", bool(found.tensors)
    for name, tensor in found.tensors.items():
        yield f"numbers in {brief(name)}, found {tensor.dtype}", tensor.dtype.kind in "fiu"
        yield f"finite numbers in {brief(name)}, found nan or inf", bool(np.isfinite(tensor).all())


def brief(name: str) -> str:
    """A name from a file, quoted in a message: escaped and short."""
    return repr(name if len(name) <= 60 else f"{name[:60]}...")


def _with_facts(content: bytes, facts: Mapping[str, str]) -> bytes:
    """A safetensors file with these facts in its header; `save` would write them in varying order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": facts, **json.loads(content[8:end])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]
