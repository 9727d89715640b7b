"""Single changes of a net that bring it under its budget, or closer, ranked.

In: a net, the shape of one image, a budget. Out: `Edit`s; each has the notation of a whole net that was counted and has
the same number of classes. The effect on accuracy is unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import lcm, prod
from typing import Final, TypeAlias

from flyweight.errors import NotationError, in_one_line
from flyweight.model.arithmetic import Shape
from flyweight.model.budget import KINDS, Budget, Kind, needs, overruns, row_needs
from flyweight.model.cost import Cost, Row
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.model.spec import (
    Activation,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Linear,
    Net,
    Node,
    Pool,
    both,
    format_node,
)
from flyweight.model.tree import Path, has_bias, rewritten, siblings, unrolled, with_width, without_bias

# Layers are not made narrower than an eighth: the net would be very different.
MAX_NARROWING: Final = 8


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change. `saves` is in the unit of `kind`, the limit that was exceeded most."""

    description: str
    cost: Cost
    kind: Kind
    saves: int
    is_enough: bool

    @property
    def net(self) -> str:
        return self.cost.net

    @property
    def params(self) -> int:
        """Parameters after the change."""
        return self.cost.params

    def __str__(self) -> str:
        unit = "" if self.kind == "params" else f" {KINDS[self.kind].noun}"
        return f"{self.description}: -{self.saves:,}{unit}{'' if self.is_enough else ' (not enough alone)'}"


@dataclass(frozen=True)
class _Found:
    """A layer with its path and its rows of the cost (one per repetition)."""

    path: Path
    layer: Layer
    rows: tuple[Row, ...]

    def cost_of(self, kind: Kind) -> int:
        return sum(row_needs(row, kind) for row in self.rows)

    @property
    def name(self) -> str:
        names = dict.fromkeys(row.name for row in self.rows)
        return ", ".join(names) if len(names) <= 3 else f"{next(iter(names))} and {len(names) - 1} more"


@dataclass(frozen=True)
class _Task:
    """The input of every kind of edit."""

    net: Net
    cost: Cost
    budget: Budget
    kind: Kind
    layers: tuple[_Found, ...]

    def counted(self, net: Net) -> Cost | None:
        """The cost of a changed net; None if its layers do not fit together or its number of classes changed."""
        try:
            cost = count(net, self.cost.input_shape)
        except NotationError:
            return None
        return cost if cost.out_shape == self.cost.out_shape else None

    def fits(self, net: Net) -> bool:
        cost = self.counted(net)
        return cost is not None and not overruns(self.budget, cost)

    def most_expensive(self, *kinds: type[Layer]) -> list[_Found]:
        """Layers of these kinds with a cost, most expensive first."""
        found = [one for one in self.layers if isinstance(one.layer, kinds) and one.cost_of(self.kind)]
        return sorted(found, key=lambda one: -one.cost_of(self.kind))

    @property
    def unit(self) -> int:
        """Widths must be multiples of this, because of grouped convolutions."""
        return lcm(*(one.layer.groups for one in self.layers if isinstance(one.layer, Conv)))


Proposal: TypeAlias = tuple[str, Net]


@in_one_line
def edits(net: Net | str, input_shape: Shape, budget: Budget) -> tuple[Edit, ...]:
    """Single changes that help, best first; none where the net fits its budget.

    Edits that are enough alone come first, in the order of `PROPOSERS`, from what changes a net least to what changes
    it most; then the others, by how little is left to save.

    >>> for edit in edits("c8 r m2 flat fc10", (1, 28, 28), Budget(params=5_000))[:2]:
    ...     print(edit)
    global average pooling instead of flatten: -13,440
    all widths x 0.312 (c8 to c2): -10,200

    Raises:
        NotationError: text that does not parse, or layers that do not fit the image.
    """
    task = _task(net, input_shape, budget)
    if task is None:
        return ()
    proposals = (proposal for propose in PROPOSERS for proposal in propose(task))
    found: dict[str, Edit] = {}
    for description, changed in proposals:
        edit = _counted_edit(task, description, changed)
        if edit is not None:
            found.setdefault(edit.net, edit)
    # The sort is stable: among those that are enough nothing is left, and the order of PROPOSERS stays.
    return tuple(sorted(found.values(), key=lambda edit: _left(budget, edit.cost)))


def _task(net: Net | str, input_shape: Shape, budget: Budget) -> _Task | None:
    if isinstance(net, str):
        net = parse_net(net)
    cost = count(net, input_shape)
    found = overruns(budget, cost)
    if not found:
        return None
    worst = max(found, key=lambda overrun: overrun.needed / overrun.allowed)
    return _Task(net, cost, budget, worst.kind, _layers(net, cost))


def _counted_edit(task: _Task, description: str, changed: Net) -> Edit | None:
    cost = task.counted(parse_net(str(changed))) if changed.nodes else None
    if cost is None:
        return None
    saves = needs(task.cost)[task.kind] - needs(cost)[task.kind]
    left = _left(task.budget, cost)
    if saves <= 0 or left >= _left(task.budget, task.cost):
        return None
    return Edit(description=description, cost=cost, kind=task.kind, saves=saves, is_enough=left == 0)


def _left(budget: Budget, cost: Cost) -> float:
    """How far a cost is over its budget: the sum of the excesses as shares of their limits."""
    return sum(-overrun.margin / overrun.allowed for overrun in overruns(budget, cost))


# The proposers, one kind of change each: a description and a changed net, which may turn out not to fit.


def _no_bias_before_batch_norm(task: _Task) -> Iterator[Proposal]:
    """Batch norm subtracts the mean, and with it the bias."""
    idle = [one for one in task.layers if isinstance(_after(task, one), BatchNorm) and has_bias(one.layer)]
    net = rewritten(task.net, {one.path: (without_bias(one.layer),) for one in idle})
    n_layers = sum(1 for one in idle for row in one.rows if not row.is_shared)
    if idle:
        yield f"no bias before batch norm ({n_layers} {'layer' if n_layers == 1 else 'layers'})", net


def _global_average_pooling(task: _Task) -> Iterator[Proposal]:
    for one in task.layers:
        if isinstance(one.layer, Flatten) and prod(one.rows[0].in_shape[1:]) > 1:
            net = _replaced(task.net, one.path, (GlobalPool("average"), one.layer))
            yield "global average pooling instead of flatten", net


def _extra_pool(task: _Task) -> Iterator[Proposal]:
    """A 2x2 max pool after a layer: after the latest layer where it is enough, else where it saves most."""
    found: list[tuple[float, Proposal]] = []
    for one in reversed(task.layers):
        if _ends_a_convolution(task, one):
            net = _replaced(task.net, one.path, (one.layer, Pool("max")))
            cost = task.counted(net)
            if cost is not None:
                found.append((_left(task.budget, cost), (f"a max pool after {one.name}", net)))
    if found:
        yield min(found, key=lambda one: one[0])[1]


def _ends_a_convolution(task: _Task, one: _Found) -> bool:
    """A pool must not come between a convolution and its batch norm or activation."""
    belongs = isinstance(one.layer, Conv | DepthwiseConv | BatchNorm | Activation) and len(one.rows[0].out_shape) == 3
    return belongs and not isinstance(_after(task, one), BatchNorm | Activation)


def _scaled_widths(task: _Task) -> Iterator[Proposal]:
    """Every width but those of the classes, times the largest factor (in thousandths) that fits."""
    found = [one for one in task.layers if isinstance(one.layer, Conv | Linear) and not _is_classifier(task, one)]

    def thinner(layer: Layer, thousandths: int) -> Layer:
        return with_width(layer, _scale(_width(layer), thousandths, task.unit))

    def scaled(thousandths: int) -> Net:
        return rewritten(task.net, {one.path: (thinner(one.layer, thousandths),) for one in found})

    factor = _largest(lambda thousandths: task.fits(scaled(thousandths)), 999)
    if found and factor:
        widest = max((one.layer for one in found), key=_width)
        change = f"{format_node(widest)} to {format_node(thinner(widest, factor))}"
        yield f"all widths x {factor / 1000:g} ({change})", scaled(factor)


def _thinner_layer(task: _Task) -> Iterator[Proposal]:
    """One of the three heaviest layers, as wide as fits; half as wide where that would be a sliver or nothing."""
    for one in task.most_expensive(Conv, Linear)[:3]:
        width = _width(one.layer)

        def thinned(units: int, one: _Found = one) -> Net:
            return rewritten(task.net, {one.path: (with_width(one.layer, units * task.unit),)})

        units = _largest(lambda units: task.fits(thinned(units)), (width - 1) // task.unit)
        if units * task.unit * MAX_NARROWING < width:
            units = width // 2 // task.unit
        if units:
            yield f"{one.name} {units * task.unit} wide instead of {width}", thinned(units)


def _separable_convolution(task: _Task) -> Iterator[Proposal]:
    """Depthwise, then 1x1, for the heaviest convolution where that can be; no bias between the two."""
    for one in task.most_expensive(Conv):
        conv = one.layer
        if isinstance(conv, Conv) and max(both(conv.kernel)) > 1 and conv.groups == 1 and one.rows[0].in_shape[0] > 1:
            spatial = DepthwiseConv(1, conv.kernel, conv.stride, conv.padding, conv.dilation, bias=False)
            pair = (spatial, Conv(conv.channels, kernel=1, bias=conv.bias))
            yield f"{one.name} depthwise-separable", _replaced(task.net, one.path, pair)
            return


def _convolution_instead_of_linear(task: _Task) -> Iterator[Proposal]:
    """flat ... fcN becomes cN/1 gap flat: the same classes at every pixel of the map, then their mean."""
    for path, between, linear in _heads(task.net):
        pooled = (*between, Conv(linear.features, kernel=1, bias=linear.bias), GlobalPool("average"), Flatten())
        net = _replaced(task.net, path, pooled, count=len(between) + 2)
        yield f"a 1x1 convolution and global average pooling instead of {format_node(linear)}", net


def _without_layer(task: _Task) -> Iterator[Proposal]:
    """The heaviest layer that can go, with the batch norm, activation and dropout that belong to it."""
    for one in task.most_expensive(Conv, DepthwiseConv, Linear):
        block = siblings(task.net, one.path)
        belongs = 1
        for node in block[one.path[-1] + 1 :]:
            if not isinstance(node, BatchNorm | Activation | Dropout):
                break
            belongs += 1
        net = _replaced(task.net, one.path, (), count=belongs)
        if belongs < len(block) and task.counted(net) is not None:
            yield f"without {one.name}", net
            return


PROPOSERS: Final[tuple[Callable[[_Task], Iterator[Proposal]], ...]] = (
    _no_bias_before_batch_norm,
    _global_average_pooling,
    _scaled_widths,
    _thinner_layer,
    _extra_pool,
    _convolution_instead_of_linear,
    _separable_convolution,
    _without_layer,
)


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest of 1..limit that fits, by bisection, or 0; what fits must keep fitting when it gets smaller."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _scale(width: int, thousandths: int, unit: int) -> int:
    """The nearest multiple of `unit`, at least one."""
    return max((width * thousandths + 500 * unit) // (1000 * unit), 1) * unit


def _width(layer: Layer) -> int:
    assert isinstance(layer, Conv | Linear)
    return layer.channels if isinstance(layer, Conv) else layer.features


def _is_classifier(task: _Task, one: _Found) -> bool:
    """The last layer with a width, and linear layers as wide as it: their widths are the number of classes."""
    last = [found for found in task.layers if isinstance(found.layer, Conv | Linear)][-1]
    return one.path == last.path or (isinstance(one.layer, Linear) and one.layer.features == task.cost.out_shape[0])


def _layers(net: Net, cost: Cost) -> tuple[_Found, ...]:
    """Every executed layer as written, in order, with its rows."""
    rows: dict[Path, list[Row]] = {}
    layers: dict[Path, Layer] = {}
    for one, row in zip(unrolled(net), cost.rows, strict=True):
        if row.is_executed:
            rows.setdefault(one.path, []).append(row)
            layers[one.path] = one.layer
    return tuple(_Found(path, layers[path], tuple(found)) for path, found in rows.items())


def _after(task: _Task, one: _Found) -> Node | None:
    """The node that follows a layer in its block."""
    later = siblings(task.net, one.path)[one.path[-1] + 1 :]
    return later[0] if later else None


def _heads(net: Net) -> Iterator[tuple[Path, tuple[Node, ...], Linear]]:
    """A flatten and the linear layer it feeds, at the top of the net, with the dropout and activations between."""
    for index, node in enumerate(net.nodes):
        if not isinstance(node, Flatten):
            continue
        between: list[Node] = []
        for after in net.nodes[index + 1 :]:
            match after:
                case Linear():
                    yield (index,), tuple(between), after
                    break
                case Dropout() | Activation():
                    between.append(after)
                case _:
                    break


def _replaced(net: Net, path: Path, nodes: tuple[Node, ...], count: int = 1) -> Net:
    """The net with `count` nodes from `path` on replaced by `nodes`."""
    *above, index = path
    return rewritten(net, {path: nodes, **{(*above, index + after): () for after in range(1, count)}})
