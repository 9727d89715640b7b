"""A net as the few operations that an export runs: `lower(net, input_shape)`.

Goes in: a `Net` and the shape of one image. Comes out: operations in order, with shapes, what is fused into what, and
where each intermediate map is in memory. No weights and no torch: sizes are foretold from it (`int8_cost.py`), and
`fold.py` adds the weights.

All maps are (height, width, channels), channels last; a flat vector is (1, 1, features). A flatten costs nothing: the
weights after it are put in that order. Batch norm is folded into the convolution before it, also across pooling, or
else becomes a depthwise 1x1 convolution; linear layers are 1x1 convolutions. An activation is part of the operation
before it, and so is a max pool whose windows do not overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import Final, Literal, TypeAlias, assert_never

from flyweight.errors import UsageError
from flyweight.model.layout import ShapedLayer, ShapedNode, ShapedResidual, ShapedShared, ShapedUnused, infer_shapes
from flyweight.model.notation import is_own_module, parse_net
from flyweight.model.spec import (
    Activation,
    ActivationKind,
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
    Net,
    Pool,
    Sides,
    SqueezeExcite,
    both,
)

Map: TypeAlias = tuple[int, int, int]
"""The shape of a map: (height, width, channels)."""
Pair: TypeAlias = tuple[int, int]
Windows: TypeAlias = tuple[Pair, ...]
"""The windows of a pool along one axis: [first, last) of each."""
OperationKind: TypeAlias = Literal["conv", "add", "average", "max", "table", "slopes"]

# They never fall where their input rises, so the maximum may be taken before or after them.
MONOTONE: Final[frozenset[ActivationKind]] = frozenset({"relu", "relu6", "leaky_relu", "elu", "tanh", "sigmoid"})
CLAMPS: Final[frozenset[ActivationKind]] = frozenset({"relu", "relu6"})


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One step. Value 0 is the image, and operation i writes value i + 1.

    name: of the layer that it is, layers: of all that are in it. path: of the weights in the state dict; empty for a
    batch norm or the normalisation alone. norms: paths of the batch norms folded into it, late_norms: of those behind
    its pool. flattened: the map (channels, height, width) that its input vector was, for the order of its weights.
    kernel, stride: of its window. adaptive: the side of the output of an adaptive pool. pool, pool_stride: of the max
    pool fused into a convolution. is_late: the pool comes after the activation. wide: it writes 32-bit scores.
    """

    kind: OperationKind
    name: str
    layers: tuple[str, ...]
    inputs: tuple[int, ...]
    in_shape: Map
    out_shape: Map
    path: str = ""
    norms: tuple[str, ...] = ()
    late_norms: tuple[str, ...] = ()
    has_affine_norms: bool = False
    has_bias: bool = False
    flattened: tuple[int, int, int] | None = None
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    adaptive: int | None = None
    pool: Pair = (1, 1)
    pool_stride: Pair = (1, 1)
    is_late: bool = False
    activation: Activation | None = None
    wide: bool = False
    in_place: bool = False

    @property
    def is_pooled(self) -> bool:
        return (self.pool, self.pool_stride) != ((1, 1), (1, 1))

    @property
    def conv_shape(self) -> Map:
        """The output of a convolution before its pool, as far as the pool reads it."""
        (height, width, channels), (ph, pw), (sh, sw) = self.out_shape, self.pool, self.pool_stride
        return ((height - 1) * sh + ph, (width - 1) * sw + pw, channels)

    @property
    def table_kind(self) -> Activation | None:
        """The activation, if it needs a table."""
        is_clamp = self.activation is None or self.activation.kind in CLAMPS
        return None if is_clamp and self.kind != "table" else self.activation

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(outputs, kernel height, kernel width, inputs of a group) of a convolution."""
        return (self.out_shape[2], *self.kernel, self.in_shape[2] // self.groups)

    def windows(self, axis: int) -> Windows:
        """The windows of a pool along the height (0) or the width (1), [first, last), cut at the edges."""
        side, n = self.in_shape[axis], self.out_shape[axis]
        if self.adaptive is not None:
            return tuple((i * side // n, -(-(i + 1) * side // n)) for i in range(n))
        starts = (i * self.stride[axis] - self.padding for i in range(n))
        return tuple((max(start, 0), min(start + self.kernel[axis], side)) for start in starts)


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """net: in notation. offsets: where each value is in memory; None for the image and the scores, which are outside.

    memory: bytes of all intermediate maps, one byte a value.
    """

    net: str
    input_shape: tuple[int, int, int]
    operations: tuple[Operation, ...]
    offsets: tuple[int | None, ...]
    memory: int

    @property
    def n_classes(self) -> int:
        return self.operations[-1].out_shape[2]


def lower(net: Net | str, input_shape: tuple[int, int, int]) -> Lowered:
    """The operations of a net for images (channels, height, width).

    >>> [one.layers for one in lower("c8 bn m2 r flat fc10", (1, 28, 28)).operations]
    [('conv1', 'bn1', 'maxpool1', 'relu1'), ('linear1',)]

    Raises:
        UsageError: what the exports cannot do, by the name of the layer. NotationError: a net that does not fit.
    """
    if isinstance(net, str):
        if is_own_module(net):
            raise UsageError(
                f"the net {net!r} is a module of your own; the exports take nets in notation (docs/export.md says why)."
            )
        net = parse_net(net)
    raw = _Reading()
    end = raw.sequence(_without_last_log_softmax(infer_shapes(net, input_shape)), _start(input_shape))
    if not end.is_flat:
        raise UsageError(
            f"the output of the net must be flat, one value for each class; its last layer gives "
            f"{'x'.join(map(str, (end.shape[2], *end.shape[:2])))}. End it with 'flat' and a linear layer."
        )
    if end.order is not None and not _is_plain(end.order):
        raise UsageError(
            "the output of the net must be that of a layer with one value for each class, found a flattened map; end "
            "it with a linear layer."
        )
    operations = _fused(raw.steps, end.value, _start(input_shape).shape)
    offsets, memory = _placed(operations)
    return Lowered(net=str(net), input_shape=input_shape, operations=tuple(operations), offsets=offsets, memory=memory)


@dataclass(frozen=True)
class _State:
    """A value between layers. order: of a flat one, the map (channels, height, width) that it was."""

    value: int
    shape: Map
    is_flat: bool = False
    order: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class _Step:
    """A layer that computes something, or (layer None) an addition; it writes the value of its number + 1."""

    layer: Layer | None
    name: str
    path: str
    inputs: tuple[int, ...]
    in_shape: Map
    out_shape: Map
    order: tuple[int, int, int] | None


def _start(input_shape: tuple[int, int, int]) -> _State:
    channels, height, width = input_shape
    return _State(0, (height, width, channels))


def _is_plain(order: tuple[int, int, int]) -> bool:
    """Whether a map flattened channels first and channels last is the same vector."""
    return order[0] == 1 or order[1] * order[2] == 1


def _without_last_log_softmax(nodes: tuple[ShapedNode, ...]) -> tuple[ShapedNode, ...]:
    """It does not change which score is the largest, and the softmax of the scores is the same."""
    while nodes and isinstance(last := nodes[-1], ShapedLayer) and isinstance(last.layer, LogSoftmax | Dropout):
        nodes = nodes[:-1]
    return nodes


class _Reading:
    """Lists the layers that compute; dropout and flatten only pass their input on."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []

    def sequence(self, nodes: Sequence[ShapedNode], state: _State) -> _State:
        for node in nodes:
            match node:
                case ShapedLayer():
                    state = self.layer(node, state)
                case ShapedShared():
                    for one in node.passes:
                        state = self.sequence(one, state)
                case ShapedResidual():
                    state = self.residual(node, state)
                case ShapedUnused():
                    pass
                case _:
                    assert_never(node)
        return state

    def layer(self, node: ShapedLayer, state: _State) -> _State:
        match node.layer:
            case Dropout():
                return state
            case Flatten():
                height, width, channels = state.shape
                order = state.order if state.is_flat else (channels, height, width)
                return replace(state, shape=(1, 1, prod(state.shape)), is_flat=True, order=order)
            case SqueezeExcite():
                raise UsageError(f"{node.name}: the exports have no squeeze-and-excitation; train a net without 'se'.")
            case LogSoftmax():
                raise UsageError(f"{node.name}: the exports have log-softmax only at the end of a net; remove it.")
            case _:
                is_flat = len(node.out_shape) == 1
                channels, height, width = (*node.out_shape, 1, 1)[:3]
                out = (1, 1, channels) if is_flat else (height, width, channels)
                order = None if isinstance(node.layer, Linear) else state.order
                return self.step(node.layer, node.name, node.path, (state,), _State(0, out, is_flat, order))

    def residual(self, node: ShapedResidual, state: _State) -> _State:
        body, shortcut = self.sequence(node.body, state), self.sequence(node.shortcut, state)
        orders = {one.order for one in (body, shortcut) if one.order is not None and not _is_plain(one.order)}
        is_mixed = len(orders) == 1 and any(one.order is None or _is_plain(one.order) for one in (body, shortcut))
        if len(orders) > 1 or is_mixed:
            raise UsageError(f"{node.path}: the exports cannot add maps that were flattened from different shapes.")
        name = node.path.rpartition(".")[2]
        return self.step(None, name, "", (body, shortcut), replace(body, value=0))

    def step(self, layer: Layer | None, name: str, path: str, inputs: tuple[_State, ...], after: _State) -> _State:
        values, first = tuple(one.value for one in inputs), inputs[0]
        self.steps.append(_Step(layer, name, path, values, first.shape, after.shape, first.order))
        return replace(after, value=len(self.steps))


@dataclass
class _Fusing:
    """operations: so far. of_value: the value that stands for one of a step. readers: how many steps read a value."""

    readers: Mapping[int, int]
    operations: list[Operation] = field(default_factory=list)
    of_value: dict[int, int] = field(default_factory=dict)
    single: dict[int, bool] = field(default_factory=dict)

    def producer(self, value: int) -> Operation | None:
        """The operation that writes a value, if nothing else reads that."""
        return self.operations[value - 1] if value and self.single[value] else None


def _fused(steps: Sequence[_Step], last: int, image: Map) -> list[Operation]:
    """Steps as operations; the last value is read once more, by the caller."""
    readers = Counter(value for step in steps for value in step.inputs)
    readers[last] += 1
    state = _Fusing(readers=readers, of_value={0: 0})
    first = steps[0] if steps else None
    takes_pixels = first is not None and isinstance(first.layer, Conv | DepthwiseConv | Linear) and readers[0] == 1
    if not takes_pixels:  # the pixels are normalised by an operation of their own
        _append(state, _scaled("input", ("input",), 0, image, in_place=False))
        state.of_value[0] = 1
        state.single[1] = readers[0] == 1
    for number, step in enumerate(steps, start=1):
        inputs = tuple(state.of_value[value] for value in step.inputs)
        value = _merged(state, step, inputs)
        if value is None:
            value = _append(state, _operation(step, inputs))
        state.of_value[number] = value
        state.single[value] = readers[number] == 1
    operations = state.operations
    if operations[-1].kind in ("conv", "average") and operations[-1].activation is None:
        operations[-1] = replace(operations[-1], wide=True, in_place=False)
    return operations


def _append(state: _Fusing, operation: Operation) -> int:
    state.operations.append(operation)
    return len(state.operations)


def _merged(state: _Fusing, step: _Step, inputs: tuple[int, ...]) -> int | None:
    """The value of a step that becomes part of an operation before it; None if it cannot."""
    if len(inputs) != 1 or (producer := state.producer(inputs[0])) is None:
        return None
    match step.layer:
        case BatchNorm(affine):
            place = _before_pools(state, inputs[0], step)
            if place is None:
                return None
            found = state.operations[place - 1]
            has_affine = found.has_affine_norms or affine
            late = found.is_pooled
            state.operations[place - 1] = replace(
                found,
                norms=found.norms if late else (*found.norms, step.path),
                late_norms=(*found.late_norms, step.path) if late else found.late_norms,
                layers=(*found.layers, step.name),
                has_affine_norms=has_affine,
            )
            return inputs[0]
        case Activation(kind) if kind != "prelu":
            place = inputs[0]
            if producer.kind == "max":
                if kind not in MONOTONE or (before := state.producer(producer.inputs[0])) is None:
                    return None
                place, producer = producer.inputs[0], before
            if producer.kind not in ("conv", "add", "average") or producer.activation is not None:
                return None
            state.operations[place - 1] = replace(producer, activation=step.layer, layers=(*producer.layers, step.name))
            return inputs[0]
        case Pool() | GlobalPool() | AdaptivePool() if (pool := _pool(step)).kind == "max":
            is_apart = pool.padding == 0 and pool.adaptive is None and pool.stride >= pool.kernel
            if producer.kind != "conv" or not is_apart or producer.is_pooled or pool.stride[0] < pool.kernel[0]:
                return None
            if pool.stride[1] < pool.kernel[1]:
                return None
            is_late = producer.activation is not None and producer.activation.kind not in MONOTONE
            state.operations[inputs[0] - 1] = replace(
                producer,
                pool=pool.kernel,
                pool_stride=pool.stride,
                is_late=is_late,
                in_place=False,
                out_shape=step.out_shape,
                layers=(*producer.layers, step.name),
            )
            return inputs[0]
        case _:
            return None


def _before_pools(state: _Fusing, value: int, step: _Step) -> int | None:
    """The convolution that a batch norm can be folded into: linear averages without padding may be in between."""
    if step.order is not None and step.order[1] * step.order[2] > 1:
        producer = state.producer(value)  # of the vector itself; a channel of the map before has many features
        is_own = producer is not None and producer.kind == "conv" and producer.flattened == step.order
        if not is_own:
            return None
    while (producer := state.producer(value)) is not None and producer.activation is None:
        if producer.kind == "conv":
            return value
        if producer.kind != "average" or producer.padding:
            return None
        value = producer.inputs[0]
    return None


def _operation(step: _Step, inputs: tuple[int, ...]) -> Operation:
    layer = step.layer
    channels = step.in_shape[2]
    same = Operation(
        kind="conv",
        name=step.name,
        layers=(step.name,),
        inputs=inputs,
        in_shape=step.in_shape,
        out_shape=step.out_shape,
        path=step.path,
        flattened=step.order,
    )
    match layer:
        case None:
            return replace(same, kind="add", in_place=True)
        case Conv(_, kernel, stride, padding, dilation, groups, bias):
            return replace(
                same,
                kernel=both(kernel),
                stride=(stride, stride),
                padding=_equal(step.name, padding),
                dilation=dilation,
                groups=groups,
                has_bias=bias,
            )
        case DepthwiseConv(_, kernel, stride, padding, dilation, bias):
            return replace(
                same,
                kernel=both(kernel),
                stride=(stride, stride),
                padding=_equal(step.name, padding),
                dilation=dilation,
                groups=channels,
                has_bias=bias,
            )
        case Linear(_, bias):
            return replace(same, has_bias=bias)
        case BatchNorm(affine):
            scaled = _scaled(step.name, (step.name,), inputs[0], step.in_shape, in_place=True)
            return replace(scaled, norms=(step.path,), has_affine_norms=affine, flattened=step.order)
        case Activation("prelu"):
            return replace(same, kind="slopes", in_place=True)
        case Activation():
            return replace(same, kind="table", activation=layer, in_place=True)
        case Pool() | GlobalPool() | AdaptivePool():
            return replace(_pool(step), inputs=inputs)
        case Dropout() | Flatten() | LogSoftmax() | SqueezeExcite():
            raise AssertionError("they compute nothing here, or were refused")
        case _:
            assert_never(layer)


def _equal(name: str, padding: Sides) -> int:
    if not isinstance(padding, int):
        raise UsageError(
            f"{name}: the exports pad all four sides alike, found padding {padding[0]}x{padding[1]}; train it without "
            "padding, or with one number."
        )
    return padding


def _scaled(name: str, layers: tuple[str, ...], value: int, shape: Map, *, in_place: bool) -> Operation:
    """A depthwise 1x1 convolution: each channel times a number, plus a number."""
    return Operation(
        kind="conv",
        name=name,
        layers=layers,
        inputs=(value,),
        in_shape=shape,
        out_shape=shape,
        groups=shape[2],
        in_place=in_place,
    )


def _pool(step: _Step) -> Operation:
    """A pool as an operation, without its inputs; an adaptive one with equal windows is an ordinary one."""
    layer, (height, width, _) = step.layer, step.in_shape
    assert isinstance(layer, Pool | GlobalPool | AdaptivePool)
    kernel, stride, padding, adaptive = (height, width), (height, width), 0, None
    if isinstance(layer, Pool):
        kernel, stride, padding = (layer.kernel,) * 2, (layer.step,) * 2, layer.padding
    elif isinstance(layer, AdaptivePool):
        if height % layer.size or width % layer.size:
            adaptive = layer.size
        else:
            kernel = stride = (height // layer.size, width // layer.size)
    return Operation(
        kind="max" if layer.kind == "max" else "average",
        name=step.name,
        layers=(step.name,),
        inputs=(),
        in_shape=step.in_shape,
        out_shape=step.out_shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        adaptive=adaptive,
    )


def _placed(operations: Sequence[Operation]) -> tuple[tuple[int | None, ...], int]:
    """Where each value is, and the bytes of all: the better of two greedy orders, and exact for a chain."""
    n = len(operations)
    last_read = {value: number for number, one in enumerate(operations, start=1) for value in one.inputs}
    # A value that is overwritten in place and its successor are one block of memory.
    block = list(range(n + 1))
    for number, one in enumerate(operations, start=1):
        dying = [value for value in one.inputs if value and last_read[value] == number]
        if one.in_place and dying and (number < n or not one.wide):
            block[number] = block[dying[0]]
    spans: dict[int, tuple[int, int, int]] = {}
    for number, one in enumerate(operations, start=1):
        if number == n and one.wide:
            continue
        first, _, size = spans.get(block[number], (number, 0, 0))
        spans[block[number]] = (first, last_read.get(number, n + 1), max(size, prod(one.out_shape)))
    found = [_first_fit(spans, order) for order in (_by_size(spans), sorted(spans, key=lambda one: spans[one][0]))]
    if (ends := _at_both_ends(spans)) is not None:
        found.append(ends)
    offsets, memory = min(found, key=lambda one: one[1])
    return (None, *(offsets.get(block[number]) for number in range(1, n + 1))), memory


Spans: TypeAlias = Mapping[int, tuple[int, int, int]]  # first and last operation of a block, and its bytes


def _by_size(spans: Spans) -> list[int]:
    return sorted(spans, key=lambda one: (-spans[one][2], spans[one][0]))


def _meet(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _first_fit(spans: Spans, order: Sequence[int]) -> tuple[dict[int, int], int]:
    """Each block at the lowest place that is free as long as it lives."""
    offsets: dict[int, int] = {}
    for one in order:
        place = 0
        taken = sorted((offsets[other], spans[other][2]) for other in offsets if _meet(spans[one], spans[other]))
        for start, size in taken:
            if start - place >= spans[one][2]:
                break
            place = max(place, start + size)
        offsets[one] = place
    return offsets, max((offsets[one] + spans[one][2] for one in offsets), default=0)


def _at_both_ends(spans: Spans) -> tuple[dict[int, int], int] | None:
    """For a chain, in which each block meets only its neighbours: from the bottom and from the top in turns."""
    order = sorted(spans, key=lambda one: spans[one][0])
    if any(_meet(spans[a], spans[b]) for a, b in zip(order, order[2:], strict=False)):
        return None
    pairs = [spans[a][2] + spans[b][2] for a, b in pairwise(order)]
    memory = max([*pairs, *(span[2] for span in spans.values())], default=0)
    return {one: memory - spans[one][2] if number % 2 else 0 for number, one in enumerate(order)}, memory
