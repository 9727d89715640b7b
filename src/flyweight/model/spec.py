"""What a net is before any weight exists: frozen layers, and nets made of them.

A layer says only what cannot be derived: a convolution knows its output channels, its input channels follow
from the walk (`walk.py`). Values only: nothing here counts, prints or builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never, get_args

ActivationKind: TypeAlias = Literal[
    "relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid"
]
LayerKind: TypeAlias = (
    ActivationKind
    | Literal[
        "conv",
        "depthwise_conv",
        "batch_norm",
        "max_pool",
        "average_pool",
        "dropout",
        "flatten",
        "linear",
        "log_softmax",
    ]
)
RowKind: TypeAlias = LayerKind | Literal["other_norm", "other"]
"""What a row of the cost table is; the last two are modules of the user's own that no layer of ours is like."""

ACTIVATIONS: Final[tuple[RowKind, ...]] = get_args(ActivationKind)
CONVOLUTIONS: Final[tuple[RowKind, ...]] = ("conv", "depthwise_conv")
WEIGHTS: Final[tuple[RowKind, ...]] = (*CONVOLUTIONS, "linear")
NORMS: Final[tuple[RowKind, ...]] = ("batch_norm", "other_norm")


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


def kind_of(layer: Layer) -> LayerKind:
    match layer:
        case Conv():
            return "conv"
        case DepthwiseConv():
            return "depthwise_conv"
        case BatchNorm():
            return "batch_norm"
        case Activation():
            return layer.kind
        case Pool() | GlobalPool() | AdaptivePool():
            return "max_pool" if layer.kind == "max" else "average_pool"
        case Dropout():
            return "dropout"
        case Flatten():
            return "flatten"
        case Linear():
            return "linear"
        case LogSoftmax():
            return "log_softmax"
        case _:
            assert_never(layer)


MODULE_KINDS: Final[dict[str, RowKind]] = {
    "Conv2d": "conv",
    "BatchNorm1d": "batch_norm",
    "BatchNorm2d": "batch_norm",
    "BatchNorm3d": "batch_norm",
    "SyncBatchNorm": "batch_norm",
    "LocalResponseNorm": "other",  # it does not take away the scale of its input
    "ReLU6": "relu6",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Hardswish": "hardswish",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "MaxPool2d": "max_pool",
    "AdaptiveMaxPool2d": "max_pool",
    "GlobalMax": "max_pool",
    "AvgPool2d": "average_pool",
    "AdaptiveAvgPool2d": "average_pool",
    "GlobalAverage": "average_pool",
    "Dropout": "dropout",
    "Dropout2d": "dropout",
    "Flatten": "flatten",
    "Linear": "linear",
    "LogSoftmax": "log_softmax",
}


def kind_of_module(class_names: Iterable[str]) -> RowKind:
    """The kind of a torch module by the names of its class and of those that it inherits from, nearest first.

    >>> kind_of_module(["MyConv", "Conv2d", "Module"]), kind_of_module(["GroupNorm", "Module"])
    ('conv', 'other_norm')
    """
    names = tuple(class_names)
    known = next((MODULE_KINDS[name] for name in names if name in MODULE_KINDS), None)
    return known or ("other_norm" if any("norm" in name.lower() for name in names) else "other")


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
