"""What happens to the map on its way: pools, receptive fields, and where the multiplications are spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from typing import Final

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.nets import Step, Written, best_change, counted, net_change, written_out
from flyweight.doctor.quantity import Known, Quantity, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.net_stages import pools, stages, with_moved_pool, with_pool
from flyweight.doctor.subject import Subject
from flyweight.model.cost import Cost, Row
from flyweight.model.spec import (
    CONVOLUTIONS,
    AdaptivePool,
    Conv,
    DepthwiseConv,
    GlobalPool,
    Linear,
    Net,
    Node,
    Pool,
    both,
)
from flyweight.model.tree import rewritten

# A pool that leaves 3 x 3 places or fewer to a linear layer; of the places that come in at most one in eight is left
# where it is an alarm. LeNet's last pool leaves 4 x 4 of 8 x 8.
SMALL_END: Final = 3
ALARMING_SHARE: Final = 1 / 8
# What a net without a budget may grow by for it.
MOST_GROWTH: Final = 1.5

# An average over places knows no places, so each unit before it must see most of the thing: a digit is 20 of 28 pixels.
LEAST_FIELD: Final = 0.6

# A convolution on a map of 3 x 3 places or fewer sees the whole map, and more padding than map at the corners. One or
# two such layers end many good nets; as long as they are not half of the net nothing is wrong.
SMALL_MAP: Final = 3
MOST_ON_SMALL_MAPS: Final = 1
LARGE_PART: Final = 0.5

# Convolutions whose answer is hardly smaller than the image, and their share of all multiplications. Two of them are
# usual; with more most of the time goes into edges.
NEARLY_FULL: Final = 0.75
MOST_AT_FULL_SIZE: Final = 2
MUCH_OF_ALL: Final = 0.65
MOST_OF_ALL: Final = 0.8


# Pooling at the very end


@dataclass(frozen=True, kw_only=True)
class _End:
    """The pools between the last convolution and what reads its map; rows before the first and of the last of them."""

    pools: tuple[Step, ...]

    @property
    def places_before(self) -> int:
        return prod(self.pools[0].row.in_shape[1:])

    @property
    def places_after(self) -> int:
        return prod(self.pools[-1].row.out_shape[1:])


@rule("NE04", "Pooling at the very end", source="document 002, steps 3a to 4")
def pooling_at_the_end(subject: Subject) -> Judgement | None:
    """The last pool shrinks an already small map just before the linear layer reads it. The discarded values were
    computed for nothing, and the linear layer loses the positions of what was found. Pool earlier, between two
    convolutions: later layers then see more of the image and cost less."""
    # Places are thrown away just before a linear layer would read them.
    net, known = written_out(subject), Known(subject)
    end = _small_end(net) if net else None
    if net is None or end is None:
        return None
    before, after = known.row(end.pools[0].row).in_shape, known.row(end.pools[-1].row).out_shape
    return judgement(
        "warning" if end.places_after <= ALARMING_SHARE * end.places_before else "note",
        fact("positions of the last map before pooling", before[1] * before[2]),
        fact("positions left after pooling", after[1] * after[2]),
        changes=net_change(_pooled_earlier(subject, net)),
        expected="The last layer sees more positions.",
        fallback="Pool between two convolutions instead.",
    )


def _small_end(net: Written) -> _End | None:
    """The pools at the end, where they leave a small map; an average over the whole map is a head, not a pool."""
    convolutions = [number for number, step in enumerate(net.steps) if step.row.kind in CONVOLUTIONS]
    if not convolutions:
        return None
    found: list[Step] = []
    for step in net.steps[convolutions[-1] + 1 :]:
        match step.layer:
            case Pool() as pool if pool.step > 1:
                if pool.kind == "average" and prod(step.row.out_shape[1:]) == 1:
                    return None
                found.append(step)
            case GlobalPool() | AdaptivePool():
                return None
            case Linear():
                break
            case _:
                pass
    if not found:
        return None
    end = _End(pools=tuple(found))
    is_small = min(found[-1].row.out_shape[1:]) <= SMALL_END
    return end if is_small and end.places_after < end.places_before else None


def _pooled_earlier(subject: Subject, net: Written) -> Written | None:
    """The end pools taken out: another pool earlier, or a smaller one, or an average over the map instead."""
    place = _last_pool(net)
    if place is None:
        return None
    limit = subject.recipe.budget.params or MOST_GROWTH * subject.cost.params
    counted_nets = counted(subject, _without_end_pool(net, place))
    return next((one for one in counted_nets if one.cost.params <= limit and not _is_worse_end(one, net)), None)


def _last_pool(net: Written) -> int | None:
    end = _small_end(net)
    paths = [step.path for step in end.pools if len(step.path) == 1] if end else []
    return paths[-1][0] if paths else None


def _without_end_pool(net: Written, place: int) -> Iterator[Net]:
    nodes = net.net.nodes
    pool = nodes[place]
    assert isinstance(pool, Pool)
    earlier = [one for one in reversed(stages(net)[:-1]) if one.last < place]
    for stage in sorted(earlier, key=lambda one: one.is_pooled):
        yield rewritten(net.net, {(place,): (), (stage.last,): (nodes[stage.last], Pool(pool.kind))})
    for window in range(pool.kernel - 1, 1, -1):
        yield rewritten(net.net, {(place,): (Pool(pool.kind, window),)})
    yield rewritten(net.net, {(place,): (GlobalPool("average"),)})
    yield rewritten(net.net, {(place,): ()})


def _is_worse_end(one: Written, before: Written) -> bool:
    """Another fault instead of the old one."""
    end, old = _small_end(one), _small_end(before)
    if end is not None and old is not None and end.places_after <= old.places_after:
        return True
    return _is_blind(one) or bool(_small_too_early(one))


# The receptive field at an average


def field_share(net: Written, *, until: Step) -> float | None:
    """The largest receptive field before a step, as a share of the image's side; the smaller of height and width."""
    rows = [step.row for step in net.before(until)]
    if not rows:
        return None
    _, *sides = net.cost.input_shape
    return min(max(row.receptive_field[axis] for row in rows) / side for axis, side in enumerate(sides))


def _averaging(net: Written) -> Step | None:
    """Where all places become one by their average or maximum, if that is how the net ends its maps."""
    for step in net.steps:
        match step.layer:
            case GlobalPool() | AdaptivePool(size=1):
                pass
            case Pool(kind="average") if prod(step.row.out_shape[1:]) == 1:
                pass
            case _:
                continue
        return None if step.is_in_residual else step
    return None


def _is_blind(net: Written) -> bool:
    """Whether an average is taken of units that see too little."""
    head = _averaging(net)
    share = field_share(net, until=head) if head else None
    return share is not None and share < LEAST_FIELD


@rule("NE05", "Receptive field smaller than the object", source="Luo et al. 2016, arXiv 1701.04128")
def receptive_field_small(subject: Subject) -> Judgement | None:
    """Before the average over all positions, each unit sees only a small window of the image. The net then counts
    strokes and corners without their arrangement, so objects made of the same parts look alike. An earlier pool or
    stride enlarges the windows of all later layers, without parameters."""
    # What is averaged over all places has seen only a part of the thing.
    net = written_out(subject)
    head = _averaging(net) if net else None
    rows = [step.row for step in net.before(head)] if net and head else []
    if net is None or not _is_blind(net) or not any(row.kind in CONVOLUTIONS for row in rows):
        return None
    _, *sides = net.cost.input_shape
    axis = min((0, 1), key=lambda axis: max(row.receptive_field[axis] for row in rows) / sides[axis])
    widest = max(rows, key=lambda row: row.receptive_field[axis])
    known = Known(subject)
    return judgement(
        "warning",
        fact(f"receptive field of {widest.name} in pixels, per side", known.row(widest).receptive_field[axis]),
        fact("side of the image in pixels", known.data.shape[axis + 1]),
        changes=net_change(_seeing_more(subject, net)),
        expected="Before the average each unit sees whole shapes, not strokes.",
        fallback="Pool earlier, or add a convolution, or take larger kernels; or flatten instead of averaging, so that "
        "the last layer sees all places.",
    )


def _seeing_more(subject: Subject, net: Written) -> Written | None:
    """The first change that lets units see enough, else the one that lets them see most."""

    def share(one: Written) -> float:
        head = _averaging(one)
        return (field_share(one, until=head) or 0.0) if head else 0.0

    return best_change(
        subject,
        _wider_views(net),
        is_better=lambda one: share(one) > share(net) and not _small_too_early(one),
        fault=lambda one: max(LEAST_FIELD - share(one), 0.0),
    )


def _wider_views(net: Written) -> Iterator[Net]:
    """One pool more, as late as can be; two; the last convolution once more; larger kernels."""
    found = stages(net)
    free = [one for one in found[:-1] if not one.is_pooled]
    for one in reversed(free):
        yield with_pool(net, one)
    for two in combinations(reversed(free), 2):
        yield with_pool(net, *two)
    if found:
        last = found[-1]
        nodes = net.net.nodes
        copied = nodes[last.first : last.last + 1]
        for pooled in ((), *((one,) for one in reversed(free))):
            changes: dict[tuple[int, ...], tuple[Node, ...]] = {
                (one.last,): (nodes[one.last], Pool("max")) for one in pooled
            }
            yield rewritten(net.net, changes | {(last.last,): (nodes[last.last], *copied)})
            yield rewritten(net.net, changes | {(last.last,): (nodes[last.last], Pool("max"), *copied)})
    for step in net.steps:
        if isinstance(step.layer, Conv | DepthwiseConv) and step.layer.kernel in (3, 5):
            (side, _), (top, left) = both(step.layer.kernel), both(step.layer.padding)
            wider = replace(step.layer, kernel=side + 2, padding=(top + 1, left + 1))
            yield rewritten(net.net, {step.path: (wider,)})


# The map is small too early


@rule(
    "NE06",
    "Receptive field larger than the image too early",
    source="Richter, Shenk, Byttner, Wallin and Krumnack 2021, arXiv 2106.12307",
)
def receptive_field_large_early(subject: Subject) -> Judgement | None:
    """The map is so small that each window covers all of it, with much of the net still to come. These layers see
    mostly padding and find no new context, so their parameters add little. Shrink the map later, or move these layers
    to where it is larger."""
    # Much of the net runs on a map that each of its windows sees whole.
    net = written_out(subject)
    late = _small_too_early(net) if net else []
    if net is None or not late:
        return None
    first, last, known = late[0].row, late[-1].row, Known(subject)
    small = Quantity(tuple(step.row for step in late), f"spatial_layers({SMALL_MAP})")
    spatial = Quantity(tuple(step.row for step in _spatial(net)), "spatial_layers()")
    return judgement(
        "warning",
        fact(f"side of the input map of {first.name}", call(min, known.row(first).in_shape[1:])),
        fact(f"convolutions on maps of {SMALL_MAP} x {SMALL_MAP} or smaller", call(len, small)),
        fact("convolutions larger than 1 x 1", call(len, spatial)),
        fact(f"receptive field of {last.name} in pixels", known.row(last).receptive_field[0]),
        fact("side of the image in pixels", known.data.shape[1]),
        changes=net_change(_pooled_later(subject, net, late)),
        expected="Convolutions run on maps large enough for their windows.",
        fallback="Pool or stride later, or remove the convolutions on the smallest maps.",
    )


def _spatial(net: Written) -> list[Step]:
    """Convolutions with a window of more than one pixel."""
    return [
        step for step in net.steps if isinstance(step.layer, Conv | DepthwiseConv) and max(both(step.layer.kernel)) > 1
    ]


def _small_too_early(net: Written) -> list[Step]:
    """The convolutions on small maps, where they are a large part of the net; else none."""
    late = [step for step in _spatial(net) if min(step.row.in_shape[1:]) <= SMALL_MAP]
    is_much = len(late) > MOST_ON_SMALL_MAPS and len(late) >= LARGE_PART * len(_spatial(net))
    _, height, width = net.cost.input_shape
    if not is_much or min(height, width) <= SMALL_MAP:
        return []
    field = late[-1].row.receptive_field
    return late if field[0] >= height and field[1] >= width else []


def _pooled_later(subject: Subject, net: Written, late: list[Step]) -> Written | None:
    """The first change after which the map is large enough for long enough, else the one that helps most."""
    return best_change(
        subject,
        _later_pools(net, late),
        is_better=lambda one: len(_small_too_early(one)) < len(late) and not _has_new_fault(one, net),
        fault=lambda one: len(_small_too_early(one)),
    )


def _later_pools(net: Written, late: list[Step]) -> Iterator[Net]:
    """An early pool moved behind a late convolution, or left out; a stride less."""
    start = late[0].path[0]
    early = [place for place in pools(net) if place < start]
    for place in early:
        for stage in stages(net)[:-1]:
            if stage.last >= start:
                yield with_moved_pool(net, place, stage)
    for place in early:
        yield rewritten(net.net, {(place,): ()})
    for step in net.steps:
        layer = step.layer
        if isinstance(layer, Conv | DepthwiseConv) and layer.stride > 1 and step.path[0] <= start:
            yield rewritten(net.net, {step.path: (replace(layer, stride=layer.stride // 2),)})


def _has_new_fault(one: Written, before: Written) -> bool:
    """Whether a net has a fault of this file that the one before has not."""
    faults = (_small_end, _is_blind, _small_too_early, lambda net: _is_much(net.cost))
    return any(fault(one) and not fault(before) for fault in faults)


# Where the time goes


@rule("NE09", "Most of the time is spent at full resolution", source="He and Sun 2015, arXiv 1412.1710")
def full_resolution(subject: Subject) -> Judgement | None:
    """A convolution is computed at every position of its map, so its time grows with the area. Here several layers run
    before the map gets smaller, and take most of the time of a training step. A pool or stride one layer earlier makes
    all later layers about four times as fast."""
    # Most multiplications are made before the map is any smaller.
    if not _is_much(subject.cost):
        return None
    known, better = Known(subject), _pooled_sooner(subject)
    full = Quantity(tuple(_at_full_size(subject.cost)), f"layers_of_size({NEARLY_FULL})")
    share = call(sum, full.macs) / known.cost.macs
    saved = 1 - better.cost.macs / subject.cost.macs if better else 0.0
    return judgement(
        "warning" if share.value > MOST_OF_ALL else "note",
        fact("convolutions on maps nearly as large as the image", call(len, full)),
        fact("their share of all multiplications", call(round, share, 3)),
        changes=net_change(better),
        gain="cost",
        expected=f"{saved:.0%} fewer multiplications, so faster steps.",
        fallback="Pool after the first or second convolution, or give one of them a stride of 2.",
    )


def _at_full_size(cost: Cost) -> list[Row]:
    _, height, width = cost.input_shape
    return [
        row
        for row in cost.rows
        if row.is_executed
        and row.macs
        and len(row.out_shape) == 3
        and min(row.out_shape[1] / height, row.out_shape[2] / width) >= NEARLY_FULL
    ]


def _share_at_full_size(cost: Cost) -> float:
    return sum(row.macs for row in _at_full_size(cost)) / cost.macs if cost.macs else 0.0


def _is_much(cost: Cost) -> bool:
    return len(_at_full_size(cost)) > MOST_AT_FULL_SIZE and _share_at_full_size(cost) > MUCH_OF_ALL


def _pooled_sooner(subject: Subject) -> Written | None:
    """The first change after which that is no longer so, else the one that spends the least there."""
    net = written_out(subject)
    if net is None:
        return None

    def excess(cost: Cost) -> float:
        return _share_at_full_size(cost) if _is_much(cost) else 0.0

    return best_change(
        subject,
        _sooner_pools(net),
        is_better=lambda one: (
            one.cost.macs < subject.cost.macs
            and excess(one.cost) < excess(subject.cost)
            and not _has_new_fault(one, net)
        ),
        fault=lambda one: excess(one.cost),
    )


def _sooner_pools(net: Written) -> Iterator[Net]:
    """The first pool moved to an earlier stage, the latest first; a pool more; a stride of 2."""
    found = stages(net)
    pooled = pools(net)
    if pooled:
        for stage in reversed(found):
            if stage.last < pooled[0] - 1:
                yield with_moved_pool(net, pooled[0], stage)
    for stage in reversed(found[:-1]):
        if not stage.is_pooled:
            yield with_pool(net, stage)
    full = {id(row) for row in _at_full_size(net.cost)}
    for step in reversed(net.steps):
        if id(step.row) in full and isinstance(step.layer, Conv | DepthwiseConv) and step.layer.stride == 1:
            yield rewritten(net.net, {step.path: (replace(step.layer, stride=2),)})


RULES: Final[tuple[Rule, ...]] = (
    pooling_at_the_end,
    receptive_field_small,
    receptive_field_large_early,
    full_resolution,
)
