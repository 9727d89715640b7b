"""Stages of a net, each a convolution with what belongs to it, and pools put between them or moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flyweight.doctor.nets import Written
from flyweight.model.spec import (
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    GlobalPool,
    Net,
    Node,
    Pool,
    Repeat,
    Residual,
    Shared,
)
from flyweight.model.tree import rewritten

POOLS: Final = (Pool, GlobalPool, AdaptivePool)
STAGE_STARTS: Final = (Conv, DepthwiseConv, Repeat, Shared, Residual)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Places at the top of the net, both included. is_pooled: a pool stands in it or follows it."""

    first: int
    last: int
    is_pooled: bool


def stages(net: Written) -> tuple[Stage, ...]:
    """Convolutions and blocks at the top of the net, with the batch norm, activation and pool that belong to each."""
    nodes, maps = net.net.nodes, _map_places(net)
    spans, first = [], None
    for place, node in enumerate(nodes):
        if first is None and isinstance(node, STAGE_STARTS):
            first = place
        if first is not None and place in maps and _is_over(nodes, place):
            spans.append((first, place))
            first = None
    nexts = [*(first for first, _ in spans[1:]), len(nodes)][: len(spans)]
    return tuple(
        Stage(first=first, last=last, is_pooled=any(isinstance(node, POOLS) for node in nodes[first:following]))
        for (first, last), following in zip(spans, nexts, strict=True)
    )


def _map_places(net: Written) -> set[int]:
    """Places at the top behind which there is a map."""
    ends = {step.path[0]: step.row.out_shape for step in net.steps}
    return {place for place, shape in ends.items() if len(shape) == 3}


def _is_over(nodes: Sequence[Node], place: int) -> bool:
    """Whether nothing behind a place belongs to the convolution before: no norm, no activation, no 1x1 of a pair."""
    if isinstance(nodes[place], DepthwiseConv | Pool | Dropout):
        return False
    behind = next((node for node in nodes[place + 1 :] if not isinstance(node, Pool | Dropout)), None)
    return not isinstance(behind, BatchNorm | Activation)


def with_pool(net: Written, *places: Stage) -> Net:
    """With a max pool behind each of these stages."""
    nodes = net.net.nodes
    return rewritten(net.net, {(one.last,): (nodes[one.last], Pool("max")) for one in places})


def with_moved_pool(net: Written, place: int, stage: Stage) -> Net:
    """With the pool at a place behind a stage instead."""
    nodes = net.net.nodes
    return rewritten(net.net, {(place,): (), (stage.last,): (nodes[stage.last], nodes[place])})


def pools(net: Written) -> list[int]:
    """Places at the top where a pool makes the map smaller."""
    return [place for place, node in enumerate(net.net.nodes) if isinstance(node, Pool) and node.step > 1]
