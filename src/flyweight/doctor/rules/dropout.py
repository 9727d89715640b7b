"""Dropout that is too strong, stands in the wrong place, or has no time to help; all from the text of the net."""

from __future__ import annotations

import operator
from functools import reduce
from math import prod
from typing import Final, cast

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.nets import Step, Written, counted, first_change, net_change, written, written_out
from flyweight.doctor.quantity import Known, Quantity, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.subject import Subject
from flyweight.model.spec import (
    WEIGHTS,
    Activation,
    AdaptivePool,
    BatchNorm,
    Dropout,
    Flatten,
    GlobalPool,
    Linear,
    Net,
    Pool,
)
from flyweight.model.tree import rewritten

# A half before the linear layers of a large net is what dropout was made for (Srivastava et al. 2014); a net of fewer
# parameters has none to spare, and convolutions share their weights over so many places that they hardly overfit.
STRONG: Final = 0.5
LARGE_NET: Final = 100_000
# What passes all dropouts of a net. Three of 0.25 leave 0.42; with less the net learns from a torso of itself.
LEAST_KEPT: Final = 0.35
MILD: Final = 0.1

# Up to a fifth of the inputs of a net of linear layers is usual (Srivastava et al. 2014, appendix A).
MOST_OF_IMAGE: Final = 0.2
# Weaker ones shift next to nothing.
LEAST_MISPLACED: Final = 0.1

# With dropout a net takes two to three times as long to learn (Srivastava et al. 2014, section 6).
FEW_STEPS: Final = 1_500
SLOWING: Final = 0.25


@rule("RE01", "Dropout too strong", source="Srivastava et al. 2014, JMLR 15")
def too_strong(subject: Subject) -> Judgement | None:
    """Dropout zeroes part of the values in each training step, so that the net cannot rely on any of them. Several
    dropouts multiply, and a small net then learns slowly and does not even fit its training images. Use a tenth or
    less, or none: small nets overfit little, and augmentation helps them more."""
    # A half or more where it is too much, or too little left after all of them.
    net, known = written(subject), Known(subject)
    judged = _judged(subject, net) if net else []
    if net is None or not judged:
        return None
    strongest = _strongest(known, judged)
    kept = reduce(operator.mul, (1 - _quantity(known, step) for step in judged))
    if strongest.value < STRONG and kept.value >= LEAST_KEPT:
        return None
    return judgement(
        "warning",
        fact("strongest dropout", strongest),
        fact("share of values left after all dropouts", call(round, kept, 3)),
        fact("parameters", known.cost.params),
        changes=net_change(_weaker(subject, net)),
        expected="The net trains with most of its values, and fits its images better.",
        fallback="Lower its probability, or remove it.",
    )


def _judged(subject: Subject, net: Written) -> list[Step]:
    """All dropouts; in a large net those that do not stand as they were meant to: up to a half, for linear layers."""
    found = _dropouts(net)
    if subject.cost.params < LARGE_NET:
        return found
    return [step for step in found if _p(step) > STRONG or not _feeds_linear(net, step)]


def _dropouts(net: Written) -> list[Step]:
    return [step for step in net.steps if isinstance(step.layer, Dropout) and step.layer.p > 0]


def _feeds_linear(net: Written, step: Step) -> bool:
    following = next((one.layer for one in net.after(step) if one.row.kind in WEIGHTS), None)
    return isinstance(following, Linear)


def _weaker(subject: Subject, net: Written) -> Written | None:
    """All of them mild, where that is enough, else none."""
    strong = [step for step in _dropouts(net) if _p(step) > MILD]
    mild = rewritten(net.net, {step.path: (Dropout(MILD, _dropout(step).spatial),) for step in strong})
    kept = prod(1 - min(_p(step), MILD) for step in _dropouts(net))
    nets = [mild, _without(net, _dropouts(net))] if kept >= LEAST_KEPT else [_without(net, _dropouts(net))]
    return next(counted(subject, nets), None)


@rule("RE02", "Dropout in the wrong place", source="Li, Chen, Hu and Yang 2019, arXiv 1801.05134")
def misplaced(subject: Subject) -> Judgement | None:
    """Dropout changes the spread of values in training but not in evaluation. Directly before batch norm it makes the
    stored variance wrong for evaluation; on the logits it drops the right class by chance; on the image it deletes
    pixels before any layer has seen them. Put it after the activation before the last linear layer, or remove it."""
    # On the logits, on the image, or straight before batch norm.
    net, known = written_out(subject), Known(subject)
    if net is None:
        return None
    where = {"on the logits": _on_logits(net), "on the image": _on_image(net), "before batch norm": _before_norm(net)}
    found = [step for steps in where.values() for step in steps]
    if not found:
        return None
    strongest = max(found, key=_p)
    place = next(place for place, steps in where.items() if any(step is strongest for step in steps))
    return judgement(
        "warning" if _p(strongest) >= LEAST_MISPLACED else "note",
        fact(f"dropout {place}", _quantity(known, strongest)),
        fact("layer", known.row(strongest.row).name),
        changes=first_change(subject, _without(net, found)),
        expected="Training and evaluation see the same values, and no logit is dropped.",
        fallback="Move it after the activation of a layer that no batch norm follows, or remove it.",
    )


def _on_logits(net: Written) -> list[Step]:
    last = net.last_weight
    if last is None or last.is_in_residual:
        return []
    return [step for step in net.after(last) if _is_dropout(step)]


def _on_image(net: Written) -> list[Step]:
    """Before the first layer with weights; a little of it is usual where that is a linear one."""
    if not net.weights:
        return []
    first = net.weights[0]
    found = [step for step in net.before(first) if _is_dropout(step) and not step.is_in_residual]
    return [step for step in found if not isinstance(first.layer, Linear) or _p(step) > MOST_OF_IMAGE]


def _before_norm(net: Written) -> list[Step]:
    """No layer with weights between: the batch norm measures a spread in training that evaluation does not have."""
    return [step for step in _dropouts(net) if _reaches_norm(net, step)]


def _reaches_norm(net: Written, step: Step) -> bool:
    for one in net.after(step):
        match one.layer:
            case BatchNorm():
                return True
            case Activation() | Pool() | GlobalPool() | AdaptivePool() | Flatten() | Dropout():
                continue
            case _:
                return False
    return False


@rule("RE03", "Dropout in a short training", source="Srivastava et al. 2014, section 6")
def in_short_training(subject: Subject) -> Judgement | None:
    """With dropout each step trains a different part of the net, so learning takes longer. It helps against
    overfitting, which takes many epochs, and this training is too short for that. Remove it, or train longer."""
    # Strong enough to slow learning down, in a training that is over before it pays.
    net, known = written(subject), Known(subject)
    slowing = [step for step in _dropouts(net) if _p(step) >= SLOWING] if net else []
    if net is None or not slowing or subject.steps >= FEW_STEPS:
        return None
    return judgement(
        "note",
        fact("training steps", known.steps),
        fact("strongest dropout", _strongest(known, slowing)),
        changes=first_change(subject, _without(net, slowing)),
        expected="The net learns more in the same number of steps.",
        fallback="Remove it, or train longer.",
    )


def _without(net: Written, steps: list[Step]) -> Net:
    return rewritten(net.net, {step.path: () for step in steps})


def _is_dropout(step: Step) -> bool:
    return isinstance(step.layer, Dropout) and step.layer.p > 0


def _dropout(step: Step) -> Dropout:
    return cast(Dropout, step.layer)


def _p(step: Step) -> float:
    return _dropout(step).p


def _quantity(known: Known, step: Step) -> Quantity:
    """The probability of a dropout layer."""
    return Quantity(_p(step), f"dropout({known.row(step.row).formula})")


def _strongest(known: Known, steps: list[Step]) -> Quantity:
    return _quantity(known, max(steps, key=_p))


RULES: Final[tuple[Rule, ...]] = (too_strong, misplaced, in_short_training)
