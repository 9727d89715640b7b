"""Nets as values: frozen layers and blocks, and the tokens of the notation.

A layer has only what cannot be derived: a convolution has its output channels; its input channels follow from the
layers before it. Shapes and counts of a layer are in `arithmetic.py`, the parser in `notation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
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
        "squeeze_excite",
        "flatten",
        "linear",
        "log_softmax",
    ]
)
RowKind: TypeAlias = LayerKind | Literal["other_norm", "other"]
"""The kind of a row of the cost table; the last two are for modules of users."""

ACTIVATIONS: Final[tuple[RowKind, ...]] = get_args(ActivationKind)
CONVOLUTIONS: Final[tuple[RowKind, ...]] = ("conv", "depthwise_conv")
WEIGHTS: Final[tuple[RowKind, ...]] = (*CONVOLUTIONS, "linear")
NORMS: Final[tuple[RowKind, ...]] = ("batch_norm", "other_norm")


Sides: TypeAlias = int | tuple[int, int]
"""One number for height and width, or two that differ."""


def both(sides: Sides) -> tuple[int, int]:
    """For the height and for the width."""
    return (sides, sides) if isinstance(sides, int) else sides


def as_sides(height: int, width: int) -> Sides:
    """The one way to write it: a pair only where the two differ."""
    return height if height == width else (height, width)


@dataclass(frozen=True)
class Conv:
    """2-d convolution. kernel and padding may differ between height and width; opposite sides are padded alike."""

    channels: int
    kernel: Sides = 3
    stride: int = 1
    padding: Sides = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        _one_way(self)


@dataclass(frozen=True)
class DepthwiseConv:
    """One filter per input channel (times `multiplier`): groups equal the input channels."""

    multiplier: int = 1
    kernel: Sides = 3
    stride: int = 1
    padding: Sides = 0
    dilation: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        _one_way(self)


def _one_way(conv: Conv | DepthwiseConv) -> None:
    # Equal nets must be equal values, whoever makes them.
    for name in ("kernel", "padding"):
        object.__setattr__(conv, name, as_sides(*both(getattr(conv, name))))


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over (N, H, W) after a convolution, over N after a linear layer."""

    affine: bool = True


@dataclass(frozen=True)
class Activation:
    """slope: only for leaky_relu. prelu has one trainable value per channel."""

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
    """Pool to size x size for any input (windows as in torch: floor to ceil of equal shares)."""

    kind: Literal["max", "average"]
    size: int


@dataclass(frozen=True)
class Dropout:
    """Zero single values, or whole channels when `spatial`, with probability `p` while training."""

    p: float
    spatial: bool = False


@dataclass(frozen=True)
class SqueezeExcite:
    """Each channel times a number from 0 to 1 that depends on the means of all channels (Hu et al. 2018, arXiv
    1709.01507): mean, linear to channels / `reduction`, ReLU, linear back, sigmoid."""

    reduction: int = 4

    def hidden(self, channels: int) -> int:
        """Units between the two linear layers, rounded down, at least one."""
        return max(1, channels // self.reduction)


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) to (C * H * W,)."""


@dataclass(frozen=True)
class Linear:
    features: int
    bias: bool = True


@dataclass(frozen=True)
class LogSoftmax:
    """No effect before cross entropy (it is idempotent); the documents have it."""


Layer: TypeAlias = (
    Conv
    | DepthwiseConv
    | BatchNorm
    | Activation
    | Pool
    | GlobalPool
    | AdaptivePool
    | Dropout
    | SqueezeExcite
    | Flatten
    | Linear
    | LogSoftmax
)


@dataclass(frozen=True)
class Repeat:
    """The body repeated `times`, each with its own weights."""

    times: int
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Shared:
    """The body applied `times` in a row with the same weights."""

    times: int
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x); an empty shortcut is x itself."""

    body: tuple[Node, ...]
    shortcut: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Unused:
    """Layers that are registered but never called: they cost memory, but no computation."""

    body: tuple[Node, ...]


Block: TypeAlias = Repeat | Shared | Residual | Unused
Node: TypeAlias = Layer | Block


@dataclass(frozen=True)
class Net:
    """A whole net, from the image to the logits."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return format_nodes(self.nodes)


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
        case SqueezeExcite():
            return "squeeze_excite"
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
    "LocalResponseNorm": "other",  # it does not remove the scale of its input
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
    "SqueezeExcite": "squeeze_excite",
    "Flatten": "flatten",
    "Linear": "linear",
    "LogSoftmax": "log_softmax",
}


def kind_of_module(class_names: Iterable[str]) -> RowKind:
    """The kind of a torch module by the names of its class and base classes (method resolution order).

    >>> kind_of_module(["MyConv", "Conv2d", "Module"]), kind_of_module(["GroupNorm", "Module"])
    ('conv', 'other_norm')
    """
    names = tuple(class_names)
    known = next((MODULE_KINDS[name] for name in names if name in MODULE_KINDS), None)
    return known or ("other_norm" if any("norm" in name.lower() for name in names) else "other")


# Tokens that are one word. A layer is printed with its first spelling.
WORDS: Final[dict[str, Layer]] = {
    "bn": BatchNorm(),
    "bn0": BatchNorm(affine=False),
    "r": Activation("relu"),
    "relu": Activation("relu"),
    "r6": Activation("relu6"),
    "leaky": Activation("leaky_relu"),
    "prelu": Activation("prelu"),
    "elu": Activation("elu"),
    "gelu": Activation("gelu"),
    "silu": Activation("silu"),
    "hswish": Activation("hardswish"),
    "tanh": Activation("tanh"),
    "sigmoid": Activation("sigmoid"),
    "gap": GlobalPool("average"),
    "gmp": GlobalPool("max"),
    "flat": Flatten(),
    "ls": LogSoftmax(),
}

# Modifiers by letter: the field that they set, and its minimum. Those of PAIRS may be HxW, but not of pools.
PAIRS: Final = "/p"
MODIFIERS: Final[dict[str, tuple[str, int]]] = {
    "/": ("kernel", 1),
    "s": ("stride", 1),
    "p": ("padding", 0),
    "d": ("dilation", 1),
    "g": ("groups", 1),
}


@dataclass(frozen=True)
class TokenForm:
    """A token with a number: `head` + number + modifiers."""

    head: str
    make: Callable[..., Layer]
    number: str  # the pattern of the number after the head
    modifiers: str = ""
    example: str = ""


INTEGER, OPTIONAL, FRACTION = r"\d+", r"\d*", r"\d*\.?\d+"

FORMS: Final = (
    TokenForm("c", Conv, INTEGER, "/spdgn", "c16"),
    TokenForm("dw", DepthwiseConv, OPTIONAL, "/spdn", "dw"),
    TokenForm("fc", Linear, INTEGER, "n", "fc10"),
    TokenForm("m", lambda kernel, **more: Pool("max", kernel, **more), INTEGER, "sp", "m2"),
    TokenForm("a", lambda kernel, **more: Pool("average", kernel, **more), INTEGER, "sp", "a2"),
    TokenForm("aap", lambda size: AdaptivePool("average", size), INTEGER, "", "aap4"),
    TokenForm("amp", lambda size: AdaptivePool("max", size), INTEGER, "", "amp4"),
    TokenForm("do", lambda p: Dropout(p), FRACTION, "", "do.1"),
    TokenForm("sdo", lambda p: Dropout(p, spatial=True), FRACTION, "", "sdo.1"),
    TokenForm("se", SqueezeExcite, INTEGER, "", "se4"),
    TokenForm("leaky", lambda slope: Activation("leaky_relu", slope), FRACTION, "", "leaky.1"),
)


def format_nodes(nodes: tuple[Node, ...]) -> str:
    return " ".join(format_node(node) for node in nodes)


def format_node(node: Node) -> str:
    """One layer or block as its token."""
    match node:
        case Repeat():
            return f"{node.times}({format_nodes(node.body)})"
        case Shared():
            return f"{node.times}@({format_nodes(node.body)})"
        case Residual(shortcut=()):
            return f"+({format_nodes(node.body)})"
        case Residual():
            return f"+({format_nodes(node.body)} | {format_nodes(node.shortcut)})"
        case Unused():
            return f"unused({format_nodes(node.body)})"
        case Conv():
            return f"c{node.channels}{_convolution(node)}{_if(node.groups != 1, f'g{node.groups}')}{_bias(node.bias)}"
        case DepthwiseConv():
            return f"dw{_if(node.multiplier != 1, str(node.multiplier))}{_convolution(node)}{_bias(node.bias)}"
        case Linear():
            return f"fc{node.features}{_bias(node.bias)}"
        case Pool():
            stride = _if(node.stride is not None, f"s{node.stride}")
            return (
                f"{'m' if node.kind == 'max' else 'a'}{node.kernel}{stride}{_if(node.padding != 0, f'p{node.padding}')}"
            )
        case AdaptivePool():
            return f"{'amp' if node.kind == 'max' else 'aap'}{node.size}"
        case Dropout():
            return f"{'sdo' if node.spatial else 'do'}{_fraction(node.p)}"
        case SqueezeExcite():
            return f"se{node.reduction}"
        case Activation(kind="leaky_relu") if node.slope != Activation("leaky_relu").slope:
            return f"leaky{_fraction(node.slope)}"
        case Activation() | BatchNorm() | GlobalPool() | Flatten() | LogSoftmax():
            return next(word for word, layer in WORDS.items() if layer == node)
        case _:
            assert_never(node)


def _convolution(conv: Conv | DepthwiseConv) -> str:
    return (
        _if(conv.kernel != 3, f"/{_sides(conv.kernel)}")
        + _if(conv.stride != 1, f"s{conv.stride}")
        + _if(conv.padding != 0, f"p{_sides(conv.padding)}")
        + _if(conv.dilation != 1, f"d{conv.dilation}")
    )


def _sides(sides: Sides) -> str:
    return str(sides) if isinstance(sides, int) else f"{sides[0]}x{sides[1]}"


def _bias(bias: bool) -> str:
    return _if(not bias, "nb")


def _if(holds: bool, text: str) -> str:
    return text if holds else ""


def _fraction(value: float) -> str:
    # repr is the shortest text that reads back as the same float; Decimal writes it without an exponent.
    return f"{Decimal(repr(value)):f}".lstrip("0") if value else "0"
