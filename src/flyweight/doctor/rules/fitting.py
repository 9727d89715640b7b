"""Overfitting and underfitting, from the clean accuracies of the kept net with their intervals, and from the curves."""

from __future__ import annotations

from math import sqrt
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Severity, judgement
from flyweight.doctor.quantity import Known, call, fact, lowest
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.updates import FEWEST_STEPS
from flyweight.doctor.subject import Subject
from flyweight.evidence.stats import wilson
from flyweight.recipe import optimizer_traits

# Training accuracy minus validation accuracy, in fractions: from where on it is an alarm, and what its 95 % interval
# must be above; healthy runs of a few thousand images have up to 0.046 and 0.028. Less is a note where it is sure.
GAP: Final = 0.05
SURE_GAP: Final = 0.03
SMALL_GAP: Final = 0.005

# A net with a lower accuracy on its training images has not fitted them.
FITTED: Final = 0.88


def gap_evidence(subject: Subject, better: str, worse: str) -> tuple[Evidence, ...]:
    """The accuracies of the kept net on two splits, their difference, and the low end of its 95 % interval.

    The interval is that of two independent proportions, each with Wilson's limits (Newcombe 1998, method 10).
    """
    result = Known(subject).result
    first, second = getattr(result, better), getattr(result, worse)
    high, low = first.correct / first.count, second.correct / second.count
    down = high - call(wilson, first.correct, first.count)[0]
    up = call(wilson, second.correct, second.count)[1] - low
    return (
        fact(f"accuracy on the {'training' if better == 'train' else better} images", high),
        fact(f"accuracy on the {worse} images", low),
        fact("difference", high - low),
        fact("low end of its 95 % interval", high - low - call(sqrt, down**2 + up**2)),
    )


def training_gap(subject: Subject) -> tuple[Severity, tuple[Evidence, ...]] | None:
    """How much it matters that accuracy on training images is higher than on validation images, and by how much.

    None where it is not sure or not known.
    """
    ending = subject.ending
    if ending is None or not ending.train or not ending.validation or subject.recipe.protocol.evaluate_on == "train":
        return None
    evidence = gap_evidence(subject, "train", "validation")
    *_, difference, sure = (float(one.value) for one in evidence)
    if difference > GAP and sure > SURE_GAP:
        return "warning", evidence
    return ("note", evidence) if sure > SMALL_GAP else None


@rule("FI01", "Overfitting", needs=("ending",))
def overfitting(subject: Subject) -> Judgement | None:
    """The net classifies its training images better than other images, by more than chance can explain. The excess is
    memorised and does not help with new images. Augmentation, more weight decay or a smaller net reduce it."""
    # Surely better on the images it was trained on.
    found = training_gap(subject)
    if found is None:
        return None
    severity, evidence = found
    if subject.history and subject.history[-1].validation_loss is not None:
        losses = Known(subject).metrics.validation_loss
        best = call(lowest, losses)
        if losses.value[-1] > best.value > 0:
            evidence += (fact("validation loss at the end, over its lowest", losses[-1] / best),)
    # Augmentation, where it is off, is the remedy of RE04.
    train = subject.recipe.train
    decay = optimizer_traits(train.optimizer).strong_weight_decay
    return judgement(
        severity,
        *evidence,
        changes=[f"train.weight_decay={decay:g}"] * (train.weight_decay < decay),
        expected="Smaller weights memorise fewer images, so the gap shrinks.",
        fallback="Add images, augment more, or use a smaller net.",
    )


@rule("FI02", "Underfitting", needs=("ending",))
def underfitting(subject: Subject) -> Judgement | None:
    """The net does not even fit its training images, so it cannot do better on new ones. It lacks capacity, training
    time or a working setup, not variety of images. Fix what hinders learning first, then train longer or add
    channels."""
    # Not even the training images are fitted, and validation is no worse: more to learn with is what it lacks.
    known = Known(subject)
    if subject.ending is None or not subject.ending.train or subject.recipe.protocol.evaluate_augmented:
        return None
    train = known.result.train
    high = call(wilson, train.correct, train.count)[1]
    if high.value >= FITTED:
        return None
    evidence = [
        fact("accuracy on the training images", train.correct / train.count),
        fact("high end of its 95 % interval", high),
        fact("parameters", known.cost.params),
    ]
    if subject.history and len(subject.history) > 1:
        seen = known.metrics.train_accuracy
        evidence.append(fact("training accuracy gained in the last epoch", seen[-1] - seen[-2]))
    epochs, max_epochs = 2 * subject.recipe.train.epochs, subject.recipe.budget.epochs
    # Where the updates are too few, the finding that says so proposes the number of epochs.
    may_be_longer = subject.steps >= FEWEST_STEPS and (max_epochs is None or epochs <= max_epochs)
    return judgement(
        "warning",
        *evidence,
        changes=[f"train.epochs={epochs}"] * may_be_longer,
        expected="More epochs help if training time is missing; if not, try a wider net.",
        advice="Fix the findings above this one first; if there are none, the net is too small or the run too short.",
        is_symptom=True,
    )


# Test accuracy this far below validation accuracy, and surely by the second: the images are of another kind.
TEST_GAP: Final = 0.05
SURE_TEST_GAP: Final = 0.03


@rule(
    "FI03",
    "Test accuracy far below validation accuracy",
    needs=("ending",),
    source="Newcombe 1998, interval of a difference of proportions",
)
def worse_on_test(subject: Subject) -> Judgement | None:
    """Validation and test images should be two samples of the same kind, with about equal accuracy. A difference far
    beyond chance means they are not: other classes, other labels, or objects in other positions. Until the cause is
    known, neither figure predicts accuracy on new images."""
    # Surely and much worse on the test images than on those that judged the epochs.
    ending = subject.ending
    is_known = ending is not None and ending.validation and ending.test
    if not is_known or subject.recipe.protocol.evaluate_on != "validation":
        return None
    evidence = gap_evidence(subject, "validation", "test")
    *_, difference, sure = (float(one.value) for one in evidence)
    if difference < TEST_GAP or sure < SURE_TEST_GAP:
        return None
    return judgement(
        "warning",
        *evidence,
        advice="Compare test and training images: labels, classes, positions of objects.",
        is_symptom=True,
    )


RULES: Final[tuple[Rule, ...]] = (overfitting, underfitting, worse_on_test)
