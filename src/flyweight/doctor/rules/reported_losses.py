"""Losses that are reported as something they are not: divided twice, or of a single batch.

The protocol says it before any run; the reported metrics beside the measured ones say by how much.
"""

from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, judgement
from flyweight.doctor.quantity import Known, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.last_reported import last_judged, last_reported
from flyweight.doctor.subject import Subject


@rule(
    "EV07",
    "Evaluation loss divided twice",
    source="documents 000 (0.0049 for about 0.157) and 002 (0.0001 for about 0.1)",
)
def _divided_twice(subject: Subject) -> Judgement | None:
    """The loss of a batch is already a mean over its images, and the sum of these means is divided by the number of
    images again. The reported loss is too small by about the batch size, and cannot be compared with any other. Sum the
    losses of the images and divide once."""
    # The sum of the means of batches of one image, over the number of images, is the mean per image.
    if not subject.recipe.protocol.loss_divided_twice or subject.recipe.train.batch_size == 1:
        return None
    recipe = Known(subject).recipe
    return judgement(
        "fault",
        fact("losses are divided twice", recipe.protocol.loss_divided_twice),
        fact("batch size", recipe.train.batch_size),
        *_both_losses(subject),
        changes=("protocol.loss_divided_twice=false",),
        gain="honesty",
        expected="The reported loss is the mean per image, larger by about the batch size.",
    )


def _both_losses(subject: Subject) -> tuple[Evidence, ...]:
    judged = last_judged(subject)
    if judged is None:
        return ()
    reported, clean = judged.loss, Known(subject).metrics.validation_loss[-1]
    if not reported.value or clean.value is None:
        return ()
    return (
        fact("reported loss of the last epoch", reported),
        fact("mean loss per image of the same epoch", clean),
        fact("mean loss per image over reported loss", clean / reported),
    )


@rule("EV08", "Training loss of the last batch only", source="document 003, and 000, 002 and 004 as well")
def _last_batch(subject: Subject) -> Judgement | None:
    """The training loss of an epoch is that of its last batch alone. A few images vary by chance, so the loss jumps
    between epochs while the net improves, and shows no gap to the validation loss. The mean over the epoch is stable
    and free, because all these losses are computed anyway."""
    # Where one batch holds all images, the last one is the epoch.
    if not subject.recipe.protocol.last_batch_loss or subject.steps_per_epoch == 1:
        return None
    known = Known(subject)
    n_train, batch_size = known.data.n_train, known.recipe.train.batch_size
    return judgement(
        "fault",
        fact("the training loss is that of the last batch", known.recipe.protocol.last_batch_loss),
        fact("images in the last batch", n_train - (known.steps_per_epoch - 1) * batch_size),
        fact("images in an epoch", n_train),
        *_batch_and_epoch(subject),
        changes=("protocol.last_batch_loss=false",),
        gain="honesty",
        expected="The training loss is the mean over the epoch, without the noise of a single batch.",
    )


def _batch_and_epoch(subject: Subject) -> tuple[Evidence, ...]:
    last = last_reported(subject)
    if last is None:
        return ()
    shown = {
        key: getattr(last.train, key) for key in ("loss", "loss_error") if last.value["train"].get(key) is not None
    }
    clean = Known(subject).metrics.train_loss[-1]
    return (
        *((fact("loss of the last batch", shown["loss"]),) if "loss" in shown else ()),
        *((fact("standard error of that loss", shown["loss_error"]),) if "loss_error" in shown else ()),
        *((fact("mean loss of the epoch", clean),) if clean.value is not None else ()),
    )


RULES: Final[tuple[Rule, ...]] = (_divided_twice, _last_batch)
