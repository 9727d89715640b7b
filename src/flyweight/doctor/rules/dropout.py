"""Dropout that is too strong, stands in the wrong place, or has no time to help; all from the text of the net."""

from __future__ import annotations

from math import prod
from typing import Final, cast

from flyweight.doctor.finding import Evidence, Judgement
from flyweight.doctor.nets import Step, Written, counted, remedy, rewritten, row_in_words, written, written_out
from flyweight.doctor.rule import Rule
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


def too_strong(subject: Subject) -> Judgement | None:
    """A half or more where it is too much, or too little left after all of them."""
    net = written(subject)
    judged = _judged(subject, net) if net else []
    if net is None or not judged:
        return None
    strongest = max(judged, key=_p)
    kept = prod(1 - _p(step) for step in judged)
    if _p(strongest) < STRONG and kept >= LEAST_KEPT:
        return None
    probabilities = [_p_in_words(subject, step) for step in judged]
    healed = _weaker(subject, net)
    return Judgement(
        severity="warning",
        evidence=(
            Evidence(what="strongest dropout", value=_p(strongest), source=_p_in_words(subject, strongest)),
            Evidence(
                what="share of the values that passes all dropouts",
                value=round(kept, 3),
                source=f"round({' * '.join(f'(1 - {words})' for words in probabilities)}, 3)",
            ),
            Evidence(what="parameters", value=subject.cost.params, source="cost.params"),
        ),
        remedy=None
        if healed is None
        else remedy(
            healed, gain="accuracy", expected="The net learns with most of itself, and fits its images better."
        ),
        advice="" if healed else "Make it weaker, or leave it out.",
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


def misplaced(subject: Subject) -> Judgement | None:
    """On the answers, on the image, or straight before batch norm."""
    net = written_out(subject)
    if net is None:
        return None
    where = {"on the answers": _on_answers(net), "on the image": _on_image(net), "before batch norm": _before_norm(net)}
    found = [step for steps in where.values() for step in steps]
    if not found:
        return None
    strongest = max(found, key=_p)
    place = next(place for place, steps in where.items() if any(step is strongest for step in steps))
    healed = next(counted(subject, [_without(net, found)]), None)
    return Judgement(
        severity="warning" if _p(strongest) >= LEAST_MISPLACED else "note",
        evidence=(
            Evidence(what=f"dropout {place}", value=_p(strongest), source=_p_in_words(subject, strongest)),
            Evidence(
                what="the layer",
                value=strongest.row.name,
                source=f"{row_in_words(subject, strongest.row)}.name",
            ),
        ),
        remedy=None
        if healed is None
        else remedy(healed, gain="accuracy", expected="Training sees what evaluation sees, and no answer is lost."),
        advice="" if healed else "Put it behind the activation of a layer that no batch norm follows, or leave it out.",
    )


def _on_answers(net: Written) -> list[Step]:
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


def in_short_training(subject: Subject) -> Judgement | None:
    """Strong enough to slow learning down, in a training that is over before it pays."""
    net = written(subject)
    slowing = [step for step in _dropouts(net) if _p(step) >= SLOWING] if net else []
    if net is None or not slowing or subject.steps >= FEW_STEPS:
        return None
    strongest = max(slowing, key=_p)
    healed = next(counted(subject, [_without(net, slowing)]), None)
    return Judgement(
        severity="note",
        evidence=(
            Evidence(what="steps of the training", value=subject.steps, source="steps"),
            Evidence(what="strongest dropout", value=_p(strongest), source=_p_in_words(subject, strongest)),
        ),
        remedy=None
        if healed is None
        else remedy(healed, gain="accuracy", expected="The net gets further in the same number of steps."),
        advice="" if healed else "Leave it out, or train longer.",
    )


def _without(net: Written, steps: list[Step]) -> Net:
    return rewritten(net.net, {step.path: () for step in steps})


def _is_dropout(step: Step) -> bool:
    return isinstance(step.layer, Dropout) and step.layer.p > 0


def _dropout(step: Step) -> Dropout:
    return cast(Dropout, step.layer)


def _p(step: Step) -> float:
    return _dropout(step).p


def _p_in_words(subject: Subject, step: Step) -> str:
    """The number behind do or sdo in the text of the row."""
    return f"float({row_in_words(subject, step.row)}.layer[{3 if _dropout(step).spatial else 2}:])"


TOO_STRONG: Final = Rule(
    code="RE01",
    title="Dropout too strong",
    needs=(),
    judge=too_strong,
    explanation="Dropout sets a part of the values to zero in each training step, so that the net cannot rely on any "
    "of them. A small net needs all that it has, and what several dropouts leave is the product of what each leaves, "
    "so that it learns slowly and never fits even its training images. Use a tenth or less, or none: nets of few "
    "parameters overfit little, and varied images help them more.",
    source="Srivastava et al. 2014, JMLR 15",
)

MISPLACED: Final = Rule(
    code="RE02",
    title="Dropout in the wrong place",
    needs=(),
    judge=misplaced,
    explanation="Dropout changes the spread of the values while training and leaves them alone in evaluation. Straight "
    "before batch norm, that makes the remembered spread wrong for evaluation; on the answers, right classes are "
    "struck out by chance; on the image, pixels are lost before anything has looked at them. Put it behind the "
    "activation before the last linear layer, where many values say the same, or leave it out.",
    source="Li, Chen, Hu and Yang 2019, arXiv 1801.05134",
)

IN_SHORT_TRAINING: Final = Rule(
    code="RE03",
    title="Dropout in a short training",
    needs=(),
    judge=in_short_training,
    explanation="Dropout makes each step learn with another part of the net, so a net takes longer to learn with it. "
    "It pays against overfitting, which needs many passes over the images, and this training is over before that. "
    "Leave it out, or train longer.",
    source="Srivastava et al. 2014, section 6",
)

RULES: Final[tuple[Rule, ...]] = (TOO_STRONG, MISPLACED, IN_SHORT_TRAINING)
