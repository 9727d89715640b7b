"""Traverse and change a net: paths of nodes, replacing nodes, and layers in the order of execution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from flyweight.model.spec import (
    Block,
    Conv,
    DepthwiseConv,
    Dropout,
    Layer,
    Linear,
    Net,
    Node,
    Repeat,
    Residual,
    Shared,
    Unused,
)

Nodes: TypeAlias = tuple[Node, ...]

Path: TypeAlias = tuple[int, ...]
"""Position of a node: its index in the net, then alternately the branch (0: body, 1: shortcut) and the index in it."""


def branches(node: Node) -> tuple[Nodes, ...]:
    """The branches of a block; empty for a layer."""
    if not isinstance(node, Block):
        return ()
    match node:
        case Residual():
            return node.body, node.shortcut
        case Repeat() | Shared() | Unused():
            return (node.body,)
        case _:
            assert_never(node)


def with_branches(block: Block, inner: Sequence[Nodes]) -> Nodes:
    """The block with other nodes; empty if no node is left."""
    match block:
        case Residual():
            # An empty body is the identity, written as dropout with p = 0.
            return (Residual(inner[0] or (Dropout(0.0),), inner[1]),)
        case Repeat() | Shared() | Unused():
            return (replace(block, body=inner[0]),) if inner[0] else ()
        case _:
            assert_never(block)


def nodes_with_paths(nodes: Nodes, above: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node, blocks before what is in them."""
    for index, node in enumerate(nodes):
        path = (*above, index)
        yield path, node
        for side, inner in enumerate(branches(node)):
            yield from nodes_with_paths(inner, (*path, side))


def siblings(net: Net, path: Path) -> Nodes:
    """The nodes of the branch that has the node at a path."""
    nodes = net.nodes
    for index, side in zip(path[:-1:2], path[1::2], strict=True):
        nodes = branches(nodes[index])[side]
    return nodes


def rewritten(net: Net, changes: Mapping[Path, Nodes]) -> Net:
    """The net with the nodes at these paths replaced; empty blocks are removed."""
    return Net(_rewritten(net.nodes, (), changes))


def _rewritten(nodes: Nodes, above: Path, changes: Mapping[Path, Nodes]) -> Nodes:
    found: list[Node] = []
    for index, node in enumerate(nodes):
        path = (*above, index)
        if path in changes:
            found += changes[path]
        elif isinstance(node, Block):
            inner = [_rewritten(one, (*path, side), changes) for side, one in enumerate(branches(node))]
            found += with_branches(node, inner)
        else:
            found.append(node)
    return tuple(found)


def without_repeats(nodes: Nodes) -> Nodes:
    """The nodes with `Repeat` blocks written out."""
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, Repeat):
            found += without_repeats(node.body) * node.times
        elif isinstance(node, Block):
            found += with_branches(node, [without_repeats(one) for one in branches(node)])
        else:
            found.append(node)
    return tuple(found)


def n_unrolled(nodes: Nodes) -> int:
    """The number of layers including repetitions, without unrolling."""
    return sum(
        _times(node) * sum(n_unrolled(inner) for inner in branches(node)) if isinstance(node, Block) else 1
        for node in nodes
    )


def has_bias(layer: Node) -> bool:
    return isinstance(layer, Conv | DepthwiseConv | Linear) and layer.bias


def without_bias(layer: Node) -> Node:
    assert isinstance(layer, Conv | DepthwiseConv | Linear)
    return replace(layer, bias=False)


def with_width(layer: Node, width: int) -> Layer:
    assert isinstance(layer, Conv | Linear)
    return replace(layer, channels=width) if isinstance(layer, Conv) else replace(layer, features=width)


def _times(block: Block) -> int:
    match block:
        case Repeat() | Shared():
            return block.times
        case Residual() | Unused():
            return 1
        case _:
            assert_never(block)


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """A layer once for each time that it runs, or once if it is unused.

    stretch: layers with the same number are in one sequence without branches; a residual starts and ends one.
    """

    layer: Layer
    path: Path
    stretch: int
    is_in_residual: bool


def unrolled(net: Net) -> Iterator[Occurrence]:
    """In the order of the rows of the net's cost."""
    return _Unrolling().nodes(net.nodes, (), is_in_residual=False)


class _Unrolling:
    """Numbers the stretches during a traversal."""

    def __init__(self) -> None:
        self.stretch = 0

    def nodes(self, nodes: Iterable[Node], above: Path, *, is_in_residual: bool) -> Iterator[Occurrence]:
        for index, node in enumerate(nodes):
            path = (*above, index)
            if isinstance(node, Block):
                yield from self.block(node, path, is_in_residual=is_in_residual)
            else:
                yield Occurrence(layer=node, path=path, stretch=self.stretch, is_in_residual=is_in_residual)

    def block(self, block: Block, path: Path, *, is_in_residual: bool) -> Iterator[Occurrence]:
        match block:
            case Repeat() | Shared():
                for _ in range(block.times):
                    yield from self.nodes(block.body, (*path, 0), is_in_residual=is_in_residual)
            case Unused():
                stretch = self.stretch
                yield from self.nodes(block.body, (*path, 0), is_in_residual=is_in_residual)
                self.stretch = stretch  # nothing of it runs, so it parts nothing
            case Residual():
                for side, nodes in enumerate(branches(block)):
                    self.stretch += 1
                    yield from self.nodes(nodes, (*path, side), is_in_residual=True)
                self.stretch += 1
            case _:
                assert_never(block)
