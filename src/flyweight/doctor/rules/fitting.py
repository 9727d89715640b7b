"""Overfitting and underfitting, from the clean accuracies of the kept net with their intervals, and from the curves."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Remedy, Severity
from flyweight.doctor.rule import Rule
from flyweight.doctor.subject import Subject
from flyweight.evidence.stats import wilson

# Training accuracy minus validation accuracy, in fractions: from where on it is an alarm, and what its 95 % interval
# must be above; healthy runs of a few thousand images have up to 0.046 and 0.028. Less is told where it is sure.
GAP: Final = 0.05
SURE_GAP: Final = 0.03
SMALL_GAP: Final = 0.005

# A net that answers fewer of its own training images rightly has not fitted them.
FITTED: Final = 0.88


def gap(subject: Subject) -> tuple[float, float] | None:
    """(training - validation accuracy of the kept net, the low end of its 95 % interval); None where it is not known.

    The interval is that of two independent proportions, each with Wilson's limits (Newcombe 1998, method 10).
    """
    if subject.ending is None or not subject.ending.train or not subject.ending.validation:
        return None
    train, validation = subject.ending.train, subject.ending.validation
    low, _ = wilson(int(train["correct"]), int(train["count"]))
    _, high = wilson(int(validation["correct"]), int(validation["count"]))
    difference = accuracy(train) - accuracy(validation)
    return difference, difference - sqrt((accuracy(train) - low) ** 2 + (high - accuracy(validation)) ** 2)


def accuracy(part: Mapping[str, float]) -> float:
    return part["correct"] / part["count"]


def gap_evidence(subject: Subject) -> tuple[Evidence, ...]:
    """The two accuracies and their difference with its interval."""
    ending, found = subject.ending, gap(subject)
    assert found is not None
    assert ending is not None
    assert ending.train is not None
    assert ending.validation is not None
    train, validation = (f"result.{part}.correct / result.{part}.count" for part in ("train", "validation"))
    low = "wilson(result.train.correct, result.train.count)[0]"
    high = "wilson(result.validation.correct, result.validation.count)[1]"
    return (
        Evidence(what="accuracy on the training images", value=accuracy(ending.train), source=train),
        Evidence(what="accuracy on the validation images", value=accuracy(ending.validation), source=validation),
        Evidence(what="difference", value=found[0], source=f"{train} - {validation}"),
        Evidence(
            what="low end of its 95 % interval",
            value=found[1],
            source=f"{train} - {validation} - sqrt(({train} - {low}) ** 2 + ({high} - {validation}) ** 2)",
        ),
    )


def gap_severity(subject: Subject) -> Severity | None:
    """How much it matters that training images are answered better than validation images; None if it is not sure."""
    found = gap(subject)
    if found is None or subject.recipe.protocol.evaluate_on == "train":
        return None
    if found[0] > GAP and found[1] > SURE_GAP:
        return "warning"
    return "note" if found[1] > SMALL_GAP else None


def overfitting(subject: Subject) -> Judgement | None:
    """Surely better on the images it was trained on."""
    severity = gap_severity(subject)
    if severity is None:
        return None
    evidence = list(gap_evidence(subject))
    losses = [line.validation_loss for line in subject.history or () if line.validation_loss is not None]
    if losses and losses[-1] > min(losses):
        evidence.append(
            Evidence(
                what="validation loss at the end, over its lowest",
                value=losses[-1] / min(losses),
                source="metrics.validation_loss[-1] / min(x for x in metrics.validation_loss if x is not None)",
            )
        )
    healed = _against_overfitting(subject)
    return Judgement(
        severity=severity,
        evidence=tuple(evidence),
        remedy=healed,
        advice="" if healed else "Bring more images, vary them more, or take a smaller net.",
    )


def _against_overfitting(subject: Subject) -> Remedy | None:
    """Weight decay where there is little; augmentation is another rule's remedy, where it is off."""
    train = subject.recipe.train
    wanted = 5e-4 if train.optimizer == "sgd" else 0.05 if train.optimizer == "adamw" else 1e-4
    if train.weight_decay >= wanted:
        return None
    return Remedy(
        changes=(f"train.weight_decay={wanted:g}",),
        gain="accuracy",
        expected="Smaller weights learn fewer images by heart; the gap shrinks.",
    )


def underfitting(subject: Subject) -> Judgement | None:
    """Not even the training images are answered, and validation is no worse: more to learn with is what it lacks."""
    if subject.ending is None or not subject.ending.train or subject.recipe.protocol.evaluate_augmented:
        return None
    correct, count = int(subject.ending.train["correct"]), int(subject.ending.train["count"])
    _, high = wilson(correct, count)
    if high >= FITTED:
        return None
    source = "result.train.correct"
    evidence = [
        Evidence(
            what="accuracy on the training images", value=correct / count, source=f"{source} / result.train.count"
        ),
        Evidence(
            what="high end of its 95 % interval",
            value=high,
            source=f"wilson({source}, result.train.count)[1]",
        ),
        Evidence(what="parameters", value=subject.cost.params, source="cost.params"),
    ]
    if subject.history and len(subject.history) > 1:
        evidence.append(
            Evidence(
                what="training accuracy gained in the last epoch",
                value=subject.history[-1].train_accuracy - subject.history[-2].train_accuracy,
                source="metrics.train_accuracy[-1] - metrics.train_accuracy[-2]",
            )
        )
    return Judgement(
        severity="warning",
        evidence=tuple(evidence),
        remedy=_against_underfitting(subject),
        advice="Mend what stands above this first; if nothing does, the net is too small or the run too short.",
        is_symptom=True,
    )


def _against_underfitting(subject: Subject) -> Remedy | None:
    """Twice the epochs, where a budget lets them be."""
    most = subject.recipe.budget.epochs
    epochs = subject.recipe.train.epochs * 2
    if most is not None and epochs > most:
        return None
    return Remedy(
        changes=(f"train.epochs={epochs}",),
        gain="accuracy",
        expected="More passes over the images, if time is what it lacks; a wider net, if it is not.",
    )


# Test images answered this much worse than validation images, and surely worse by the second: they are other images.
TEST_GAP: Final = 0.05
SURE_TEST_GAP: Final = 0.03


def worse_on_test(subject: Subject) -> Judgement | None:
    """Surely and much worse on the test images than on those that judged the epochs."""
    assert subject.ending is not None
    validation, test = subject.ending.validation, subject.ending.test
    if not validation or not test or subject.recipe.protocol.evaluate_on != "validation":
        return None
    low, _ = wilson(int(validation["correct"]), int(validation["count"]))
    _, high = wilson(int(test["correct"]), int(test["count"]))
    difference = accuracy(validation) - accuracy(test)
    sure = difference - sqrt((accuracy(validation) - low) ** 2 + (high - accuracy(test)) ** 2)
    if difference < TEST_GAP or sure < SURE_TEST_GAP:
        return None
    of_validation, of_test = (f"result.{part}.correct / result.{part}.count" for part in ("validation", "test"))
    low_source = "wilson(result.validation.correct, result.validation.count)[0]"
    high_source = "wilson(result.test.correct, result.test.count)[1]"
    return Judgement(
        severity="warning",
        evidence=(
            Evidence(what="accuracy on the validation images", value=accuracy(validation), source=of_validation),
            Evidence(what="accuracy on the test images", value=accuracy(test), source=of_test),
            Evidence(what="difference", value=difference, source=f"{of_validation} - {of_test}"),
            Evidence(
                what="low end of its 95 % interval",
                value=sure,
                source=f"{of_validation} - {of_test} - sqrt(({of_validation} - {low_source}) ** 2 "
                f"+ ({high_source} - {of_test}) ** 2)",
            ),
        ),
        advice="Look at test images beside training images: their labels, their classes, where things stand in them.",
        is_symptom=True,
    )


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        code="FI01",
        title="Overfitting",
        needs=("ending",),
        judge=overfitting,
        explanation=(
            "The net answers the images that it was trained on better than others, by more than chance can explain. "
            "What it knows beyond is learnt by heart and of no use for new images. More varied images (augmentation), "
            "weight decay or a smaller net turn it to what images have in common."
        ),
    ),
    Rule(
        code="FI02",
        title="Underfitting",
        needs=("ending",),
        judge=underfitting,
        explanation=(
            "The net does not even answer the images that it was trained on. It cannot be better on new ones, so what "
            "it lacks is not variety but capacity, time or a working step. Mend what hinders its learning first, then "
            "train longer or give it more channels."
        ),
    ),
    Rule(
        code="FI03",
        title="Far worse on the test images than on validation",
        needs=("ending",),
        judge=worse_on_test,
        explanation=(
            "Validation and test images should be two samples of the same, so a net answers both about equally well. "
            "A difference far beyond chance says that they are not: other classes, other labels, or things that stand "
            "elsewhere. Until that is known neither figure tells what the net will do."
        ),
        source="Newcombe 1998, interval of a difference of proportions",
    ),
)
