"""Where the parameters are: a linear layer that has most of them, layers too narrow for their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, prod
from typing import Final

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.nets import Step, Written, best_change, first_change, net_change, rows_of, written
from flyweight.doctor.quantity import Known, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.net_maps import LEAST_FIELD, SMALL_END, field_share
from flyweight.doctor.subject import Subject
from flyweight.model.cost import Row
from flyweight.model.spec import CONVOLUTIONS, Conv, DepthwiseConv, Flatten, GlobalPool, Linear, Net, Pool
from flyweight.model.tree import rewritten, with_width

# A linear layer with most of the parameters. On a map of 7 x 7 (an image of 28 after two pools) or smaller that is how
# LeNet is built, so it takes nearly all of them to be an alarm; below 2,000 parameters there is little to save.
EATS: Final = 0.6
EATS_NEARLY_ALL: Final = 0.9
LEAST_EATEN: Final = 2_000
SMALL_MAP: Final = 49

# A layer with at most a quarter of the channels of both its neighbours, or with too few for the classes between
# neighbours that have three times as many. 1x1 convolutions reduce channels by design, in SqueezeNet and MobileNetV2
# down to a sixth, so for them it must be more than that.
NARROW: Final = 4
NARROW_FOR_CLASSES: Final = 3
NARROW_POINTWISE: Final = 8

# Edges of four directions, or a dot and three of them, are the least that first layers of good nets hold.
FEW_FILTERS: Final = 4
USUAL_FILTERS: Final = (8, 6, 4)


# A linear layer that eats the budget


@rule("NE03", "Most parameters in one linear layer", source="Lin, Chen and Yan 2013, arXiv 1312.4400")
def linear_eats_budget(subject: Subject) -> Judgement | None:
    """A linear layer after a flatten has one weight for every position, channel and output. So most parameters are in
    one layer that ignores neighbourhood and overfits easily. A smaller map before the flatten, or global average
    pooling, needs far fewer parameters, but keeps less about positions."""
    # One linear layer holds most of the parameters of a net with convolutions.
    heavy, known = _heaviest_linear(subject), Known(subject)
    if heavy is None:
        return None
    params = known.row(heavy).params
    share = params / known.cost.params
    before = _map_before(subject, heavy)
    evidence, n_places = [], 1
    if before is not None:
        shape = known.row(before).out_shape
        places = shape[1] * shape[2]
        n_places = places.value
        evidence = [fact("positions of its input map", places)]
    better = _relieved(subject, heavy)
    saved = subject.cost.params - better.cost.params if better else 0
    return judgement(
        "warning" if n_places > SMALL_MAP or share.value > EATS_NEARLY_ALL else "note",
        fact(f"parameters of {heavy.name}", params),
        fact("its share of all parameters", call(round, share, 3)),
        *evidence,
        changes=net_change(better),
        gain="cost",
        expected=f"{saved:,} fewer parameters; accuracy may change slightly.",
        fallback="Make the map smaller before it is flattened, by a stride or a pool between convolutions, or give the "
        "linear layer fewer inputs.",
    )


def _heaviest_linear(subject: Subject) -> Row | None:
    """The linear layer that eats, if one does."""
    heaviest = max(rows_of(subject, "linear"), key=lambda row: row.params, default=None)
    if heaviest is None or not rows_of(subject, *CONVOLUTIONS):
        return None
    eats = heaviest.params > LEAST_EATEN and heaviest.params > EATS * subject.cost.params
    return heaviest if eats else None


def _map_before(subject: Subject, linear: Row) -> Row | None:
    """The last map before a linear layer; None where it reads another linear layer."""
    found = None
    for row in subject.cost.rows:
        if row is linear:
            return found
        if row.is_executed and len(row.out_shape) == 3:
            found = row
        elif row.is_executed and row.kind == "linear":
            found = None
    return None


def _relieved(subject: Subject, heavy: Row) -> Written | None:
    """The first change after which no linear layer eats, else the first after which it eats less."""
    net = written(subject)
    if net is None:
        return None
    return best_change(
        subject,
        _lighter(subject, net, heavy),
        is_better=lambda one: one.cost.params < subject.cost.params and _largest_linear(one) < heavy.params,
        fault=lambda one: _largest_linear(one) > max(LEAST_EATEN, EATS * one.cost.params),
    )


def _largest_linear(net: Written) -> int:
    return max((step.row.params for step in net.steps if isinstance(step.layer, Linear)), default=0)


def _lighter(subject: Subject, net: Written, heavy: Row) -> Iterator[Net]:
    """A pool that leaves a fair map, an average over all places where the net can bear it, half the features."""
    linear = next(step for step in net.steps if step.row is heavy)
    flatten = _flatten_before(net, linear)
    if flatten is not None:
        channels, *sides = flatten.row.in_shape
        for window in (2, 3):
            if min(sides) // window > SMALL_END:
                yield rewritten(net.net, {flatten.path: (Pool("max", window), flatten.layer)})
        sees = field_share(net, until=flatten)
        if channels >= subject.data.n_classes and sees is not None and sees >= LEAST_FIELD:
            yield rewritten(net.net, {flatten.path: (GlobalPool("average"), flatten.layer)})
    layer = linear.layer
    if isinstance(layer, Linear) and linear is not net.last_weight and layer.features >= 2 * subject.data.n_classes:
        yield rewritten(net.net, {linear.path: (replace(layer, features=layer.features // 2),)})


def _flatten_before(net: Written, linear: Step) -> Step | None:
    """The flatten of a map of several places that a linear layer reads."""
    found = None
    for step in net.steps:
        if step is linear:
            break
        if isinstance(step.layer, Flatten) and prod(step.row.in_shape[1:]) > 1:
            found = step
        elif isinstance(step.layer, Linear):
            found = None
    return found


# Bottlenecks


@rule("NE07", "A width bottleneck", source="Szegedy et al. 2015, arXiv 1512.00567, section 2")
def width_bottleneck(subject: Subject) -> Judgement | None:
    """One layer has far fewer channels than the layers before and after it. Everything earlier layers found must pass
    through it, and what does not fit is lost, however wide later layers are. Make it about as wide as its neighbours,
    and take the parameters from them if the budget is tight."""
    # A layer far narrower than the one before and the one after.
    net, known = written(subject), Known(subject)
    narrowest = _narrowest(net, subject.data.n_classes) if net else None
    if net is None or narrowest is None:
        return None
    step, following = narrowest
    name, next_name = step.row.name, following.row.name
    after = known.row(following.row)
    return judgement(
        "warning",
        fact(f"inputs of {name} per position", known.row(step.row).in_shape[0]),
        fact(f"values from {name} to {next_name} per position", after.in_shape[0]),
        fact(f"outputs of {next_name} per position", after.out_shape[0]),
        fact("classes", known.data.n_classes),
        changes=net_change(_widened(subject, net, step, following)),
        expected=f"Later layers get more of what the layers before {name} found.",
        fallback="Make its neighbours narrower and this layer wider.",
    )


def _narrowest(net: Written, n_classes: int) -> tuple[Step, Step] | None:
    """The layer that is narrowest against its neighbours, and the one that reads it."""
    pairs = [
        (step, following)
        for step in net.weights
        if not step.is_in_residual and not isinstance(step.layer, DepthwiseConv)
        for following in _reader(net, step)
        if _is_narrow(step, following, n_classes)
    ]
    return min(pairs, key=lambda pair: pair[1].row.in_shape[0] / _neighbours(*pair), default=None)


def _reader(net: Written, step: Step) -> Iterator[Step]:
    """The next layer that mixes channels."""
    for one in net.after(step):
        if isinstance(one.layer, Conv | Linear):
            yield one
            return


def _neighbours(step: Step, following: Step) -> int:
    return min(step.row.in_shape[0], following.row.out_shape[0])


def _is_narrow(step: Step, following: Step, n_classes: int) -> bool:
    width, around = following.row.in_shape[0], _neighbours(step, following)
    if isinstance(step.layer, Conv) and step.layer.kernel == 1:
        return width < n_classes and NARROW_POINTWISE * width <= around
    return NARROW * width <= around or (2 * width < n_classes and NARROW_FOR_CLASSES * width <= around)


def _widened(subject: Subject, net: Written, step: Step, following: Step) -> Written | None:
    """As wide as the narrower neighbour, or as near to it as the budget allows."""
    around = _neighbours(step, following)
    own = step.row.out_shape[0]
    widths = sorted({around * share // 8 for share in (8, 6, 5, 4, 3)} | {own + 1}, reverse=True)
    nets = (rewritten(net.net, {step.path: (with_width(step.layer, width),)}) for width in widths if width > own)

    def is_better(one: Written) -> bool:
        left = _narrowest(one, subject.data.n_classes)
        return left is None or left[1].row.in_shape[0] > following.row.in_shape[0]

    return best_change(
        subject, nets, is_better=is_better, fault=lambda one: _narrowest(one, subject.data.n_classes) is not None
    )


@rule("NE15", "Very few filters in the first layer")
def few_filters(subject: Subject) -> Judgement | None:
    """The first convolution has very few filters, so the net detects very few kinds of edges. What none of them
    responds to is lost to all later layers. Filters of the first layer are cheap, because an image has few channels, so
    add a few."""
    # A first convolution with hardly any filters.
    first = next(iter(rows_of(subject, *CONVOLUTIONS)), None)
    if first is None or not 0 < first.out_shape[0] < FEW_FILTERS:
        return None
    net = written(subject)
    return judgement(
        "note",
        fact(f"filters of {first.name}", Known(subject).row(first).out_shape[0]),
        changes=first_change(subject, *(_with_more_filters(net) if net else ())),
        expected="Later layers can combine more kinds of edges.",
        fallback="Add a few filters here, and remove some from later layers, which cost more.",
    )


def _with_more_filters(net: Written) -> Iterator[Net]:
    step = next(step for step in net.steps if step.row.kind in CONVOLUTIONS)
    for width in USUAL_FILTERS:
        layer = step.layer
        if isinstance(layer, DepthwiseConv):
            yield rewritten(net.net, {step.path: (replace(layer, multiplier=ceil(width / step.row.in_shape[0])),)})
        else:
            yield rewritten(net.net, {step.path: (with_width(layer, width),)})


RULES: Final[tuple[Rule, ...]] = (linear_eats_budget, width_bottleneck, few_filters)
