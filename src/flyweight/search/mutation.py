"""Small edits of a net: each changes one thing, and the widths are then filled up to the budget again. No torch.

In: a net and a source of chance. Out: a changed net, whose layers may not fit; the caller counts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final, TypeAlias

from flyweight.model.notation import parse_net
from flyweight.model.spec import (
    Activation,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalPool,
    Net,
    Node,
    Pool,
    Residual,
    both,
)
from flyweight.model.tree import Path, nodes_with_paths, rewritten, siblings, with_width


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What edits may use. blocks: of "conv", "depthwise" and "residual". activations, pools: as in notation."""

    blocks: tuple[str, ...]
    depth: tuple[int, int]
    kernels: tuple[int, ...]
    activations: tuple[str, ...]
    pools: tuple[str, ...]
    heads: tuple[str, ...]


Edit: TypeAlias = Callable[[Net, Choices, Random], Net | None]


def mutated(net: Net, choices: Choices, random: Random) -> Net | None:
    """The net with one edit; None if the chosen edit has no place in it. It may have layers that do not fit."""
    return random.choice(EDITS)(net, choices, random)


def depth_of(net: Net) -> int:
    """The number of convolutions."""
    return len(_convolutions(net))


def node(text: str) -> Node:
    """One layer from its token."""
    return parse_net(text).nodes[0]


def block(width: int, kernel: int, activation: Node, *, padding: int) -> list[Node]:
    """A convolution without bias, its batch norm and activation."""
    return [Conv(width, kernel, padding=padding, bias=False), BatchNorm(), activation]


def residual_block(width: int, activation: Node) -> list[Node]:
    """A padded convolution that is added to its input."""
    return [Residual((Conv(width, 3, padding=1, bias=False), BatchNorm())), activation]


def depthwise_block(width: int, kernel: int, activation: Node, *, padding: int) -> list[Node]:
    """A filter for each channel, then a 1x1 convolution."""
    filters = DepthwiseConv(kernel=kernel, padding=padding, bias=False)
    return [filters, BatchNorm(), *block(width, 1, activation, padding=0)]


def _convolutions(net: Net) -> list[tuple[Path, Conv]]:
    return [(path, one) for path, one in nodes_with_paths(net.nodes) if isinstance(one, Conv)]


def _is_wide(conv: Conv) -> bool:
    """Whether it sees more than a pixel."""
    return max(both(conv.kernel)) > 1


def _activation(net: Net) -> Node:
    found = [one for _, one in nodes_with_paths(net.nodes) if isinstance(one, Activation)]
    return found[0] if found else Activation("relu")


def _width(net: Net, _choices: Choices, random: Random) -> Net | None:
    """One width by a quarter to a half; the widths around it give or take what it needs."""
    found = _convolutions(net)
    if not found:
        return None
    path, conv = random.choice(found)
    factor = random.choice((0.5, 0.7, 1.4, 2.0))
    wanted = max(1, round(conv.channels * factor))
    return rewritten(net, {path: (with_width(conv, wanted if wanted != conv.channels else conv.channels + 1),)})


def _kernel(net: Net, choices: Choices, random: Random) -> Net | None:
    places = [
        (path, one)
        for path, one in nodes_with_paths(net.nodes)
        if isinstance(one, Conv | DepthwiseConv) and set(choices.kernels) - {one.kernel}
    ]
    if not places:
        return None
    path, one = random.choice(places)
    kernel = random.choice(sorted(set(choices.kernels) - {one.kernel}))
    # A padded layer keeps the size of its map, which a residual around it needs.
    padding = kernel // 2 if one.padding else 0
    return rewritten(net, {path: (replace(one, kernel=kernel, padding=padding),)})


def _ends_of_blocks(net: Net) -> list[Path]:
    """The top-level activations before the head."""
    return [path for path, one in nodes_with_paths(net.nodes) if isinstance(one, Activation) and len(path) == 1]


def _insert(net: Net, choices: Choices, random: Random) -> Net | None:
    places = _ends_of_blocks(net)
    if not places or depth_of(net) >= choices.depth[1]:
        return None
    path = random.choice(places)
    above = [one for place, one in _convolutions(net) if place[0] <= path[0]]
    width, activation = (above[-1].channels if above else 8), net.nodes[path[0]]
    kind, kernel = random.choice(choices.blocks), random.choice(choices.kernels)
    if kind == "residual":
        added = residual_block(width, activation)
    elif kind == "depthwise":
        added = depthwise_block(width, kernel, activation, padding=random.choice((0, kernel // 2)))
    else:
        added = block(width, kernel, activation, padding=random.choice((0, kernel // 2)))
    return rewritten(net, {path: (activation, *added)})


def _remove(net: Net, choices: Choices, random: Random) -> Net | None:
    """One top-level convolution, filter or residual with the batch norm and activation that follow it."""
    if depth_of(net) <= choices.depth[0]:
        return None
    places = [index for index, one in enumerate(net.nodes) if isinstance(one, Conv | DepthwiseConv | Residual)]
    if not places:
        return None
    index = random.choice(places)
    end = index + 1
    while end < len(net.nodes) and isinstance(net.nodes[end], BatchNorm | Activation):
        end += 1
    return Net(net.nodes[:index] + net.nodes[end:])


def _pools(net: Net) -> list[int]:
    return [index for index, one in enumerate(net.nodes) if isinstance(one, Pool)]


def _move_pool(net: Net, _choices: Choices, random: Random) -> Net | None:
    found = _pools(net)
    if not found:
        return None
    index = random.choice(found)
    pool, without = net.nodes[index], Net(net.nodes[:index] + net.nodes[index + 1 :])
    ends = [path for path in _ends_of_blocks(without) if path[0] + 1 != index]
    if not ends:
        return None
    place = random.choice(ends)[0] + 1
    return Net((*without.nodes[:place], pool, *without.nodes[place:]))


def _kind_of_pool(net: Net, choices: Choices, random: Random) -> Net | None:
    found = _pools(net)
    if not found:
        return None
    index = random.choice(found)
    others = [text for text in choices.pools if node(text) != net.nodes[index]]
    return rewritten(net, {(index,): (node(random.choice(others)),)}) if others else None


def _add_or_remove_pool(net: Net, choices: Choices, random: Random) -> Net | None:
    found, ends = _pools(net), _ends_of_blocks(net)
    if found and random.random() < 0.5:
        return rewritten(net, {(random.choice(found),): ()})
    if not ends:
        return None
    place = random.choice(ends)[0]
    return rewritten(net, {(place,): (net.nodes[place], node(random.choice(choices.pools)))})


def _head(net: Net, choices: Choices, _random: Random) -> Net | None:
    flats = [index for index, one in enumerate(net.nodes) if isinstance(one, Flatten)]
    if not flats or len(choices.heads) < 2:
        return None
    index = flats[-1]
    if index and isinstance(net.nodes[index - 1], GlobalPool):
        return rewritten(net, {(index - 1,): ()})
    return rewritten(net, {(index,): (GlobalPool("average"), net.nodes[index])})


def _all_activations(net: Net, choices: Choices, random: Random) -> Net | None:
    others = [text for text in choices.activations if node(text) != _activation(net)]
    if not others:
        return None
    found = node(random.choice(others))
    places = [path for path, one in nodes_with_paths(net.nodes) if isinstance(one, Activation)]
    return rewritten(net, dict.fromkeys(places, (found,))) if places else None


def _separate(net: Net, choices: Choices, random: Random) -> Net | None:
    """A convolution as a filter for each channel and a 1x1 convolution."""
    if "depthwise" not in choices.blocks:
        return None
    places = [(path, conv) for path, conv in _convolutions(net)[1:] if _is_wide(conv) and conv.stride == 1]
    if not places:
        return None
    path, conv = random.choice(places)
    after = siblings(net, path)[path[-1] + 1 :][:2]
    between: list[Node] = [BatchNorm(), *(one for one in after if isinstance(one, Activation))]
    filters = DepthwiseConv(kernel=conv.kernel, padding=conv.padding, bias=False)
    return rewritten(net, {path: (filters, *between, replace(conv, kernel=1, padding=0))})


def _padding(net: Net, _choices: Choices, random: Random) -> Net | None:
    """Zero padding on or off for one top-level convolution."""
    places = [(path, conv) for path, conv in _convolutions(net) if len(path) == 1 and _is_wide(conv)]
    if not places:
        return None
    path, conv = random.choice(places)
    return rewritten(net, {path: (replace(conv, padding=0 if conv.padding else max(both(conv.kernel)) // 2),)})


EDITS: Final[tuple[Edit, ...]] = (
    _width,
    _width,
    _kernel,
    _insert,
    _insert,
    _remove,
    _move_pool,
    _kind_of_pool,
    _add_or_remove_pool,
    _head,
    _all_activations,
    _separate,
    _padding,
)
