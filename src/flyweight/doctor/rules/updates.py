"""Too few updates of the weights, and schedules that stop learning early or never slow down."""

from __future__ import annotations

from math import ceil
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Severity, judgement
from flyweight.doctor.quantity import Known, call, count_below, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.learning_rate import HIGHEST_SGD, has_learnt, has_norm
from flyweight.doctor.subject import Subject
from flyweight.recipe import optimizer_traits

# Below so many updates no net of the documents came above 90 %, whatever its size; from twice as many on most did.
FEWEST_STEPS: Final = 110
ENOUGH_STEPS: Final = 300
SMALLEST_BATCH: Final = 16
# A net that classifies this share of its training images correctly needs no more updates.
LEARNT_BY_THEN: Final = 0.995
# Batches of this size or less are not what makes updates few.
USUAL_BATCH: Final = 64

# A rate below this share of its highest moves nothing any more.
STOPPED: Final = 0.02
# One-cycle and cosine spend a tenth of a run there; a step schedule that drops too often, most of it.
LONGEST_STOP: Final = 0.35

# Nothing slows down where the last rate is at least this share of the highest.
NOT_ANNEALED: Final = 0.5
# An average of the weights over ten steps or more shakes as little as weights that have come to rest.
SLOW_AVERAGE: Final = 0.9
# Adam at its usual rate hardly shakes.
LOW_ADAM: Final = 0.002
# With fewer updates than this there is hardly anything to slow down from.
FEW_TO_ANNEAL: Final = 100


@rule(
    "ST01",
    "Too few updates of the weights",
    source="document 002, step 2d; Masters and Luschi 2018, Revisiting small batch training",
)
def too_few(subject: Subject) -> Judgement | None:
    """The weights are updated once per batch. With large batches and few epochs there are too few updates for any net
    to learn, whatever its size. Smaller batches give more updates from the same images; so do more epochs."""
    # Fewer updates than any net needs.
    if subject.steps >= FEWEST_STEPS:
        return None
    known = Known(subject)
    evidence = [
        fact("updates of the weights in the whole run", known.steps),
        fact("training images", known.data.n_train),
        fact("batch size", known.recipe.train.batch_size),
        fact("epochs", known.recipe.train.epochs),
    ]
    if subject.history:
        evidence.append(fact("training accuracy of the last epoch", known.metrics.train_accuracy[-1]))
    changes = _more_updates(subject)
    return judgement(
        _how_bad(subject),
        *evidence,
        changes=changes,
        expected="The same images give several times as many updates, and the net has time to learn.",
        fallback="Train for more epochs than the budget allows now, or on more images.",
    )


def _how_bad(subject: Subject) -> Severity:
    """A warning if the net has learned all the same, a note if it fits nearly all its training images."""
    if not has_learnt(subject):
        return "fault"
    train = subject.ending.train if subject.ending else None
    return "note" if train and train.accuracy > LEARNT_BY_THEN else "warning"


def _more_updates(subject: Subject) -> tuple[str, ...]:
    """A smaller batch as far as that goes; more epochs for the rest."""
    train = subject.recipe.train
    most_epochs = subject.recipe.budget.epochs
    changes, batch_size = [], train.batch_size
    if batch_size > USUAL_BATCH or most_epochs is not None:
        wanted = subject.data.n_train * train.epochs / ENOUGH_STEPS
        batch_size = min(USUAL_BATCH, batch_size, max(SMALLEST_BATCH, _power_of_two(wanted)))
        changes += [f"train.batch_size={batch_size}"] * (batch_size < train.batch_size)
    epochs = ceil(ENOUGH_STEPS / ceil(subject.data.n_train / batch_size))
    if ceil(subject.data.n_train / batch_size) * train.epochs < FEWEST_STEPS and epochs > train.epochs:
        epochs = min(epochs, most_epochs or epochs)
        changes += [f"train.epochs={epochs}"] * (epochs > train.epochs)
    return tuple(changes)


def _power_of_two(number: float) -> int:
    """The largest power of two that is not above the number."""
    return 1 << max(0, int(number).bit_length() - 1)


@rule("ST02", "Schedule lowers the learning rate too early", source="document 003, steps 4 to 7")
def stops_early(subject: Subject) -> Judgement | None:
    """A schedule lowers the learning rate during the run. If it drops too far too early, the weights hardly change in
    the remaining epochs, and that time is wasted. Use a schedule that reaches low rates only near the end."""
    # A third of the run or more at a rate that moves nothing.
    known = Known(subject)
    train, lr_curve = known.recipe.train, known.lr_curve
    # Of the whole run, how much lies in its second half and below the rate that moves anything.
    stopped = call(count_below, lr_curve[50:100], STOPPED * train.lr) / 100
    if stopped.value <= LONGEST_STOP:
        return None
    evidence = [
        fact(f"share of the run at less than {STOPPED:.0%} of the highest rate", stopped),
        fact("learning rate at the end", lr_curve[-1]),
        fact("highest learning rate", train.lr),
    ]
    if train.schedule.value == "step":
        evidence += [fact("epochs between drops", train.step_epochs), fact("factor of a drop", train.gamma)]
    if subject.history and len(subject.history) == train.epochs.value:
        evidence += _gain_evidence(known, stopped.value)
    return judgement(
        "fault" if stopped.value > 2 * LONGEST_STOP else "warning",
        *evidence,
        changes=_one_cycle(subject),
        expected="Every epoch contributes, and the rate is low only near the end.",
    )


def _gain_evidence(known: Known, stopped: float) -> list[Evidence]:
    """What the epochs in which nothing moved brought."""
    accuracy = known.metrics.validation_accuracy
    n_epochs = len(accuracy.value)
    n_still = max(1, int(stopped * n_epochs))
    if n_still >= n_epochs or None in accuracy.value:
        return []
    what = f"validation accuracy gained in the last {n_still} epochs"
    return [fact(what, accuracy[-1] - accuracy[-1 - n_still])]


@rule(
    "ST03",
    "Learning rate never comes down",
    source="Loshchilov and Hutter 2017, SGDR; Smith 2018, A disciplined approach",
)
def never_anneals(subject: Subject) -> Judgement | None:
    """Each batch pulls the weights in its own direction, and at a high learning rate they keep moving to the end. The
    final weights are then one random point around the minimum. Decay the rate to zero over the run: few other changes
    gain as much."""
    # The rate at the end is about the highest, so the weights never settle.
    train, known = subject.recipe.train, Known(subject)
    last, highest = known.lr_curve[99], call(max, known.lr_curve)
    if last.value < NOT_ANNEALED * highest.value or subject.steps < FEW_TO_ANNEAL or train.ema >= SLOW_AVERAGE:
        return None
    is_low = optimizer_traits(train.optimizer).is_adaptive and train.lr <= LOW_ADAM
    return judgement(
        "note" if is_low else "warning",
        fact("learning rate at the end", last),
        fact("highest learning rate", highest),
        fact("schedule", known.recipe.train.schedule),
        fact("steps", known.steps),
        changes=_one_cycle(subject),
        expected="The last steps are small, so the weights settle near a minimum.",
    )


@rule(
    "ST04",
    "Stopped while the learning rate was high",
    needs=("history", "ending"),
    source="Loshchilov and Hutter 2017, SGDR",
)
def cut_short(subject: Subject) -> Judgement | None:
    """The run was stopped early, because an epoch did not improve on the best one or a target was reached. At a high
    learning rate accuracy varies a lot between epochs, so one bad epoch says little. Let the schedule finish, or
    shorten it: the last gains come at the lowest rates."""
    # Stopped by patience or a target while the rate was still high: the part in which a net settles is missing.
    history, train, known = subject.history, subject.recipe.train, Known(subject)
    assert history is not None
    assert subject.ending is not None
    keys = ["train.patience=none"] * (train.patience is not None) + ["target.stop=false"] * subject.recipe.target.stop
    is_short = subject.ending.status == "finished" and len(history) < train.epochs
    if not is_short or not keys or history[-1].lr < STILL_HIGH * train.lr:
        return None
    return judgement(
        "warning",
        fact("epochs done", call(len, known.metrics.epoch)),
        fact("epochs planned", known.recipe.train.epochs),
        fact("learning rate at the end", known.metrics.lr[-1]),
        fact("highest learning rate", known.recipe.train.lr),
        changes=keys,
        expected="The schedule finishes, and its low rates bring the last gains.",
    )


def _one_cycle(subject: Subject) -> tuple[str, ...]:
    """One cycle up and down; its peak is short, so it bears a rate above one that is kept for the whole run."""
    train = subject.recipe.train
    peak = train.lr
    if not optimizer_traits(train.optimizer).is_adaptive:
        peak = min(3 * train.lr, HIGHEST_SGD[has_norm(subject)] / 4 * (1 - train.momentum))
    return (
        "train.schedule=one-cycle",
        "train.warmup=0.2",
        "train.final_lr=0",
        *((f"train.lr={peak:.3g}",) if peak > train.lr else ()),
    )


# A run that ends at this share of its highest rate or above had not begun to settle.
STILL_HIGH: Final = 0.2

RULES: Final[tuple[Rule, ...]] = (too_few, stops_early, never_anneals, cut_short)
