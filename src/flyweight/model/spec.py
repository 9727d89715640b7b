"""What a net is before any weight exists: frozen layers, and nets made of them.

A layer says only what cannot be derived: a convolution knows its output channels, its input channels follow
from the walk (`walk.py`). Values only: nothing here counts, prints or builds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

ActivationKind = Literal["relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid"]


@dataclass(frozen=True)
class Conv:
    """2-d convolution with a square kernel; zero padding on all four sides."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True)
class DepthwiseConv:
    """One filter per input channel (times `multiplier`): groups equal the input channels."""

    multiplier: int = 1
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    bias: bool = True


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over (N, H, W) after a convolution, over N after a linear layer."""

    affine: bool = True


@dataclass(frozen=True)
class Activation:
    """`slope` is read by leaky_relu alone. prelu has one trainable value per channel."""

    kind: ActivationKind
    slope: float = 0.01


@dataclass(frozen=True)
class Pool:
    """Max or average over a window; `stride` None means the window's size."""

    kind: Literal["max", "average"]
    kernel: int = 2
    stride: int | None = None
    padding: int = 0

    @property
    def step(self) -> int:
        return self.kernel if self.stride is None else self.stride


@dataclass(frozen=True)
class GlobalPool:
    """One value per channel; the shape stays (C, 1, 1)."""

    kind: Literal["max", "average"]


@dataclass(frozen=True)
class AdaptivePool:
    """Pool to size x size, whatever comes in (windows as in torch: floor to ceil of equal shares)."""

    kind: Literal["max", "average"]
    size: int


@dataclass(frozen=True)
class Dropout:
    """Zero single values, or whole channels when `spatial`, with probability `p` while training."""

    p: float
    spatial: bool = False


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) to (C * H * W,)."""


@dataclass(frozen=True)
class Linear:
    features: int
    bias: bool = True


@dataclass(frozen=True)
class LogSoftmax:
    """Harmless before cross entropy (it is idempotent); kept because the documents have it."""


Layer: TypeAlias = (
    Conv
    | DepthwiseConv
    | BatchNorm
    | Activation
    | Pool
    | GlobalPool
    | AdaptivePool
    | Dropout
    | Flatten
    | Linear
    | LogSoftmax
)


@dataclass(frozen=True)
class Repeat:
    """The body `times` over, each time with weights of its own."""

    times: int
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Shared:
    """The same body, with the same weights, applied `times` in a row."""

    times: int
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x); an empty shortcut is x itself."""

    body: tuple[Node, ...]
    shortcut: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Unused:
    """Layers that are registered with the net and never called: they cost memory and compute nothing."""

    body: tuple[Node, ...]


Node: TypeAlias = Layer | Repeat | Shared | Residual | Unused


@dataclass(frozen=True)
class Net:
    """A whole net, from the image to the logits."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        from flyweight.model.notation import format_net

        return format_net(self)


def layers(nodes: tuple[Node, ...]) -> Iterator[Layer]:
    """Every layer as written, blocks opened, in order of appearance."""
    for node in nodes:
        match node:
            case Repeat() | Shared() | Unused():
                yield from layers(node.body)
            case Residual():
                yield from layers(node.body)
                yield from layers(node.shortcut)
            case _:
                yield node
