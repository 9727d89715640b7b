"""Counting a net: `count(net, input_shape)`. Without torch, but for modules of the user's own, which are traced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from flyweight.model.cost import Cost, Row
from flyweight.model.layout import Placed, PlacedNode, PlacedResidual, PlacedShared, PlacedUnused, Shape, place
from flyweight.model.notation import format_node, is_own_module, parse_net
from flyweight.model.spec import (
    Activation,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    Net,
    kind_of,
)

if TYPE_CHECKING:
    from torch import nn

IN_PLACE = (Activation, BatchNorm, Dropout, Flatten, LogSoftmax)


def count(net: Net | str | nn.Module, input_shape: Shape = (1, 28, 28)) -> Cost:
    """What `net` costs for images of `input_shape` (channels, height, width).

    In closed form for a net in our notation; by tracing, which needs torch, for "file:Class" or a module.

    >>> count("c8 r m2 flat fc10").params
    13610

    Raises:
        NotationError: text that does not parse, or layers that do not fit. UsageError: a module that cannot be traced.
    """
    if isinstance(net, str) and not is_own_module(net):
        net = parse_net(net)
    if not isinstance(net, Net):
        from flyweight.model.trace import trace

        return trace(net, input_shape)
    rows = tuple(_rows(place(net, input_shape), _Memory(), executed=True, shared=False))
    return Cost(net=str(net), input_shape=input_shape, rows=rows)


@dataclass
class _Memory:
    """Values alive besides what the running layer writes: `held` for later, and its input unless it is held."""

    held: int = 0
    input_is_held: bool = False

    def during(self, placed: Placed) -> int:
        reads, writes = prod(placed.in_shape), prod(placed.out_shape)
        if self.input_is_held:
            alive = self.held + (0 if isinstance(placed.layer, Flatten) else writes)
        else:
            alive = self.held + (writes if isinstance(placed.layer, IN_PLACE) else reads + writes)
        self.input_is_held &= isinstance(placed.layer, Flatten)
        return alive


def _rows(nodes: tuple[PlacedNode, ...], memory: _Memory, *, executed: bool, shared: bool) -> Iterator[Row]:
    for node in nodes:
        match node:
            case Placed():
                yield _row(node, memory.during(node), executed, shared)
            case PlacedShared():
                for number, body in enumerate(node.passes):
                    yield from _rows(body, memory, executed=executed, shared=shared or number > 0)
            case PlacedResidual():
                yield from _residual_rows(node, memory, executed, shared)
            case PlacedUnused():
                yield from _rows(node.body, _Memory(), executed=False, shared=shared)


def _residual_rows(node: PlacedResidual, memory: _Memory, executed: bool, shared: bool) -> Iterator[Row]:
    entry = _entry_size(node)
    held = memory.held + (0 if memory.input_is_held else entry)
    yield from _rows(node.body, _Memory(held, True), executed=executed, shared=shared)
    # The shortcut runs second: the body's result waits; the entry is free once the shortcut has read it,
    # unless a residual around this one holds it.
    out = prod(_out_shape(node.body))
    waiting = held - (0 if memory.input_is_held else entry) + out
    shortcut = _Memory(waiting, memory.input_is_held)
    yield from _rows(node.shortcut, shortcut, executed=executed, shared=shared)
    memory.input_is_held = False


def _entry_size(node: PlacedResidual) -> int:
    return prod(_first(node.body).in_shape)


def _first(nodes: tuple[PlacedNode, ...]) -> Placed:
    node = nodes[0]
    match node:
        case Placed():
            return node
        case PlacedShared():
            return _first(node.passes[0])
        case PlacedResidual() | PlacedUnused():
            return _first(node.body)


def _out_shape(nodes: tuple[PlacedNode, ...]) -> Shape:
    running = [node for node in nodes if not isinstance(node, PlacedUnused)]
    if not running:
        return _first(nodes).in_shape
    match running[-1]:
        case Placed() as node:
            return node.out_shape
        case PlacedShared() as node:
            return _out_shape(node.passes[-1])
        case PlacedResidual() as node:
            return _out_shape(node.body)
    raise AssertionError("unused nodes were filtered out")


def _row(placed: Placed, activations: int, executed: bool, shared: bool) -> Row:
    view = placed.view
    return Row(
        name=placed.name,
        path=placed.path,
        kind=kind_of(placed.layer),
        layer=format_node(placed.layer),
        in_shape=placed.in_shape,
        out_shape=placed.out_shape,
        params=0 if shared else params(placed.layer, placed.in_shape),
        buffers=0 if shared else buffers(placed.layer, placed.in_shape),
        macs=macs(placed.layer, placed.in_shape, placed.out_shape),
        receptive_field=(float(view.receptive_field[0]), float(view.receptive_field[1])),
        jump=(float(view.jump[0]), float(view.jump[1])),
        activations=activations,
        is_shared=shared,
        is_executed=executed,
    )


def params(layer: Layer, in_shape: Shape) -> int:
    """Trainable values of one layer, from its text and what comes in."""
    channels = in_shape[0]
    match layer:
        case Conv():
            weights = layer.channels * (channels // layer.groups) * layer.kernel**2
            return weights + layer.channels * layer.bias
        case DepthwiseConv():
            return channels * layer.multiplier * (layer.kernel**2 + layer.bias)
        case BatchNorm():
            return 2 * channels * layer.affine
        case Linear():
            return layer.features * (channels + layer.bias)
        case Activation(kind="prelu"):
            return channels
        case _:
            return 0


def buffers(layer: Layer, in_shape: Shape) -> int:
    """Running mean and variance of batch norm; its step counter is bookkeeping and not counted."""
    return 2 * in_shape[0] if isinstance(layer, BatchNorm) else 0


def macs(layer: Layer, in_shape: Shape, out_shape: Shape) -> int:
    """Multiplications by weights for one image."""
    match layer:
        case Conv():
            return prod(out_shape) * (in_shape[0] // layer.groups) * layer.kernel**2
        case DepthwiseConv():
            return prod(out_shape) * layer.kernel**2
        case Linear():
            return in_shape[0] * layer.features
        case _:
            return 0
