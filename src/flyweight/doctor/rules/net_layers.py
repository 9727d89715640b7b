"""Layers that are missing, idle or in each other's way: normalisation, biases, activations, layers never called."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Final, cast

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.nets import Step, Written, counted, first_change, net_change, rows_of, written, written_out
from flyweight.doctor.quantity import Known, Quantity, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.subject import Subject
from flyweight.model.spec import (
    ACTIVATIONS,
    CONVOLUTIONS,
    NORMS,
    WEIGHTS,
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalPool,
    Net,
    Node,
    Pool,
    RowKind,
    Unused,
)
from flyweight.model.tree import Path, has_bias, nodes_with_paths, rewritten, without_bias

# Signals shrink or grow by a factor a layer, so it is depth that needs normalisation: nets of two or three
# convolutions, and of these with two or three linear layers (LeNet), learn well without.
DEEP_CONVOLUTIONS: Final = 4
DEEP_WEIGHTS: Final = 6

# A bias before batch norm harms nothing; only where it is more than this share of the parameters it is worth a word
# that is an alarm. One value a filter is about 1 % of a thin net.
WASTED: Final = 0.02

# The slope of a sigmoid is at most 1/4, that of tanh 1: gradients vanish over few of the one and more of the other.
MOST_SIGMOIDS: Final = 3
MOST_SATURATING: Final = 5
SATURATING: Final = ("sigmoid", "tanh")

# These only scale negative inputs.
INVERTIBLE: Final = ("leaky_relu", "prelu")


# Batch norm


@rule("NE01", "No batch norm in a deep net", source="Ioffe and Szegedy 2015, arXiv 1502.03167")
def batch_norm_missing(subject: Subject) -> Judgement | None:
    """Each layer scales its input, and nothing in this net restores one scale. The inputs of later layers grow, shrink
    and shift while earlier layers learn, so only small steps are safe and learning is slow. Batch norm after each
    convolution fixes mean and variance of every channel, for two parameters per channel."""
    # Deep, and not normalised anywhere.
    convolutions, weights, norms = (_count(subject, kinds) for kinds in (CONVOLUTIONS, WEIGHTS, NORMS))
    if norms.value or (convolutions.value < DEEP_CONVOLUTIONS and weights.value < DEEP_WEIGHTS):
        return None
    return judgement(
        "warning",
        fact("convolutions", convolutions),
        fact("layers with weights", weights),
        fact("normalisation layers", norms),
        changes=net_change(normalised(subject)),
        expected="The net learns faster, and tolerates higher learning rates.",
        fallback="Normalise after each convolution, before its activation; that needs two parameters a filter, which "
        "thinner layers can pay for.",
    )


def normalised(subject: Subject) -> Written | None:
    """With batch norm after each convolution but the last of the net; without trained values if the budget is short."""
    net = written(subject)
    if net is not None and net.last_weight is not None and len(net.by_path[net.last_weight.path]) > 1:
        net = written_out(subject)  # the last layer with weights is one of a repetition
    if net is None or net.last_weight is None:
        return None
    kinds = CONVOLUTIONS if rows_of(subject, *CONVOLUTIONS) else ("linear",)
    paths = [path for path in _layers(net, *kinds) if path != net.last_weight.path]
    nets = (
        rewritten(net.net, {path: (without_bias(_at(net, path)), norm) for path in paths})
        for norm in (BatchNorm(), BatchNorm(affine=False))
    )
    return next(counted(subject, nets), None) if paths else None


@rule("NE02", "Bias before batch norm", source="Ioffe and Szegedy 2015, section 3.2")
def bias_before_batch_norm(subject: Subject) -> Judgement | None:
    """A bias adds the same value everywhere in its channel, and the batch norm after it subtracts the mean of the
    channel. So the bias has no effect: it is counted, stored and trained for nothing. Remove it; the shift of the batch
    norm does its work."""
    # Batch norm subtracts the mean, and with it whatever a bias has added.
    net = written(subject)
    if net is None:
        return None
    idle = [path for path in _layers(net, *WEIGHTS) if all(_is_normalised(net, step) for step in net.by_path[path])]
    idle = [path for path in idle if has_bias(_at(net, path))]
    if not idle:
        return None
    known = Known(subject)
    rows = [step.row for path in idle for step in net.by_path[path] if not step.row.is_shared]
    wasted = reduce(operator.add, (known.row(row).out_shape[0] for row in rows))
    share = wasted / known.cost.params
    return judgement(
        "warning" if share.value > WASTED else "note",
        fact("parameters without effect", wasted),
        fact("their share of all parameters", call(round, share, 4)),
        changes=first_change(subject, rewritten(net.net, {path: (without_bias(_at(net, path)),) for path in idle})),
        gain="cost",
        expected=f"The same function with {wasted.value:,} fewer parameters.",
        fallback="Remove the bias (nb) of each layer followed by batch norm.",
    )


def _is_normalised(net: Written, step: Step) -> bool:
    """Followed by batch norm, with only pools between that pass a constant on as it is."""
    for one in net.after(step):
        match one.layer:
            case BatchNorm():
                return True
            case Pool(kind="average", padding=padding) if padding:  # zeros are averaged in
                return False
            case Pool() | GlobalPool() | AdaptivePool():
                continue
            case _:
                return False
    return False


# Activations


@rule("NE10", "No activation between two layers", source="Goodfellow, Bengio and Courville 2016, chapter 6")
def no_activation(subject: Subject) -> Judgement | None:
    """Convolutions and linear layers are linear maps, and two linear maps in a row are one linear map. So the second
    layer costs parameters and time, but adds no expressive power. An activation between them, after the batch norm if
    there is one, costs no parameters."""
    # Two layers with weights and only linear maps between them.
    net = written_out(subject)
    pairs = _linear_pairs(net) if net else []
    if net is None or not pairs:
        return None
    first = pairs[0]
    return judgement(
        "warning",
        fact(f"from {first[0].row.name} to {first[-1].row.name}", _text(subject, first)),
        fact("layers with weights", _count(subject, WEIGHTS)),
        fact("activations", _count(subject, ACTIVATIONS)),
        changes=net_change(_activated(subject, net, pairs)),
        expected="Each layer adds expressive power, without parameters.",
        fallback="Put an activation such as r between them.",
    )


def _linear_pairs(net: Written) -> list[list[Step]]:
    """From each such layer to the next, with what stands between."""
    found = []
    for step in net.weights:
        way = [step]
        for one in net.after(step):
            way.append(one)
            if one.row.kind in WEIGHTS:
                if not _is_factored(step, one):
                    found.append(way)
                break
            if not _is_linear(one):
                break
    return found


def _is_linear(step: Step) -> bool:
    match step.layer:
        case BatchNorm() | Dropout() | Flatten():
            return True
        case Pool() | GlobalPool() | AdaptivePool() as pool:
            return pool.kind == "average"
        case _:
            return False


def _is_factored(one: Step, other: Step) -> bool:
    """Two that are one by design: space and channels apart (Chollet 2017), or a linear bottleneck (Sandler 2018)."""
    if _is_pointwise(one) and _is_pointwise(other):
        return one.row.out_shape[0] < other.row.out_shape[0]
    return any(isinstance(step.layer, DepthwiseConv) for step in (one, other)) and any(
        _is_pointwise(step) for step in (one, other)
    )


def _is_pointwise(step: Step) -> bool:
    return isinstance(step.layer, Conv) and step.layer.kernel == 1


def _activated(subject: Subject, net: Written, pairs: list[list[Step]]) -> Written | None:
    """With the net's usual activation after the first layer of each pair, or after its batch norm."""
    changes: dict[Path, tuple[Node, ...]] = {}
    for way in pairs:
        place = way[1] if isinstance(way[1].layer, BatchNorm) else way[0]
        changes[place.path] = (place.layer, _usual_activation(net))
    return next((one for one in counted(subject, [rewritten(net.net, changes)]) if not _on_logits(one)), None)


def _usual_activation(net: Written) -> Activation:
    """The one that stands most often, but for those that saturate or have weights; else ReLU."""
    kept = [one.layer for one in net.steps if isinstance(one.layer, Activation)]
    counts = Counter(layer for layer in kept if layer.kind not in (*SATURATING, "prelu"))
    return counts.most_common(1)[0][0] if counts else Activation("relu")


@rule("NE12", "Activation on the logits")
def activation_on_logits(subject: Subject) -> Judgement | None:
    """The last layer gives each class a score, and an activation after it bends or clips these scores. Clipped scores
    get no gradient, and the net cannot mark a class as very unlikely, so some classes may never be learned. Remove the
    activation: the loss expects scores of any sign and size."""
    # The logits are cut before they are compared.
    net = written_out(subject)
    found = _on_logits(net) if net else []
    if net is None or net.last_weight is None or not found:
        return None
    shown = (net.last_weight, found[0])
    return judgement(
        "warning",
        fact(f"{shown[0].row.name} and what follows it", _text(subject, shown)),
        changes=first_change(subject, rewritten(net.net, {step.path: () for step in found})),
        expected="Wrong classes can get low scores, so the loss falls further.",
        fallback="Pass the output of the last layer to the loss unchanged.",
    )


def _on_logits(net: Written) -> list[Step]:
    """Activations behind the last layer with weights; before an average over places they are part of a design."""
    last = net.last_weight
    if last is None or last.is_in_residual:
        return []
    behind = list(net.after(last))
    if any(isinstance(step.layer, Pool | GlobalPool | AdaptivePool) for step in behind):
        return []
    return [step for step in behind if isinstance(step.layer, Activation) and step.layer.kind not in INVERTIBLE]


@rule("NE14", "Saturating activations in a deep net", source="Glorot and Bengio 2010")
def saturating_activations(subject: Subject) -> Judgement | None:
    """Sigmoid and tanh are flat for large inputs, where their gradient is nearly zero. Gradients are multiplied from
    layer to layer, so little is left at the first layers, which hardly learn. ReLU has slope one for positive inputs,
    and batch norm before an activation keeps inputs where it has a slope."""
    # Sigmoids or tanh one after the other, with nothing that brings values back to where they have a slope.
    net = written(subject)
    if net is None or rows_of(subject, *NORMS):
        return None
    found = list(_saturating(net))
    sigmoids = [step for step in found if cast(Activation, step.layer).kind == "sigmoid"]
    if len(sigmoids) <= MOST_SIGMOIDS and len(found) <= MOST_SATURATING:
        return None
    changes = {step.path: (Activation("relu"),) for step in found}
    return judgement(
        "warning",
        fact("sigmoids", _count(subject, ("sigmoid",))),
        fact("hyperbolic tangents", _count(subject, ("tanh",))),
        fact("normalisation layers", _count(subject, NORMS)),
        changes=first_change(subject, rewritten(net.net, cast("dict[Path, tuple[Node, ...]]", changes))),
        expected="Gradients reach the first layers, so they learn too.",
        fallback="Use an activation that does not saturate, such as ReLU, or batch norm before each.",
    )


def _saturating(net: Written) -> Iterator[Step]:
    """Those between the first and the last layer with weights."""
    n_left = len(net.weights)
    for step in net.steps:
        n_left -= step.row.kind in WEIGHTS
        if isinstance(step.layer, Activation) and step.layer.kind in SATURATING and 0 < n_left < len(net.weights):
            yield step


# Layers that do nothing


@rule("NE11", "Log-softmax before cross entropy", source="definition of the log-softmax")
def log_softmax_before_loss(subject: Subject) -> Judgement | None:
    """The cross entropy loss already applies a log-softmax, so here it is applied twice. The second one has no effect:
    loss, gradients and predictions are the same. It is harmless, and can be removed for a shorter net."""
    # Cross entropy takes the log-softmax itself, and that of a log-softmax is the same.
    executed = [row for row in subject.cost.rows if row.is_executed]
    if not executed or executed[-1].kind != "log_softmax":
        return None
    return judgement(
        "note",
        fact("the last layer", Known(subject).row(executed[-1]).layer),
        advice="No change is needed; without it predictions and training are the same.",
    )


@rule("NE08", "Layers registered and never called", source="document 003, step 17; document 004")
def never_called(subject: Subject) -> Judgement | None:
    """These layers are stored with the net, but its output does not depend on them. They learn nothing, and make the
    parameter count ambiguous, because some tools count them and others do not. Remove them if they are leftovers, or
    call them if they were meant to be used."""
    # Registered with the net, and not part of what it computes.
    known, net = Known(subject), written(subject)
    if not known.layers_never_called.value:
        return None
    unused = subject.cost.registered_params - subject.cost.params
    return judgement(
        "warning" if unused else "note",
        fact("layers never called", call(len, known.layers_never_called)),
        fact("parameters registered", known.cost.registered_params),
        fact("parameters used in forward", known.cost.params),
        changes=first_change(subject, *([_without_unused(net.net)] if net else [])),
        gain="cost",
        expected=f"The same function with {unused:,} fewer stored parameters, and one unambiguous count.",
        fallback="Call these layers in forward, or remove them from the net.",
    )


def _without_unused(net: Net) -> Net:
    return rewritten(net, {path: () for path, node in nodes_with_paths(net.nodes) if isinstance(node, Unused)})


# What several of these ask.


def _layers(net: Written, *kinds: RowKind) -> list[Path]:
    """Where layers of these kinds are written, of those that run."""
    return [path for path, steps in net.by_path.items() if steps[0].row.kind in kinds]


def _at(net: Written, path: Path) -> Node:
    return net.by_path[path][0].layer


def _count(subject: Subject, kinds: Sequence[RowKind]) -> Quantity:
    """How many layers of these kinds run."""
    return call(len, Known(subject).layers(*kinds))


def _text(subject: Subject, steps: Sequence[Step]) -> Quantity:
    """Layers as they are written."""
    known = Known(subject)
    return reduce(lambda text, layer: text + " " + layer, (known.row(step.row).layer for step in steps))


RULES: Final[tuple[Rule, ...]] = (
    batch_norm_missing,
    bias_before_batch_norm,
    never_called,
    no_activation,
    log_softmax_before_loss,
    activation_on_logits,
    saturating_activations,
)
