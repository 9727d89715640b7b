"""What a net costs, in closed form and without torch: parameters, multiplications, memory, per layer.

Conventions, the same wherever the numbers are shown (docs/counting.md):
- parameters are the trainable values executed in forward; registered-but-unused ones are told beside them;
- buffers (the running mean and variance of batch norm) are told apart;
- MACs are multiplications by weights for one image; bias, batch norm and pooling are not counted;
- activation memory is for one image: what a layer reads and writes, plus what a residual keeps for later;
  activations, batch norm, dropout and flatten work in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from flyweight.model.layout import Placed, PlacedNode, PlacedResidual, PlacedShared, PlacedUnused, Shape, place
from flyweight.model.notation import format_node, parse_net
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
    RowKind,
    kind_of,
)

IN_PLACE = (Activation, BatchNorm, Dropout, Flatten, LogSoftmax)
FLOAT32_BYTES, INT8_BYTES = 4, 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a layer, once per pass where weights are shared.

    receptive_field and jump are (height, width) in pixels of the input image, not clipped to its frame.
    activations is the number of values alive while the layer runs, for one image.
    """

    name: str
    path: str
    kind: RowKind
    layer: str
    in_shape: Shape
    out_shape: Shape
    params: int
    buffers: int
    macs: int
    receptive_field: tuple[float, float]
    jump: tuple[float, float]
    activations: int
    is_shared: bool = False
    is_executed: bool = True


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The whole table and its totals."""

    net: str
    input_shape: Shape
    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Trainable values that forward uses."""
        return sum(row.params for row in self.rows if row.is_executed)

    @property
    def registered_params(self) -> int:
        """Trainable values that the net holds, used or not."""
        return sum(row.params for row in self.rows)

    @property
    def buffers(self) -> int:
        return sum(row.buffers for row in self.rows if row.is_executed)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows if row.is_executed)

    @property
    def activations(self) -> int:
        """Values alive at the worst moment, for one image."""
        return max((row.activations for row in self.rows if row.is_executed), default=0)

    @property
    def activation_bytes(self) -> int:
        """Peak activation memory for one image in float32."""
        return self.activations * FLOAT32_BYTES

    @property
    def flash_bytes(self) -> int:
        """What a device stores in float32: parameters and the running statistics of batch norm."""
        return (self.params + self.buffers) * FLOAT32_BYTES

    @property
    def int8_bytes(self) -> int:
        """The same with one byte a value."""
        return (self.params + self.buffers) * INT8_BYTES

    @property
    def out_shape(self) -> Shape:
        executed = [row for row in self.rows if row.is_executed]
        return executed[-1].out_shape if executed else self.input_shape

    def heaviest(self, n: int = 3) -> tuple[Row, ...]:
        """The layers with most parameters, heaviest first."""
        weighty = [row for row in self.rows if row.params and row.is_executed]
        return tuple(sorted(weighty, key=lambda row: -row.params)[:n])


def walk(net: Net | str, input_shape: Shape = (1, 28, 28)) -> Cost:
    """Count `net` for images of `input_shape` (channels, height, width).

    >>> walk("c8 r m2 flat fc10").params
    13610

    Raises:
        NotationError: text that does not parse, or layers that do not fit.
    """
    if isinstance(net, str):
        net = parse_net(net)
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
