"""The cost of a net as a function of its widths, in closed form, and the widths that fill a budget. No torch.

In: a net whose widths are proportions. Out: the same net with the largest widths that fit every limit. Counting a net
anew for each try would take milliseconds; here the net is read once into sums of products of widths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from random import Random
from typing import Final, TypeAlias, assert_never

from flyweight.errors import NotationError, UsageError
from flyweight.model.arithmetic import Shape, is_in_place
from flyweight.model.budget import Budget, Kind
from flyweight.model.cost import FLOAT32_BYTES
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
    Net,
    Node,
    Pool,
    Repeat,
    Residual,
    Shared,
    Sides,
    SqueezeExcite,
    Unused,
    both,
    kind_of,
)
from flyweight.model.tree import Nodes, Path, nodes_with_paths, rewritten, with_width, without_repeats

COUNTED: Final[tuple[Kind, ...]] = ("params", "macs", "activation", "flash")
MAX_WIDTH: Final = 4096
STEPS_OF_BISECTION: Final = 14

Widths: TypeAlias = tuple[int, ...]
Values: TypeAlias = tuple[int, int]
"""Values of one image: a width by its number, and the values per channel."""


@dataclass
class _Sum:
    """A sum of constants, widths and products of two widths, each with a factor."""

    constant: int = 0
    linear: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    products: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))

    def renumbered(self, number: Sequence[int]) -> _Sum:
        found = _Sum(self.constant)
        for width, factor in self.linear.items():
            found.linear[number[width]] += factor
        for (a, b), factor in self.products.items():
            found.products[number[a], number[b]] += factor
        return found

    def at(self, widths: Sequence[int]) -> int:
        total = self.constant
        for width, factor in self.linear.items():
            total += factor * widths[width]
        for (a, b), factor in self.products.items():
            total += factor * widths[a] * widths[b]
        return total


@dataclass(frozen=True, kw_only=True)
class WidthModel:
    """A net without repeats, read for its widths. base: the proportions. free: the widths that may change.

    of_layer: the width of each layer that has one, by its path. Widths that a residual or shared weights tie are one.
    """

    net: Net
    base: Widths
    free: tuple[int, ...]
    of_layer: Mapping[Path, int]
    params: _Sum
    buffers: _Sum
    macs: _Sum
    memory: tuple[tuple[Values, ...], ...]

    def need(self, kind: Kind, widths: Sequence[int]) -> int:
        """What the net needs of a kind with these widths, as `model.budget.needs` has it."""
        match kind:
            case "params":
                return self.params.at(widths)
            case "macs":
                return self.macs.at(widths)
            case "flash":
                return (self.params.at(widths) + self.buffers.at(widths)) * FLOAT32_BYTES
            case "activation":
                rows = (sum(size * widths[width] for width, size in row) for row in self.memory)
                return max(rows, default=0) * FLOAT32_BYTES
            case _:
                raise UsageError(f"{kind} is not counted from the widths of a net.")

    def fits(self, budget: Budget, widths: Sequence[int]) -> bool:
        limits = budget.limits()
        return all(self.need(kind, widths) <= limits[kind] for kind in COUNTED if kind in limits)

    def with_widths(self, widths: Sequence[int]) -> Net:
        """The net with these widths."""
        nodes = dict(nodes_with_paths(self.net.nodes))
        changes = {
            path: (with_width(nodes[path], widths[number]),)
            for path, number in self.of_layer.items()
            if number in self.free
        }
        return rewritten(self.net, changes)


def read_widths(net: Net, input_shape: Shape) -> WidthModel:
    """Read a net for its widths; that of its last linear layer, the classes, is fixed.

    Raises:
        NotationError: layers that do not fit. UsageError: a kind of layer whose width cannot be scaled.
    """
    net = Net(without_repeats(net.nodes))
    reader = _Reader()
    channels, height, width = input_shape
    start = _State(reader.new(channels, is_free=False), height, width)
    end = reader.sequence(net.nodes, (), start, _Memory(), counts_params=True)
    if not end.is_flat:
        raise NotationError("a net to be scaled ends in a linear layer, such as 'flat fc10'.")
    reader.fix(end.width)
    return reader.model(net)


def filled(model: WidthModel, budget: Budget, random: Random | None = None) -> Net | None:
    """The net with the largest widths that fit, close to its proportions; None if not even widths of 1 fit.

    random: the order in which single widths take what rounding left over; by default from the first layer on.

    Raises:
        UsageError: a budget that limits nothing that is counted.
    """
    if not any(kind in budget.limits() for kind in COUNTED):
        raise UsageError(f"a search needs a limit on one of {', '.join(COUNTED)}; give --budget, such as --budget 5k.")

    def scaled(factor: float) -> list[int]:
        widths = list(model.base)
        for number in model.free:
            widths[number] = min(MAX_WIDTH, max(1, int(model.base[number] * factor + 0.5)))
        return widths

    if not model.fits(budget, scaled(0.0)):
        return None
    low, high = 0.0, 1.0
    while model.fits(budget, found := scaled(high)):
        low, high = high, 2 * high
        if all(found[number] >= MAX_WIDTH for number in model.free):
            break
    for _ in range(STEPS_OF_BISECTION):
        middle = (low + high) / 2
        low, high = (middle, high) if model.fits(budget, scaled(middle)) else (low, middle)
    widths = scaled(low)
    open_widths = list(model.free)
    if random is not None:
        random.shuffle(open_widths)
    while open_widths:
        for number in tuple(open_widths):
            widths[number] += 1
            if widths[number] > MAX_WIDTH or not model.fits(budget, widths):
                widths[number] -= 1
                open_widths.remove(number)
    return model.with_widths(widths)


@dataclass(frozen=True)
class _State:
    """Between two layers: the number of a width and the size of a map; flat: height values per channel."""

    width: int
    height: int
    length: int
    is_flat: bool = False

    @property
    def values(self) -> Values:
        return self.width, self.height * self.length


@dataclass
class _Memory:
    """As in `model/count.py`: values alive besides what the running layer writes."""

    held: tuple[Values, ...] = ()
    input_is_held: bool = False

    def during(self, layer: Layer, before: _State, after: _State) -> tuple[Values, ...]:
        is_flatten = isinstance(layer, Flatten)
        if self.input_is_held:
            alive = self.held if is_flatten else (*self.held, after.values)
        elif is_in_place(kind_of(layer)):
            alive = (*self.held, after.values)
        else:
            alive = (*self.held, before.values, after.values)
        self.input_is_held &= is_flatten
        return alive


class _Reader:
    """Collects the sums, and which widths must be equal."""

    def __init__(self) -> None:
        self.base: list[int] = []
        self.fixed: dict[int, int] = {}
        self.same_as: list[int] = []
        self.of_layer: dict[Path, int] = {}
        self.inputs: dict[Path, int] = {}
        self.params, self.buffers, self.macs = _Sum(), _Sum(), _Sum()
        self.memory: list[tuple[Values, ...]] = []

    def new(self, base: int, *, is_free: bool = True) -> int:
        number = len(self.base)
        self.base.append(base)
        self.same_as.append(number)
        if not is_free:
            self.fixed[number] = base
        return number

    def root(self, number: int) -> int:
        while self.same_as[number] != number:
            number = self.same_as[number]
        return number

    def tie(self, a: int, b: int) -> None:
        first, second = sorted((self.root(a), self.root(b)))
        if first != second:
            if self.base[first] != self.base[second]:
                raise NotationError(
                    f"net: widths that are added or shared must be equal, found {self.base[first]} and "
                    f"{self.base[second]}."
                )
            self.same_as[second] = first
            if second in self.fixed:
                self.fixed[first] = self.fixed[second]

    def fix(self, number: int) -> None:
        self.fixed[self.root(number)] = self.base[self.root(number)]

    def model(self, net: Net) -> WidthModel:
        roots = [self.root(number) for number in range(len(self.base))]
        return WidthModel(
            net=net,
            base=tuple(self.base),
            free=tuple(number for number in sorted(set(roots)) if number not in self.fixed),
            of_layer={path: roots[number] for path, number in self.of_layer.items()},
            params=self.params.renumbered(roots),
            buffers=self.buffers.renumbered(roots),
            macs=self.macs.renumbered(roots),
            memory=tuple(dict.fromkeys(tuple((roots[width], size) for width, size in row) for row in self.memory)),
        )

    def sequence(self, nodes: Nodes, above: Path, state: _State, memory: _Memory, *, counts_params: bool) -> _State:
        for index, node in enumerate(nodes):
            state = self.node(node, (*above, index), state, memory, counts_params=counts_params)
        return state

    def node(self, node: Node, path: Path, state: _State, memory: _Memory, *, counts_params: bool) -> _State:
        match node:
            case Residual():
                return self.residual(node, path, state, memory, counts_params=counts_params)
            case Shared():
                for number in range(node.times):
                    first = counts_params and number == 0
                    state = self.sequence(node.body, (*path, 0), state, memory, counts_params=first)
                return state
            case Repeat() | Unused():
                raise UsageError("a net with layers that are not used cannot be scaled; leave them out.")
            case _:
                after = self.layer(node, path, state, counts_params=counts_params)
                self.memory.append(memory.during(node, state, after))
                return after

    def residual(self, node: Residual, path: Path, state: _State, memory: _Memory, *, counts_params: bool) -> _State:
        held = memory.held if memory.input_is_held else (*memory.held, state.values)
        behind = self.sequence(node.body, (*path, 0), state, _Memory(held, True), counts_params=counts_params)
        waiting = _Memory((*memory.held, behind.values), memory.input_is_held)
        beside = self.sequence(node.shortcut, (*path, 1), state, waiting, counts_params=counts_params)
        memory.input_is_held = False
        if (behind.height, behind.length, behind.is_flat) != (beside.height, beside.length, beside.is_flat):
            raise NotationError("net: body and shortcut of a residual must have equal output shapes.")
        self.tie(behind.width, beside.width)
        return behind

    def layer(self, layer: Layer, path: Path, state: _State, *, counts_params: bool) -> _State:
        per_channel = state.height * state.length
        match layer:
            case Conv():
                if layer.groups != 1:
                    raise UsageError(f"a convolution with groups={layer.groups} cannot be scaled; use dw instead.")
                out = self.weights(path, state, layer.channels)
                height, length = _window(state, layer.kernel, layer.stride, layer.padding, layer.dilation)
                weights, pair = prod(both(layer.kernel)), (state.width, out)
                self.macs.products[pair] += weights * height * length
                if counts_params:
                    self.params.products[pair] += weights
                    self.params.linear[out] += layer.bias
                return _State(out, height, length)
            case DepthwiseConv():
                if layer.multiplier != 1:
                    raise UsageError("a depthwise convolution with a multiplier cannot be scaled; follow it by c.../1.")
                self.again(path, state)
                height, length = _window(state, layer.kernel, layer.stride, layer.padding, layer.dilation)
                weights = prod(both(layer.kernel))
                self.macs.linear[state.width] += weights * height * length
                if counts_params:
                    self.params.linear[state.width] += weights + layer.bias
                return _State(state.width, height, length)
            case Linear():
                if not state.is_flat:
                    raise NotationError("net: a linear layer needs a flat input; put 'flat' before it.")
                out = self.weights(path, state, layer.features)
                self.macs.products[state.width, out] += per_channel
                if counts_params:
                    self.params.products[state.width, out] += per_channel
                    self.params.linear[out] += layer.bias
                return _State(out, 1, 1, is_flat=True)
            case BatchNorm():
                self.again(path, state)
                features = per_channel if state.is_flat else 1
                if counts_params:
                    self.params.linear[state.width] += 2 * features * layer.affine
                    self.buffers.linear[state.width] += 2 * features
                return state
            case Activation():
                if layer.kind == "prelu" and counts_params:
                    self.params.linear[state.width] += per_channel if state.is_flat else 1
                return state
            case Pool():
                if 2 * layer.padding > layer.kernel:
                    raise NotationError("net: the padding of a pool must be at most half its window.")
                return _State(state.width, *_window(state, layer.kernel, layer.step, layer.padding, 1))
            case GlobalPool():
                _require_map(state)
                return _State(state.width, 1, 1)
            case AdaptivePool():
                _require_map(state)
                return _State(state.width, layer.size, layer.size)
            case Flatten():
                return _State(state.width, per_channel, 1, is_flat=True)
            case SqueezeExcite():
                raise UsageError("squeeze-and-excitation cannot be scaled; search without it and add it afterwards.")
            case Dropout() | LogSoftmax():
                return state
            case _:
                assert_never(layer)

    def weights(self, path: Path, state: _State, base: int) -> int:
        """The output width of a layer with weights; in a later pass of shared weights it is that of the first."""
        self.again(path, state)
        if path not in self.of_layer:
            self.of_layer[path] = self.new(base)
        return self.of_layer[path]

    def again(self, path: Path, state: _State) -> None:
        """Shared weights need the same input in each pass."""
        if path in self.inputs:
            self.tie(self.inputs[path], state.width)
        self.inputs[path] = state.width


def _window(state: _State, kernel: Sides, stride: int, padding: Sides, dilation: int) -> tuple[int, int]:
    _require_map(state)
    spans = [dilation * (side - 1) + 1 for side in both(kernel)]
    sides = [side + 2 * pad for side, pad in zip((state.height, state.length), both(padding), strict=True)]
    if any(side < span for side, span in zip(sides, spans, strict=True)):
        raise NotationError(f"net: a window of {spans[0]}x{spans[1]} does not fit {state.height}x{state.length}.")
    height, length = ((side - span) // stride + 1 for side, span in zip(sides, spans, strict=True))
    return height, length


def _require_map(state: _State) -> None:
    if state.is_flat:
        raise NotationError("net: a layer over maps must stand before 'flat'.")
