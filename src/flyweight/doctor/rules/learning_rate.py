"""Learning rates that are too high or too low, and what multiplies them: a summed loss, momentum.

A rate is judged by what it does where the first steps were tried, and by what is usual where there is only a recipe.
"""

from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Remedy, Rule, Severity
from flyweight.doctor.probes import StartProbe
from flyweight.doctor.subject import Case
from flyweight.model.spec import NORMS

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

USUAL_LR: Final = {"sgd": 0.1, "adam": 0.005, "adamw": 0.005}
USUAL_MOMENTUM: Final = 0.9


def too_high(case: Case) -> Judgement | None:
    """Diverged, or a tenth of the rate does better in the first steps, or above all that is usual."""
    evidence = [_lr(case)]
    found = False
    if case.ending is not None and case.ending.status == "diverged":
        evidence.append(Evidence(what="how the run ended", value="diverged", source="result.status"))
        found = True
    if case.start is not None:
        own, lower = last_loss(case.start, "1"), _best_lower(case.start)
        if lower and (own is None or own - lower[1] > CLEARLY_BETTER):
            evidence += _tried(case.start, "1", lower[0])
            found = True
    if not found and _effective(case) > _highest(case) and not has_learnt(case):
        evidence.append(_effective_evidence(case))
        found = True
    if not found:
        return None
    if case.start is not None:
        evidence += _largest_update(case.start)
    is_multiplied = (
        case.recipe.train.loss_reduction == "sum" and _is_sgd(case) and _mean_effective(case) <= _highest(case)
    )
    return Judgement(
        severity=_how_bad(case),
        evidence=tuple(evidence),
        remedy=Remedy(
            changes=(f"train.lr={_lower_lr(case):.3g}",),
            gain="accuracy",
            expected="The loss falls from the first steps on, and the net learns.",
        ),
        # Where the sum of a batch's losses multiplies a rate that is not high by itself, the sum is the cause.
        is_symptom=is_multiplied or _is_momentum(case),
    )


def _how_bad(case: Case) -> Severity:
    """A net that has learnt all the same got over its first steps: a usual rate is then no alarm."""
    if not has_learnt(case):
        return "fault"
    return "warning" if _effective(case) > _highest(case) else "note"


def too_low(case: Case) -> Judgement | None:
    """Ten times the rate does much better in the first steps, or all rates together cannot carry the weights far."""
    evidence = [_lr(case), _steps(case), _way_evidence(case)]
    is_short = _way(case) < (LEAST_WAY_SGD if _is_sgd(case) else LEAST_WAY_ADAM)
    if case.start is None:
        found = is_short
    else:
        own, tenfold = last_loss(case.start, "1"), last_loss(case.start, "10")
        first = case.start.losses["1"][0]
        is_stuck = own is not None and first is not None and own > HARDLY_LEARNT * first
        gained = own - tenfold if own is not None and tenfold is not None else 0.0
        is_small = _has_small_updates(case.start) and not has_learnt(case)
        found = (
            (is_stuck and gained > CLEARLY_BETTER)
            or (is_small and gained > BETTER)
            or (is_short and not has_learnt(case))
        )
        evidence += [*_tried(case.start, "1", "10"), *_largest_update(case.start)]
    if not found:
        return None
    return Judgement(
        severity="fault" if is_short else "warning",
        evidence=tuple(evidence),
        remedy=Remedy(
            changes=(f"train.lr={_higher_lr(case):.3g}",),
            gain="accuracy",
            expected="The weights move far enough to learn in the same number of steps.",
        ),
    )


def summed(case: Case) -> Judgement | None:
    """`reduction="sum"`: the gradient of a batch is as many times larger as it has images."""
    train = case.recipe.train
    if train.loss_reduction != "sum":
        return None
    effective = train.lr * train.batch_size
    evidence = (
        _lr(case),
        Evidence(what="images a batch", value=train.batch_size, source="recipe.train.batch_size"),
        Evidence(
            what="learning rate that a mean would need for the same steps",
            value=effective,
            source="recipe.train.lr * recipe.train.batch_size",
        ),
    )
    if not _is_sgd(case):
        return Judgement(
            severity="note",
            evidence=evidence,
            advice="Adam divides by the size of the gradient, so the sum changes next to nothing; a mean is clearer.",
        )
    return Judgement(
        severity="fault",
        evidence=evidence,
        remedy=Remedy(
            changes=("train.loss_reduction=mean", f"train.lr={_mean_lr(case):.3g}"),
            gain="accuracy",
            expected="Steps no longer grow with the batch, and the rate means what it says.",
        ),
    )


def momentum_and_lr(case: Case) -> Judgement | None:
    """A long momentum on a rate that was chosen for a short one."""
    if not _is_momentum(case):
        return None
    train = case.recipe.train
    usual = min(train.lr * (1 - train.momentum) / (1 - USUAL_MOMENTUM), train.lr)
    return Judgement(
        severity="fault" if _mean_effective(case) > _highest(case) else "warning",
        evidence=(
            _lr(case),
            Evidence(what="momentum", value=train.momentum, source="recipe.train.momentum"),
            Evidence(
                what="learning rate that the momentum makes of it",
                value=train.lr / (1 - train.momentum),
                source="recipe.train.lr / (1 - recipe.train.momentum)",
            ),
            Evidence(
                what="steps that the momentum averages over",
                value=1 / (1 - train.momentum),
                source="1 / (1 - recipe.train.momentum)",
            ),
            _steps(case),
        ),
        remedy=Remedy(
            changes=(f"train.momentum={USUAL_MOMENTUM:g}",)
            if train.lr / (1 - USUAL_MOMENTUM) <= _highest(case) / 2
            else (f"train.momentum={USUAL_MOMENTUM:g}", f"train.lr={max(usual, USUAL_LR['sgd'] / 2):.3g}"),
            gain="accuracy",
            expected="Steps stop overshooting, and the run can slow down in time.",
        ),
    )


def last_loss(start: StartProbe, factor: str) -> float | None:
    """The mean loss of the last quarter of the steps; None where it was not a number, or was not tried."""
    losses = start.losses.get(factor, ())
    tail = losses[-max(1, len(losses) // 4) :]
    return None if not tail or any(loss is None for loss in tail) else sum(filter(None, tail)) / len(tail)


def _best_lower(start: StartProbe) -> tuple[str, float] | None:
    """The factor below 1 that came to the lowest loss, and that loss."""
    losses = {factor: last_loss(start, factor) for factor in start.losses if float(factor) < 1}
    known = {factor: loss for factor, loss in losses.items() if loss is not None}
    best = min(known, key=lambda factor: known[factor], default=None)
    return (best, known[best]) if best is not None else None


def _last_loss_source(factor: str) -> str:
    losses = f'start.losses["{factor}"]'
    return f"mean({losses}[-max(1, len({losses}) // 4):])"


def _tried(start: StartProbe, *factors: str) -> list[Evidence]:
    """What the first steps came to at these multiples of the rate."""
    found = []
    for factor in factors:
        if factor not in start.losses:
            continue
        loss = last_loss(start, factor)
        times = "at the recipe's rate" if factor == "1" else f"at {factor} times the rate"
        found.append(
            Evidence(what=f"loss after {start.steps} steps {times}", value=loss, source=_last_loss_source(factor))
            if loss is not None
            else Evidence(
                what=f"steps until the loss is no number {times}",
                value=sum(loss is not None for loss in start.losses[factor]),
                source=f'sum(loss is not None for loss in start.losses["{factor}"])',
            )
        )
    return found


def _largest_update(start: StartProbe) -> list[Evidence]:
    ratios = {layer: ratio for layer, ratio in start.update_ratio.items() if ratio is not None}
    if not ratios:
        return []
    layer = max(ratios, key=lambda one: ratios[one])
    return [
        Evidence(
            what=f"share of the weights of {layer} that a step changes",
            value=ratios[layer],
            source=f'start.update_ratio["{layer}"]',
        )
    ]


def _has_small_updates(start: StartProbe) -> bool:
    ratios = [ratio for ratio in start.update_ratio.values() if ratio is not None]
    return bool(ratios) and max(ratios) < SMALL_UPDATE


def _lr(case: Case) -> Evidence:
    return Evidence(what="learning rate", value=case.recipe.train.lr, source="recipe.train.lr")


def _steps(case: Case) -> Evidence:
    return Evidence(what="steps", value=case.steps, source="steps")


def _is_sgd(case: Case) -> bool:
    return case.recipe.train.optimizer == "sgd"


def _is_momentum(case: Case) -> bool:
    """A momentum so long that the rate it makes is high, or that it outlasts a good part of the run."""
    train = case.recipe.train
    if not _is_sgd(case) or train.momentum <= LONG_MOMENTUM:
        return False
    return _mean_effective(case) > _highest(case) or 10 / (1 - train.momentum) > case.steps


def _mean_effective(case: Case) -> float:
    """lr / (1 - momentum) for SGD, lr for Adam; as if the loss were a mean."""
    train = case.recipe.train
    return train.lr / (1 - train.momentum) if _is_sgd(case) else train.lr


def _effective(case: Case) -> float:
    train = case.recipe.train
    is_summed = train.loss_reduction == "sum" and _is_sgd(case)
    return _mean_effective(case) * (train.batch_size if is_summed else 1)


def _effective_evidence(case: Case) -> Evidence:
    train = case.recipe.train
    source = "recipe.train.lr / (1 - recipe.train.momentum)" if _is_sgd(case) else "recipe.train.lr"
    if train.loss_reduction == "sum" and _is_sgd(case):
        source += " * recipe.train.batch_size"
    return Evidence(what="learning rate with what multiplies it", value=_effective(case), source=source)


def _highest(case: Case) -> float:
    return (HIGHEST_SGD if _is_sgd(case) else HIGHEST_ADAM)[has_norm(case)]


def has_norm(case: Case) -> bool:
    """Whether the net normalises anywhere."""
    return any(row.is_executed and row.kind in NORMS for row in case.cost.rows)


def _way(case: Case) -> float:
    """The sum of all learning rates, with what momentum and a summed loss make of them."""
    mean = sum(case.lr_curve) / len(case.lr_curve) / case.recipe.train.lr
    return mean * _effective(case) * case.steps


_MEAN_SHARE: Final = "mean([lr(x / 100) for x in range(101)]) / recipe.train.lr"


def _way_evidence(case: Case) -> Evidence:
    return Evidence(
        what="sum of all learning rates, momentum counted",
        value=_way(case),
        source=f"{_MEAN_SHARE} * {_effective_evidence(case).source} * steps",
    )


def has_learnt(case: Case) -> bool:
    """Whether the net that came out answers much better than by chance, as far as that is known."""
    if case.ending is None or case.ending.train is None:
        return False
    accuracy = case.ending.train["correct"] / case.ending.train["count"]
    return accuracy > 0.9


def _lower_lr(case: Case) -> float:
    """What did best in the first steps, if that is known; else what is usual, where it is lower."""
    lr, train = case.recipe.train.lr, case.recipe.train
    if case.start is not None:
        best = _best_lower(case.start)
        if best is not None:
            return min(lr * float(best[0]), _usual_lr(case))
    return min(_usual_lr(case), lr / 10) if train.loss_reduction == "mean" else lr / 10


def _higher_lr(case: Case) -> float:
    """The usual rate, or ten times the recipe's own where that is more."""
    return max(_usual_lr(case), case.recipe.train.lr * 10)


def _usual_lr(case: Case) -> float:
    train = case.recipe.train
    usual = USUAL_LR[train.optimizer]
    if _is_sgd(case):
        usual *= (1 - train.momentum) / (1 - USUAL_MOMENTUM)
        usual *= 1.0 if has_norm(case) else 0.3
        usual /= train.batch_size if train.loss_reduction == "sum" else 1
    return usual


def _mean_lr(case: Case) -> float:
    """The rate for a mean: the recipe's own, kept within 0.01 and the usual one."""
    train = case.recipe.train
    return min(max(train.lr, 0.01), USUAL_LR["sgd"])


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        code="LR01",
        title="Learning rate too high",
        needs=(),
        judge=too_high,
        explanation=(
            "The learning rate says how far each step moves the weights against the gradient. Steps that are too long "
            "jump over the valley that they should walk down, so the loss grows or stops being a number, and the net "
            "ends with one answer for all images. A rate ten or a hundred times lower lets the loss fall from the "
            "start."
        ),
        source="Smith 2017, Cyclical learning rates; document 002, steps 1a to 2c",
    ),
    Rule(
        code="LR02",
        title="Learning rate too low",
        needs=(),
        judge=too_low,
        explanation=(
            "The learning rate says how far each step moves the weights against the gradient. With steps that are too "
            "short the run is over before the net has got anywhere, which looks like a net that cannot learn. A higher "
            "rate covers the same way in fewer steps, at no cost."
        ),
        source="Smith 2017, Cyclical learning rates",
    ),
    Rule(
        code="LR03",
        title="Loss summed over the batch",
        needs=(),
        judge=summed,
        explanation=(
            "A batch's losses are added up here and not averaged, so the gradient is as many times larger as the batch "
            "has images. The learning rate that really acts is the written one times the batch size, and it changes "
            "when the batch does. With the mean a rate keeps its meaning for every batch size."
        ),
        source="document 000, steps 1 and 2",
    ),
    Rule(
        code="LR04",
        title="Momentum and learning rate too high together",
        needs=(),
        judge=momentum_and_lr,
        explanation=(
            "Momentum lets a step go on in the steps that follow it, so the rate that acts is the written one divided "
            "by one minus the momentum. A momentum near one makes a usual rate many times too high, and the weights "
            "run on long after the gradient has turned. Momentum 0.9 with the usual rate, or a rate lowered by the "
            "same factor, keeps the steps in bounds."
        ),
        source="Goh 2017, Why momentum really works",
    ),
)
