"""What a protocol reported of the last epoch, beside the clean figures of the same epoch and the same images."""

from __future__ import annotations

from flyweight.doctor.finding import Evidence
from flyweight.doctor.quantity import Known, Quantity, fact
from flyweight.doctor.subject import Subject


def last_reported(subject: Subject) -> Quantity | None:
    """The last reported epoch, where the last line of metrics.csv is of the same; None where one is missing."""
    if not subject.reported or not subject.reported["epochs"] or not subject.history:
        return None
    last = Known(subject).reported.epochs[-1]
    # A run that diverged has a line for the epoch in which it did, and reports nothing of it.
    return last if last.value["epoch"] == subject.history[-1].epoch else None


def last_judged(subject: Subject) -> Quantity | None:
    """What was reported of the images that judge the last epoch; what is not validation was called test."""
    last = last_reported(subject)
    split = "validation" if subject.recipe.protocol.evaluate_on == "validation" else "test"
    return None if last is None or split not in last.value else getattr(last, split)


def reported_and_clean_accuracy(subject: Subject) -> tuple[Evidence, ...]:
    """Both accuracies of the last epoch; nothing where a run reported nothing."""
    reported = last_judged(subject)
    if reported is None:
        return ()
    return (
        fact("reported accuracy of the last epoch", reported.correct / reported.count),
        fact("accuracy on the same images, unchanged", Known(subject).metrics.validation_accuracy[-1]),
    )
