"""Counting a net: `count(net, input_shape)`. Without torch, but for modules of the user's own, which are traced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, assert_never

from flyweight.errors import in_one_line
from flyweight.model import own_code
from flyweight.model.arithmetic import Shape, counts, is_in_place
from flyweight.model.cost import Cost, Row
from flyweight.model.layout import ShapedLayer, ShapedNode, ShapedResidual, ShapedShared, ShapedUnused, infer_shapes
from flyweight.model.notation import is_own_module, parse_net
from flyweight.model.spec import Flatten, Net, format_node, kind_of

if TYPE_CHECKING:
    from torch import nn


@in_one_line
def count(net: Net | str | nn.Module, input_shape: Shape = (1, 28, 28), *, trust_code: bool = False) -> Cost:
    """What `net` costs for images of `input_shape` (channels, height, width).

    In closed form for a net in our notation; by tracing, which needs torch, for "file:Class" or a module. trust_code:
    run the file of "file:Class", and remember its hash; else only a file that is trusted already is run.

    >>> count("c8 r m2 flat fc10").params
    13610

    Raises:
        NotationError: text that does not parse, or layers that do not fit. UsageError: a module that cannot be traced.
    """
    if isinstance(net, str) and not is_own_module(net):
        net = parse_net(net)
    if not isinstance(net, Net):
        if isinstance(net, str):  # decided before torch, or anything else, is imported
            own_code.require_trusted(net, trust_code=trust_code)
        from flyweight.model.trace import trace

        return trace(net, input_shape)
    rows = tuple(_rows(infer_shapes(net, input_shape), _Memory(), executed=True, shared=False))
    return Cost(net=str(net), input_shape=input_shape, rows=rows)


@dataclass
class _Memory:
    """Values alive besides what the running layer writes: `held` for later, and its input unless it is held."""

    held: int = 0
    input_is_held: bool = False

    def during(self, shaped: ShapedLayer) -> int:
        reads, writes = prod(shaped.in_shape), prod(shaped.out_shape)
        if self.input_is_held:
            alive = self.held + (0 if isinstance(shaped.layer, Flatten) else writes)
        else:
            alive = self.held + (writes if is_in_place(kind_of(shaped.layer)) else reads + writes)
        self.input_is_held &= isinstance(shaped.layer, Flatten)
        return alive


def _rows(nodes: tuple[ShapedNode, ...], memory: _Memory, *, executed: bool, shared: bool) -> Iterator[Row]:
    for node in nodes:
        match node:
            case ShapedLayer():
                yield _row(node, memory.during(node), executed, shared)
            case ShapedShared():
                for number, body in enumerate(node.passes):
                    yield from _rows(body, memory, executed=executed, shared=shared or number > 0)
            case ShapedResidual():
                yield from _residual_rows(node, memory, executed, shared)
            case ShapedUnused():
                yield from _rows(node.body, _Memory(), executed=False, shared=shared)
            case _:
                assert_never(node)


def _residual_rows(node: ShapedResidual, memory: _Memory, executed: bool, shared: bool) -> Iterator[Row]:
    entry = prod(node.in_shape)
    held = memory.held + (0 if memory.input_is_held else entry)
    yield from _rows(node.body, _Memory(held, True), executed=executed, shared=shared)
    # The shortcut runs second: the body's result waits; the entry is free once the shortcut has read it,
    # unless a residual around this one holds it.
    waiting = held - (0 if memory.input_is_held else entry) + prod(node.out_shape)
    shortcut = _Memory(waiting, memory.input_is_held)
    yield from _rows(node.shortcut, shortcut, executed=executed, shared=shared)
    memory.input_is_held = False


def _row(shaped: ShapedLayer, activations: int, executed: bool, shared: bool) -> Row:
    field = shaped.field
    own = counts(shaped.layer, shaped.in_shape, shaped.out_shape)
    return Row(
        name=shaped.name,
        path=shaped.path,
        kind=kind_of(shaped.layer),
        layer=format_node(shaped.layer),
        in_shape=shaped.in_shape,
        out_shape=shaped.out_shape,
        params=0 if shared else own.params,
        buffers=0 if shared else own.buffers,
        macs=own.macs,
        receptive_field=(float(field.size[0]), float(field.size[1])),
        effective_stride=(float(field.effective_stride[0]), float(field.effective_stride[1])),
        activations=activations,
        is_shared=shared and own.params + own.buffers > 0,
        is_executed=executed,
    )
