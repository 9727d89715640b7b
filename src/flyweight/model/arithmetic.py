"""Closed forms of one layer: output shape, receptive field, parameters, buffers, MACs.

Each function matches all layers, so the type checker reports functions that lack a new layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import NoReturn, TypeAlias, assert_never

from flyweight.errors import NotationError
from flyweight.model.spec import (
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Linear,
    LogSoftmax,
    Pool,
    RowKind,
    SqueezeExcite,
    both,
)

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one unit, per axis (height, width), in pixels, not clipped to the image.

    extent: kept after a flatten, since the next linear layer covers it completely.
    """

    size: tuple[Fraction, Fraction]
    effective_stride: tuple[Fraction, Fraction]
    extent: tuple[int, int]


@dataclass(frozen=True)
class State:
    """The state between two layers: the shape of the values of one image, and their receptive field."""

    shape: Shape
    field: ReceptiveField


@dataclass(frozen=True, kw_only=True)
class Counts:
    """params: trainable values; buffers: other stored values; macs: multiplications by weights."""

    params: int = 0
    buffers: int = 0
    macs: int = 0


def counts(layer: Layer, in_shape: Shape, out_shape: Shape) -> Counts:
    """The counts of one layer for one image. The step counter of batch norm is not counted."""
    channels = in_shape[0]
    match layer:
        case Conv():
            weights = (channels // layer.groups) * prod(both(layer.kernel))
            return Counts(params=layer.channels * (weights + layer.bias), macs=prod(out_shape) * weights)
        case DepthwiseConv():
            weights = prod(both(layer.kernel))
            return Counts(params=channels * layer.multiplier * (weights + layer.bias), macs=prod(out_shape) * weights)
        case BatchNorm():
            return Counts(params=2 * channels * layer.affine, buffers=2 * channels)
        case Linear():
            return Counts(params=layer.features * (channels + layer.bias), macs=channels * layer.features)
        case Activation():
            return Counts(params=channels if layer.kind == "prelu" else 0)
        case SqueezeExcite():
            weights = 2 * channels * layer.hidden(channels)
            return Counts(params=weights + layer.hidden(channels) + channels, macs=weights)
        case Pool() | GlobalPool() | AdaptivePool() | Dropout() | Flatten() | LogSoftmax():
            return Counts()
        case _:
            assert_never(layer)


def is_in_place(kind: RowKind) -> bool:
    """Whether a layer overwrites its input, so that it needs no memory of its own."""
    match kind:
        case "batch_norm" | "dropout" | "squeeze_excite" | "flatten" | "log_softmax":
            return True
        case "relu" | "relu6" | "leaky_relu" | "prelu" | "elu" | "gelu" | "silu" | "hardswish" | "tanh" | "sigmoid":
            return True
        case "conv" | "depthwise_conv" | "linear" | "max_pool" | "average_pool" | "other_norm" | "other":
            return False
        case _:
            assert_never(kind)


def after(layer: Layer, name: str, state: State) -> State:
    """The state after one layer; name: of the layer, for errors."""
    shape, field = state.shape, state.field
    match layer:
        case Conv():
            _needs_image(name, shape)
            if shape[0] % layer.groups or layer.channels % layer.groups:
                misfit(
                    name, f"channels in and out ({layer.channels}) must be multiples of groups={layer.groups}", shape
                )
            kernel, padding = both(layer.kernel), both(layer.padding)
            return _windowed(name, layer.channels, state, kernel, layer.stride, padding, layer.dilation)
        case DepthwiseConv():
            _needs_image(name, shape)
            channels = shape[0] * layer.multiplier
            kernel, padding = both(layer.kernel), both(layer.padding)
            return _windowed(name, channels, state, kernel, layer.stride, padding, layer.dilation)
        case Pool():
            _needs_image(name, shape)
            if 2 * layer.padding > layer.kernel:
                misfit(name, f"padding must be at most half the window of {layer.kernel}", shape)
            return _windowed(name, shape[0], state, both(layer.kernel), layer.step, both(layer.padding), 1)
        case GlobalPool():
            _needs_image(name, shape)
            return State((shape[0], 1, 1), whole(field))
        case AdaptivePool():
            _needs_image(name, shape)
            return State((shape[0], layer.size, layer.size), adapted(field, (layer.size, layer.size)))
        case SqueezeExcite():
            _needs_image(name, shape)
            return State(shape, replace(field, size=whole(field).size))
        case Flatten():
            return State((prod(shape),), field)
        case Linear():
            if len(shape) != 1:
                misfit(name, "needs a flat input; put 'flat' (or 'gap flat') before it", shape)
            return State((layer.features,), whole(field))
        case LogSoftmax():
            if len(shape) != 1:
                misfit(name, "needs a flat input; put 'flat' before it", shape)
            return state
        case BatchNorm() | Activation() | Dropout():
            return state
        case _:
            assert_never(layer)


def _windowed(
    name: str,
    channels: int,
    state: State,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    dilation: int,
) -> State:
    """A sliding window: the arithmetic of Dumoulin and Visin, arXiv 1603.07285."""
    spans = (dilation * (kernel[0] - 1) + 1, dilation * (kernel[1] - 1) + 1)
    sides = (state.shape[1], state.shape[2])
    for side, span, pad in zip(sides, spans, padding, strict=True):
        if side + 2 * pad < span:
            misfit(name, f"its window spans {span} pixels with padding {pad}", state.shape)
    height, width = (
        (side + 2 * pad - span) // stride + 1 for side, span, pad in zip(sides, spans, padding, strict=True)
    )
    return State((channels, height, width), slid(state.field, spans, (stride, stride), (height, width)))


def slid(
    field: ReceptiveField, spans: tuple[int, int], strides: tuple[int, int], extent: tuple[int, int]
) -> ReceptiveField:
    """The field after a window that spans so many units of its input, for each axis."""
    before = tuple(zip(field.size, field.effective_stride, strict=True))
    size = tuple(rf + (span - 1) * step for (rf, step), span in zip(before, spans, strict=True))
    steps = tuple(step * stride for step, stride in zip(field.effective_stride, strides, strict=True))
    return ReceptiveField(_pair(size), _pair(steps), extent)


def whole(field: ReceptiveField) -> ReceptiveField:
    """A unit that sees everything that the units before it saw together."""
    return _pooled(field, field.extent, (1, 1))


def adapted(field: ReceptiveField, sizes: tuple[int, int]) -> ReceptiveField:
    """Adaptive windows differ by one where the sides do not divide; the widest one counts."""
    widest = [
        max(-(-(i + 1) * side // size) - i * side // size for i in range(size))
        for side, size in zip(field.extent, sizes, strict=True)
    ]
    return _pooled(field, widest, sizes)


def _pooled(field: ReceptiveField, windows: Sequence[int], extent: tuple[int, int]) -> ReceptiveField:
    """What a unit sees through a window; the mean distance of two units, where their windows are not alike."""
    steps = field.effective_stride
    size = tuple(rf + (window - 1) * step for rf, step, window in zip(field.size, steps, windows, strict=True))
    shares = tuple(step * old / new for step, old, new in zip(steps, field.extent, extent, strict=True))
    return ReceptiveField(_pair(size), _pair(shares), extent)


def wider(one: ReceptiveField, other: ReceptiveField) -> ReceptiveField:
    return replace(one, size=_pair(tuple(max(pair) for pair in zip(one.size, other.size, strict=True))))


def _pair(values: tuple[Fraction, ...]) -> tuple[Fraction, Fraction]:
    return values[0], values[1]


def _needs_image(name: str, shape: Shape) -> None:
    if len(shape) != 3:
        misfit(name, "needs (channels, height, width); it must stand before 'flat'", shape)


def misfit(name: str, needs: str, found: Shape) -> NoReturn:
    raise NotationError(f"net, {name}: {needs}; its input is {shape_text(found)}.")


def shape_text(shape: Shape) -> str:
    return "x".join(str(side) for side in shape)
