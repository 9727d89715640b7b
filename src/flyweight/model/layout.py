"""One walk from the image to the logits: names, shapes, receptive field and jump of every layer.

Goes in: a `Net` and the shape of one image. Comes out: a tree of placed layers, which `cost.py` folds into
counts and `build.py` turns into torch modules, so that the two cannot disagree about a name or a shape.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Final, NoReturn, TypeAlias

from flyweight.errors import NotationError
from flyweight.model.spec import (
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalPool,
    Layer,
    LayerKind,
    Linear,
    LogSoftmax,
    Net,
    Node,
    Pool,
    Repeat,
    Residual,
    Shared,
    Unused,
    kind_of,
)

Shape: TypeAlias = tuple[int, ...]

MAX_LAYERS = 10_000
"""Nested repetitions multiply: a slip of the finger must not ask for terabytes."""


@dataclass(frozen=True)
class View:
    """What one unit sees of the image, per axis (height, width), in pixels; the frame is not clipped.

    After a flatten the spatial extent is kept: the next linear layer looks at all of it at once.
    """

    receptive_field: tuple[Fraction, Fraction]
    jump: tuple[Fraction, Fraction]
    extent: tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """A layer where it stands: `path` is its name in the built net's state dict."""

    layer: Layer
    name: str
    path: str
    in_shape: Shape
    out_shape: Shape
    view: View


@dataclass(frozen=True)
class PlacedShared:
    path: str
    passes: tuple[tuple[PlacedNode, ...], ...]  # the same layers, once per pass, shapes per pass


@dataclass(frozen=True)
class PlacedResidual:
    path: str
    body: tuple[PlacedNode, ...]
    shortcut: tuple[PlacedNode, ...]


@dataclass(frozen=True)
class PlacedUnused:
    path: str
    body: tuple[PlacedNode, ...]


PlacedNode: TypeAlias = Placed | PlacedShared | PlacedResidual | PlacedUnused

# A layer's name is its kind and a number. Names of parameters in files of weights are made of them, so they stay.
_NAMES: Final[dict[LayerKind, str]] = {
    "depthwise_conv": "depthwise",
    "batch_norm": "bn",
    "max_pool": "maxpool",
    "average_pool": "avgpool",
}


@dataclass(frozen=True)
class _State:
    shape: Shape
    view: View


def place(net: Net, input_shape: Shape) -> tuple[PlacedNode, ...]:
    """Every layer of `net` with name, shapes and view, for images of `input_shape` (C, H, W).

    Raises:
        NotationError: a layer that does not fit what comes in, with its name, what it needs and what it found.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise NotationError(f"an image is (channels, height, width), each at least 1, found {input_shape}")
    n_layers = _unrolled_count(net.nodes)
    if n_layers > MAX_LAYERS:
        raise NotationError(f"a net has at most {MAX_LAYERS:,} layers, repetitions counted; found {n_layers:,}.")
    one = (Fraction(1), Fraction(1))
    start = _State(input_shape, View(one, one, (input_shape[1], input_shape[2])))
    return _Walk().sequence(net.nodes, start, prefix="")[0]


def _unrolled_count(nodes: tuple[Node, ...]) -> int:
    """Layers with every repetition, without unrolling anything."""
    total = 0
    for node in nodes:
        match node:
            case Repeat() | Shared():
                total += node.times * _unrolled_count(node.body)
            case Residual():
                total += _unrolled_count(node.body) + _unrolled_count(node.shortcut)
            case Unused():
                total += _unrolled_count(node.body)
            case _:
                total += 1
    return total


class _Walk:
    """Holds the running numbers of the names (conv1, conv2, ...); everything else is passed along."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def name(self, kind: str) -> str:
        self.counts[kind] += 1
        return f"{kind}{self.counts[kind]}"

    def sequence(self, nodes: tuple[Node, ...], state: _State, prefix: str) -> tuple[tuple[PlacedNode, ...], _State]:
        placed: list[PlacedNode] = []
        one: PlacedNode
        for node in nodes:
            match node:
                case Repeat():
                    for _ in range(node.times):
                        inner, state = self.sequence(node.body, state, prefix)
                        placed += inner
                    continue
                case Shared():
                    one, state = self.shared(node, state, prefix)
                case Residual():
                    one, state = self.residual(node, state, prefix)
                case Unused():
                    path = prefix + self.name("unused")
                    one = PlacedUnused(path, self.sequence(node.body, state, path + ".")[0])
                case _:
                    name = self.name(_NAMES.get(kind := kind_of(node), kind))
                    after = _step(node, name, state)
                    one = Placed(node, name, prefix + name, state.shape, after.shape, after.view)
                    state = after
            placed.append(one)
        return tuple(placed), state

    def shared(self, node: Shared, state: _State, prefix: str) -> tuple[PlacedShared, _State]:
        path = prefix + self.name("shared")
        before = self.counts.copy()
        passes = []
        for _ in range(node.times):
            self.counts = before.copy()  # the same layers again: the same names
            body, state = self.sequence(node.body, state, path + ".")
            passes.append(body)
        _same_weights(path, passes)
        return PlacedShared(path, tuple(passes)), state

    def residual(self, node: Residual, state: _State, prefix: str) -> tuple[PlacedResidual, _State]:
        path = prefix + self.name("residual")
        body, after = self.sequence(node.body, state, f"{path}.body.")
        shortcut, beside = self.sequence(node.shortcut, state, f"{path}.shortcut.")
        if after.shape != beside.shape:
            _misfit(
                path, f"body and shortcut must give one shape; the shortcut gives {_show(beside.shape)}", after.shape
            )
        view = _wider(after.view, beside.view)
        return PlacedResidual(path, body, shortcut), _State(after.shape, view)


def _step(layer: Layer, name: str, state: _State) -> _State:
    """The state after one layer."""
    shape, view = state.shape, state.view
    match layer:
        case Conv():
            _needs_image(name, shape)
            if shape[0] % layer.groups or layer.channels % layer.groups:
                _misfit(
                    name, f"channels in and out ({layer.channels}) must be multiples of groups={layer.groups}", shape
                )
            return _windowed(name, layer.channels, state, layer.kernel, layer.stride, layer.padding, layer.dilation)
        case DepthwiseConv():
            _needs_image(name, shape)
            channels = shape[0] * layer.multiplier
            return _windowed(name, channels, state, layer.kernel, layer.stride, layer.padding, layer.dilation)
        case Pool():
            _needs_image(name, shape)
            if 2 * layer.padding > layer.kernel:
                _misfit(name, f"padding must be at most half the window of {layer.kernel}", shape)
            return _windowed(name, shape[0], state, layer.kernel, layer.step, layer.padding, 1)
        case GlobalPool():
            _needs_image(name, shape)
            return _State((shape[0], 1, 1), _whole(view))
        case AdaptivePool():
            _needs_image(name, shape)
            return _State((shape[0], layer.size, layer.size), _adapted(view, layer.size))
        case Flatten():
            return _State((prod(shape),), view)
        case Linear():
            if len(shape) != 1:
                _misfit(name, "needs a flat input; put 'flat' (or 'gap flat') before it", shape)
            return _State((layer.features,), _whole(view))
        case LogSoftmax():
            if len(shape) != 1:
                _misfit(name, "needs a flat input; put 'flat' before it", shape)
            return _State(shape, view)
        case _:
            return state


def _windowed(name: str, channels: int, state: _State, kernel: int, stride: int, padding: int, dilation: int) -> _State:
    """A sliding window: the arithmetic of Dumoulin and Visin, arXiv 1603.07285."""
    span = dilation * (kernel - 1) + 1
    _, height, width = state.shape
    if min(height, width) + 2 * padding < span:
        _misfit(name, f"its window spans {span} pixels with padding {padding}", state.shape)
    out = tuple((side + 2 * padding - span) // stride + 1 for side in (height, width))
    view = state.view
    field = tuple(rf + (span - 1) * jump for rf, jump in zip(view.receptive_field, view.jump, strict=True))
    jump = tuple(j * stride for j in view.jump)
    return _State((channels, *out), View(_pair(field), _pair(jump), (out[0], out[1])))


def _whole(view: View) -> View:
    """A unit that sees everything that the units before it saw together."""
    field = tuple(
        rf + (side - 1) * jump for rf, jump, side in zip(view.receptive_field, view.jump, view.extent, strict=True)
    )
    jump = tuple(j * side for j, side in zip(view.jump, view.extent, strict=True))
    return View(_pair(field), _pair(jump), (1, 1))


def _adapted(view: View, size: int) -> View:
    """Adaptive windows differ by one where the sides do not divide; the widest one is told."""
    widest = [max(-(-(i + 1) * side // size) - i * side // size for i in range(size)) for side in view.extent]
    field = tuple(
        rf + (window - 1) * jump for rf, jump, window in zip(view.receptive_field, view.jump, widest, strict=True)
    )
    jump = tuple(j * side / size for j, side in zip(view.jump, view.extent, strict=True))
    return View(_pair(field), _pair(jump), (size, size))


def _wider(one: View, other: View) -> View:
    field = tuple(max(pair) for pair in zip(one.receptive_field, other.receptive_field, strict=True))
    return replace(one, receptive_field=_pair(field))


def _pair(values: tuple[Fraction, ...]) -> tuple[Fraction, Fraction]:
    return values[0], values[1]


def _same_weights(path: str, passes: list[tuple[PlacedNode, ...]]) -> None:
    """Weights can be shared only where every pass sees what sizes them: channels, or features for linear layers."""
    for later in passes[1:]:
        for first, again in zip(leaves(passes[0]), leaves(later), strict=True):
            sized = isinstance(first.layer, Conv | DepthwiseConv | BatchNorm | Linear) or (
                isinstance(first.layer, Activation) and first.layer.kind == "prelu"
            )
            if sized and (first.in_shape[0], len(first.in_shape)) != (again.in_shape[0], len(again.in_shape)):
                _misfit(
                    path,
                    f"{first.name} sees {_show(first.in_shape)} first, so each pass must give it that",
                    again.in_shape,
                )


def leaves(nodes: tuple[PlacedNode, ...]) -> list[Placed]:
    """Every layer in the order of execution, blocks opened; shared layers once per pass."""
    found: list[Placed] = []
    for node in nodes:
        match node:
            case Placed():
                found.append(node)
            case PlacedShared():
                for one in node.passes:
                    found += leaves(one)
            case PlacedResidual():
                found += leaves(node.body) + leaves(node.shortcut)
            case PlacedUnused():
                found += leaves(node.body)
    return found


def _needs_image(name: str, shape: Shape) -> None:
    if len(shape) != 3:
        _misfit(name, "needs (channels, height, width); it must stand before 'flat'", shape)


def _misfit(name: str, needs: str, found: Shape) -> NoReturn:
    raise NotationError(f"net, {name}: {needs}; what comes in or out is {_show(found)}.")


def _show(shape: Shape) -> str:
    return "x".join(str(side) for side in shape)
