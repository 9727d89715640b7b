"""Learning rates that are too high or too low, and what multiplies them: a summed loss, momentum.

A rate is judged by what it does where the first steps were tried, and by what is usual where there is only a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Severity, judgement
from flyweight.doctor.probes import StartProbe
from flyweight.doctor.quantity import Known, Quantity, call, count_numbers, fact, mean
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.subject import Subject
from flyweight.model.spec import NORMS
from flyweight.recipe import optimizer_traits

# With momentum m a step goes on as 1 / (1 - m) steps: lr / (1 - m) is what SGD really does (Goh 2017). Above these
# nets of this size break, whatever the images; with batch norm the weights' scale does not matter, so it takes more.
HIGHEST_SGD: Final = {True: 5.0, False: 2.0}
HIGHEST_ADAM: Final = {True: 0.1, False: 0.03}

# How far weights can come at all: the sum of all learning rates of a run. Below these even the first epoch's worth of
# learning is not done.
LEAST_WAY_SGD: Final = 2.0
LEAST_WAY_ADAM: Final = 0.02

# In the first steps: nats of loss between two rates that are a clear difference between them.
CLEARLY_BETTER: Final = 0.5
BETTER: Final = 0.1
# A rate with which this share of the first loss is left has hardly begun.
HARDLY_LEARNT: Final = 0.93

# A step that changes less than this share of every layer's weights is small; usual ones change 3 to 10 % at first.
SMALL_UPDATE: Final = 0.005

# A velocity that averages over more than 20 steps.
LONG_MOMENTUM: Final = 0.95

USUAL_SGD: Final = optimizer_traits("sgd").usual_lr
USUAL_MOMENTUM: Final = 0.9


@rule("LR01", "Learning rate too high", source="Smith 2017, Cyclical learning rates; document 002, steps 1a to 2c")
def too_high(subject: Subject) -> Judgement | None:
    """The learning rate sets how far each step moves the weights. Steps that are too long overshoot the minimum, so the
    loss grows or becomes NaN, and the net ends up predicting one class. Try a rate ten or a hundred times lower."""
    # Diverged, or a tenth of the rate does better in the first steps, or above all that is usual.
    known = Known(subject)
    evidence = [_lr(known)]
    found = False
    if subject.ending is not None and subject.ending.status == "diverged":
        evidence.append(fact("status of the run", known.result.status))
        found = True
    if subject.start is not None:
        own, lower = last_loss(subject.start, "1"), _best_lower(subject.start)
        if lower and (own is None or own - lower[1] > CLEARLY_BETTER):
            evidence += _tried(known, "1", lower[0])
            found = True
    if not found and _effective(subject).value > _highest(subject) and not has_learnt(subject):
        evidence.append(fact("effective learning rate", _effective(subject)))
        found = True
    if not found:
        return None
    return judgement(
        _how_bad(subject),
        *evidence,
        *_largest_update(known),
        changes=(f"train.lr={_lower_lr(subject):.3g}",),
        expected="The loss falls from the first steps on, and the net learns.",
        # Where the sum of a batch's losses multiplies a rate that is not high by itself, the sum is the cause.
        is_symptom=_is_momentum(subject)
        or (_is_summed(subject) and _mean_effective(subject).value <= _highest(subject)),
    )


def _how_bad(subject: Subject) -> Severity:
    """A net that has learnt all the same got over its first steps: a usual rate is then no alarm."""
    if not has_learnt(subject):
        return "fault"
    return "warning" if _effective(subject).value > _highest(subject) else "note"


@rule("LR02", "Learning rate too low", source="Smith 2017, Cyclical learning rates")
def too_low(subject: Subject) -> Judgement | None:
    """The learning rate sets how far each step moves the weights. With steps that are too short the run ends before the
    net has learned anything, as if it could not learn. A higher rate gets as far in fewer steps, at no cost."""
    # Ten times the rate does much better in the first steps, or all rates together cannot carry the weights far.
    known = Known(subject)
    way = call(mean, known.lr_curve) / known.recipe.train.lr * _effective(subject) * known.steps
    is_short = way.value < (LEAST_WAY_SGD if _is_sgd(subject) else LEAST_WAY_ADAM)
    found = is_short
    if subject.start is not None:
        own, tenfold = last_loss(subject.start, "1"), last_loss(subject.start, "10")
        first = subject.start.losses["1"][0]
        is_stuck = own is not None and first is not None and own > HARDLY_LEARNT * first
        gained = own - tenfold if own is not None and tenfold is not None else 0.0
        is_small = _has_small_updates(subject.start) and not has_learnt(subject)
        found = (
            (is_stuck and gained > CLEARLY_BETTER)
            or (is_small and gained > BETTER)
            or (is_short and not has_learnt(subject))
        )
    if not found:
        return None
    return judgement(
        "fault" if is_short else "warning",
        _lr(known),
        fact("steps", known.steps),
        fact("sum of all learning rates, with momentum", way),
        *_tried(known, "1", "10"),
        *_largest_update(known),
        changes=(f"train.lr={_higher_lr(subject):.3g}",),
        expected="The weights move far enough to learn in the same number of steps.",
    )


@rule("LR03", "Loss summed over the batch", source="document 000, steps 1 and 2")
def summed(subject: Subject) -> Judgement | None:
    """The losses of a batch are summed, not averaged, so the gradient grows with the batch size. The effective learning
    rate is the given one times the batch size, and changes with it. With the mean, a rate works for every batch
    size."""
    # `reduction="sum"`: the gradient of a batch is as many times larger as it has images.
    if subject.recipe.train.loss_reduction != "sum":
        return None
    known = Known(subject)
    train = known.recipe.train
    evidence = (
        _lr(known),
        fact("batch size", train.batch_size),
        fact("equivalent learning rate for a mean loss", train.lr * train.batch_size),
    )
    if not _is_sgd(subject):
        return judgement(
            "note",
            *evidence,
            advice="Adam divides by the size of the gradient, so the sum changes almost nothing; a mean is clearer.",
        )
    return judgement(
        "fault",
        *evidence,
        changes=("train.loss_reduction=mean", f"train.lr={_mean_lr(subject):.3g}"),
        expected="Steps no longer grow with the batch size.",
    )


@rule("LR04", "Momentum and learning rate too high together", source="Goh 2017, Why momentum really works")
def momentum_and_lr(subject: Subject) -> Judgement | None:
    """With momentum each step continues in the next ones, so the effective rate is the learning rate divided by one
    minus the momentum. Near one this makes a usual rate far too high, and the weights overshoot. Use momentum 0.9 with
    a usual rate, or lower the rate by the same factor."""
    # A long momentum on a rate that was chosen for a short one.
    if not _is_momentum(subject):
        return None
    train, known = subject.recipe.train, Known(subject)
    momentum = known.recipe.train.momentum
    usual = min(train.lr * (1 - train.momentum) / (1 - USUAL_MOMENTUM), train.lr)
    return judgement(
        "fault" if _mean_effective(subject).value > _highest(subject) else "warning",
        _lr(known),
        fact("momentum", momentum),
        fact("effective learning rate with momentum", known.recipe.train.lr / (1 - momentum)),
        fact("steps averaged by the momentum", 1 / (1 - momentum)),
        fact("steps", known.steps),
        changes=(f"train.momentum={USUAL_MOMENTUM:g}",)
        if train.lr / (1 - USUAL_MOMENTUM) <= _highest(subject) / 2
        else (f"train.momentum={USUAL_MOMENTUM:g}", f"train.lr={max(usual, USUAL_SGD / 2):.3g}"),
        expected="Steps stop overshooting, and the weights can settle before the end.",
    )


def last_loss(start: StartProbe, factor: str) -> float | None:
    """The mean loss of the last quarter of the steps; None where it was not a number, or was not tried."""
    losses = start.losses.get(factor, ())
    tail = [loss for loss in losses[-_quarter(losses) :] if loss is not None]
    return mean(tail) if losses and len(tail) == _quarter(losses) else None


def _quarter(losses: Sequence[float | None]) -> int:
    return max(1, len(losses) // 4)


def _best_lower(start: StartProbe) -> tuple[str, float] | None:
    """The factor below 1 that came to the lowest loss, and that loss."""
    losses = {factor: last_loss(start, factor) for factor in start.losses if float(factor) < 1}
    known = {factor: loss for factor, loss in losses.items() if loss is not None}
    best = min(known, key=lambda factor: known[factor], default=None)
    return (best, known[best]) if best is not None else None


def _tried(known: Known, *factors: str) -> list[Evidence]:
    """What the first steps came to at these multiples of the rate, as far as they were tried."""
    start = known.start
    found = []
    for factor in factors:
        if start.value is None or factor not in start.value.losses:
            continue
        losses = start.losses[factor]
        times = "at the recipe's rate" if factor == "1" else f"at {factor} times the rate"
        if last_loss(start.value, factor) is None:
            found.append(fact(f"steps before the loss is NaN {times}", call(count_numbers, losses)))
        else:
            tail = losses[-_quarter(losses.value) :]
            found.append(fact(f"loss after {start.value.steps} steps {times}", call(mean, tail)))
    return found


def _largest_update(known: Known) -> list[Evidence]:
    """The layer whose weights a step changes most, where that was measured."""
    ratios = known.start.update_ratio if known.start.value is not None else None
    measured = {layer: ratio for layer, ratio in ratios.value.items() if ratio is not None} if ratios else {}
    if ratios is None or not measured:
        return []
    layer = max(measured, key=lambda one: measured[one])
    return [fact(f"relative change of the weights of {layer} in a step", ratios[layer])]


def _has_small_updates(start: StartProbe) -> bool:
    ratios = [ratio for ratio in start.update_ratio.values() if ratio is not None]
    return bool(ratios) and max(ratios) < SMALL_UPDATE


def _lr(known: Known) -> Evidence:
    return fact("learning rate", known.recipe.train.lr)


def _is_sgd(subject: Subject) -> bool:
    return not optimizer_traits(subject.recipe.train.optimizer).is_adaptive


def _is_summed(subject: Subject) -> bool:
    """Whether the sum of a batch's losses multiplies the rate; Adam divides by it."""
    return subject.recipe.train.loss_reduction == "sum" and _is_sgd(subject)


def _is_momentum(subject: Subject) -> bool:
    """A momentum so long that the rate it makes is high, or that it outlasts a good part of the run."""
    train = subject.recipe.train
    if not _is_sgd(subject) or train.momentum <= LONG_MOMENTUM:
        return False
    return _mean_effective(subject).value > _highest(subject) or 10 / (1 - train.momentum) > subject.steps


def _mean_effective(subject: Subject) -> Quantity:
    """lr / (1 - momentum) for SGD, lr for Adam; as if the loss were a mean."""
    train = Known(subject).recipe.train
    return train.lr / (1 - train.momentum) if _is_sgd(subject) else train.lr


def _effective(subject: Subject) -> Quantity:
    """The rate with all that multiplies it."""
    own = _mean_effective(subject)
    return own * Known(subject).recipe.train.batch_size if _is_summed(subject) else own


def _highest(subject: Subject) -> float:
    return (HIGHEST_SGD if _is_sgd(subject) else HIGHEST_ADAM)[has_norm(subject)]


def has_norm(subject: Subject) -> bool:
    """Whether the net normalises anywhere."""
    return any(row.is_executed and row.kind in NORMS for row in subject.cost.rows)


def has_learnt(subject: Subject) -> bool:
    """Whether the net that came out is much better than chance, as far as that is known."""
    train = subject.ending.train if subject.ending else None
    return train is not None and train.accuracy > 0.9


def _lower_lr(subject: Subject) -> float:
    """What did best in the first steps, if that is known; else what is usual, where it is lower."""
    lr, train = subject.recipe.train.lr, subject.recipe.train
    if subject.start is not None:
        best = _best_lower(subject.start)
        if best is not None:
            return min(lr * float(best[0]), _usual_lr(subject))
    return min(_usual_lr(subject), lr / 10) if train.loss_reduction == "mean" else lr / 10


def _higher_lr(subject: Subject) -> float:
    """The usual rate, or ten times the recipe's own where that is more."""
    return max(_usual_lr(subject), subject.recipe.train.lr * 10)


def _usual_lr(subject: Subject) -> float:
    train = subject.recipe.train
    usual = optimizer_traits(train.optimizer).usual_lr
    if _is_sgd(subject):
        usual *= (1 - train.momentum) / (1 - USUAL_MOMENTUM)
        usual *= 1.0 if has_norm(subject) else 0.3
        usual /= train.batch_size if train.loss_reduction == "sum" else 1
    return usual


def _mean_lr(subject: Subject) -> float:
    """The rate for a mean: the recipe's own, kept within 0.01 and the usual one."""
    train = subject.recipe.train
    return min(max(train.lr, 0.01), USUAL_SGD)


RULES: Final[tuple[Rule, ...]] = (too_high, too_low, summed, momentum_and_lr)
