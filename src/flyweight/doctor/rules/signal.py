"""Activations and gradients of a net: constant predictions, dead channels, gradients that fade or grow."""

from __future__ import annotations

from math import log
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, judgement
from flyweight.doctor.nets import net_change
from flyweight.doctor.quantity import Known, Quantity, call, fact, index_of, total
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.learning_rate import has_norm
from flyweight.doctor.rules.net_layers import normalised
from flyweight.doctor.subject import Subject

# A predicted class for this share of all images is predicted for all of them.
ONE_CLASS: Final = 0.95

# Of a layer's channels, those that are zero on every image; a few die in many healthy nets.
DEAD: Final = 0.4
FEWEST_CHANNELS: Final = 4

# Root mean square of the gradient of a layer's weights, over that of the last layer. Between these a step moves all
# layers; batch norm rescales the layers before it and is not judged by this.
FADED: Final = 0.01
GROWN: Final = 100.0
# The first loss of a net that knows nothing is ln(classes); one many times larger comes from activations that grew.
LOUD_START: Final = 4.0


@rule("SI01", "Same prediction for every image", needs=("predictions",), source="document 002, steps 1a to 2c")
def constant_prediction(subject: Subject) -> Judgement | None:
    """The net predicts the same class for every image. Its accuracy is just the share of that class, and says nothing
    about learning. The weights diverged or never moved, so look for the cause there."""
    # One class for nearly every image, so that the accuracy is the share of that class.
    predicted, labels = Known(subject).predictions.predicted, Known(subject).predictions.labels
    most = call(max, predicted)
    share = most / call(sum, predicted)
    if share.value < ONE_CLASS:
        return None
    which = call(index_of, most, predicted)
    return _constant(
        fact("predicted class", which),
        fact("share of images predicted as this class", share),
        fact("share of images of this class", labels[which.value] / call(sum, labels)),
    )


@rule(
    "SI06",
    "Reported accuracy equals the share of one class",
    needs=("reported",),
    source="document 002, steps 1a to 2c",
)
def reported_share(subject: Subject) -> Judgement | None:
    """The number of correct predictions is exactly the number of images of one class. This is what a net gets if it
    predicts that class for every image, for example because its weights are NaN. Find what broke the training, and do
    not use the figure."""
    # A run that diverged keeps no predictions; its reported accuracy may still be the share of a class, exactly.
    reported, known = subject.reported or {}, Known(subject).reported
    counts = reported.get("class_counts", {})
    for number, row in enumerate(reported.get("epochs") or ()):
        for part, figures in row.items():
            if not isinstance(figures, dict) or part not in counts or "correct" not in figures:
                continue
            if figures["correct"] in counts[part] and figures["count"] == sum(counts[part]):
                shares, correct = getattr(known.class_counts, part), getattr(known.epochs[number], part).correct
                which = call(index_of, correct, shares)
                return _constant(
                    fact("class with exactly that many images", which),
                    fact(f"correct predictions on {part} images", correct),
                    fact("images of that class", shares[which.value]),
                )
    return None


def _constant(*evidence: Evidence) -> Judgement:
    return judgement(
        "fault",
        *evidence,
        advice="Fix the findings above this one first: the usual cause is the learning rate.",
        is_symptom=True,
    )


@rule("SI05", "Nothing learnt yet", needs=("history",))
def flat_line(subject: Subject) -> Judgement | None:
    """An untrained net has the loss of a random guess, the logarithm of the number of classes. After a whole epoch the
    loss is no better, so the steps had no effect. Check the learning rate, the number of updates and the
    activations."""
    # After a whole epoch the loss is still that of a net that knows nothing.
    if not subject.history or subject.history[-1].train_loss is None:
        return None
    known = Known(subject)
    has_validation = subject.history[-1].validation_accuracy is not None
    accuracy = (known.metrics.validation_accuracy if has_validation else known.metrics.train_accuracy)[-1]
    loss = known.metrics.train_loss[-1]
    chance = call(log, known.data.n_classes)
    if loss.value < STILL_CHANCE * chance.value or accuracy.value > 3 / subject.data.n_classes:
        return None
    return judgement(
        "fault",
        fact("training loss of the last epoch", loss),
        fact("loss of a random guess, ln(classes)", chance),
        fact("validation accuracy" if has_validation else "training accuracy", accuracy),
        advice="Fix the findings above this one first: the net has not learned anything yet.",
        is_symptom=True,
    )


# Training losses include label smoothing's and augmentation's share, so a net that has begun is well below this.
STILL_CHANCE: Final = 0.9


@rule("SI02", "Dead channels", needs=("trained",), source="Lu et al. 2020, Dying ReLU and initialization")
def dead_channels(subject: Subject) -> Judgement | None:
    """ReLU outputs zero for every negative input, and a channel that is negative on all images outputs nothing and gets
    no gradient. Its parameters are wasted. Lower learning rates and batch norm keep channels alive."""
    # Channels that are zero on every image, in the layer that has most of them.
    assert subject.trained is not None
    trained = Known(subject).trained
    shares = {
        layer: subject.trained.dead_channels[layer] / count
        for layer, count in subject.trained.channels.items()
        if count >= FEWEST_CHANNELS
    }
    layer = max(shares, key=lambda one: shares[one], default="")
    if not layer or shares[layer] < DEAD:
        return None
    return judgement(
        "fault" if shares[layer] > 0.9 else "warning",
        fact(f"channels of {layer}", trained.channels[layer]),
        fact("of them zero on every image", trained.dead_channels[layer]),
        fact("images checked", trained.n),
        fact("dead channels in all layers", call(total, trained.dead_channels)),
        changes=_with_norm(subject),
        expected="Batch norm centres channels before the activation, so few die.",
        advice="Lower the learning rate: too long a step can push channels below zero permanently.",
        is_symptom=True,
    )


@rule("SI03", "Gradients fade on their way to the first layers", needs=("start",), source="Glorot and Bengio 2010")
def vanishing(subject: Subject) -> Judgement | None:
    """The gradient is multiplied at each layer on its way from the last to the first. Saturating activations and many
    layers make it so small that the first layers hardly learn. ReLU and batch norm preserve its size."""
    # The first layers get a gradient that is a small fraction of the last layer's.
    ratios = _gradient_ratios(subject)
    layer = min(ratios, key=lambda one: float(ratios[one].value), default="")
    if not layer or ratios[layer].value >= FADED:
        return None
    return judgement(
        "fault" if ratios[layer].value < FADED / 100 else "warning",
        *_gradient_evidence(subject, layer, ratios[layer]),
        changes=_with_norm(subject),
        expected="The gradient keeps its size from layer to layer, so the first layers learn too.",
        advice="Use activations that do not saturate (r, silu), batch norm, or fewer layers.",
    )


@rule(
    "SI04",
    "Activations or gradients grow from layer to layer",
    needs=("start",),
    source="He et al. 2015; Hanin and Rolnick 2018, How to start training",
)
def exploding(subject: Subject) -> Judgement | None:
    """Each layer or branch can make values a little larger, and many in a row make them huge. The initial loss is then
    far above chance, and the first steps are much too large. Batch norm rescales the values after every layer."""
    # Gradients that grow on their way to the first layers, or a first loss far above that of a guess.
    known, ratios = Known(subject), _gradient_ratios(subject)
    layer = max(ratios, key=lambda one: float(ratios[one].value), default="")
    chance, first = call(log, known.data.n_classes), known.start.losses["1"][0]
    is_loud = first.value is not None and first.value > LOUD_START * chance.value
    is_grown = bool(layer) and ratios[layer].value > GROWN
    if not is_grown and not is_loud:
        return None
    evidence: tuple[Evidence, ...] = ()
    if first.value is not None:
        evidence = (fact("loss of the first step", first), fact("loss of a random guess, ln(classes)", chance))
    if layer:
        evidence += _gradient_evidence(subject, layer, ratios[layer])
    return judgement(
        "fault",
        *evidence,
        changes=_with_norm(subject),
        expected="Every layer gets inputs of one scale, so values do not grow from layer to layer.",
        advice="Put batch norm after the convolutions, or use fewer layers or branches.",
    )


def _gradient_ratios(subject: Subject) -> dict[str, Quantity]:
    """The gradient over that of the last layer, of every layer but the last; none behind batch norm."""
    gradient = Known(subject).start.gradient
    measured = [layer for layer, value in gradient.value.items() if value]
    if len(measured) < 2 or has_norm(subject):
        return {}
    *layers, last = measured
    return {layer: gradient[layer] / gradient[last] for layer in layers}


def _gradient_evidence(subject: Subject, layer: str, ratio: Quantity) -> tuple[Evidence, ...]:
    assert subject.start is not None
    gradient = Known(subject).start.gradient
    last = [one for one, value in subject.start.gradient.items() if value][-1]
    return (
        fact(f"gradient of {layer} in the first step, over that of {last}", ratio),
        fact(f"gradient of {layer} (root mean square)", gradient[layer]),
        fact("layers with weights", call(len, gradient)),
    )


def _with_norm(subject: Subject) -> tuple[str, ...]:
    """Batch norm after every convolution, where the net has none and is written in notation."""
    return () if has_norm(subject) else net_change(normalised(subject))


RULES: Final[tuple[Rule, ...]] = (constant_prediction, dead_channels, vanishing, exploding, flat_line, reported_share)
