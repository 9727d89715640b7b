"""Losses that are told as something they are not: divided twice, or of a single batch.

The protocol says it before any run; told.json beside metrics.csv says by how much.
"""

from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Remedy
from flyweight.doctor.rule import Rule
from flyweight.doctor.rules.last_reported import last_told, told_part
from flyweight.doctor.subject import Subject


def _divided_twice(subject: Subject) -> Judgement | None:
    # The sum of the means of batches of one image, over the number of images, is the mean per image.
    if not subject.recipe.protocol.loss_divided_twice or subject.recipe.train.batch_size == 1:
        return None
    return Judgement(
        severity="fault",
        evidence=(
            Evidence(what="losses are divided twice", value=True, source="recipe.protocol.loss_divided_twice"),
            Evidence(what="images in a batch", value=subject.recipe.train.batch_size, source="recipe.train.batch_size"),
            *_both_losses(subject),
        ),
        remedy=Remedy(
            changes=("protocol.loss_divided_twice=false",),
            gain="honesty",
            expected="The loss that is told is the mean per image, larger by about the size of a batch.",
        ),
    )


def _both_losses(subject: Subject) -> tuple[Evidence, ...]:
    found, part = last_told(subject), told_part(subject)
    if found is None or part not in found[0]:
        return ()
    told, honest = found[0][part]["loss"], found[1].validation_loss
    if not told or honest is None:
        return ()
    told_source, honest_source = f"told.epochs[-1].{part}.loss", "metrics.validation_loss[-1]"
    return (
        Evidence(what="loss that is told of the last epoch", value=told, source=told_source),
        Evidence(what="mean loss per image of the same epoch", value=honest, source=honest_source),
        Evidence(
            what="how many times larger the mean per image is",
            value=honest / told,
            source=f"{honest_source} / {told_source}",
        ),
    )


def _last_batch(subject: Subject) -> Judgement | None:
    # Where one batch holds all images, the last one is the epoch.
    if not subject.recipe.protocol.last_batch_loss or subject.steps_per_epoch == 1:
        return None
    before = (subject.steps_per_epoch - 1) * subject.recipe.train.batch_size
    return Judgement(
        severity="fault",
        evidence=(
            Evidence(
                what="the training loss is that of the last batch", value=True, source="recipe.protocol.last_batch_loss"
            ),
            Evidence(
                what="images in the last batch",
                value=subject.data.n_train - before,
                source="data.n_train - (steps_per_epoch - 1) * recipe.train.batch_size",
            ),
            Evidence(what="images in an epoch", value=subject.data.n_train, source="data.n_train"),
            *_batch_and_epoch(subject),
        ),
        remedy=Remedy(
            changes=("protocol.last_batch_loss=false",),
            gain="honesty",
            expected="The training loss is the mean over the epoch, and jumps no more than the net does.",
        ),
    )


def _batch_and_epoch(subject: Subject) -> tuple[Evidence, ...]:
    found = last_told(subject)
    if found is None:
        return ()
    (row, line), evidence = found, []
    for key, what in (("loss", "loss of the last batch"), ("loss_error", "standard error of that loss")):
        if row["train"].get(key) is not None:
            evidence.append(Evidence(what=what, value=row["train"][key], source=f"told.epochs[-1].train.{key}"))
    if line.train_loss is not None:
        evidence.append(Evidence(what="mean loss of the epoch", value=line.train_loss, source="metrics.train_loss[-1]"))
    return tuple(evidence)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        code="EV07",
        title="Evaluation loss divided twice",
        needs=(),
        judge=_divided_twice,
        explanation=(
            "The loss of a batch is a mean over its images already, and the sum of these means is divided by the "
            "number of images. What is told is too small by about the size of a batch, so it looks far better than it "
            "is and compares with nothing. Add up the losses of the single images and divide once, because then "
            "batches of every size give the same figure."
        ),
        source="documents 000 (0.0049 for about 0.157) and 002 (0.0001 for about 0.1)",
    ),
    Rule(
        code="EV08",
        title="Training loss of the last batch only",
        needs=(),
        judge=_last_batch,
        explanation=(
            "The training loss of an epoch is that of its last batch alone. A few images are luck, so it jumps between "
            "epochs while the net gets better, and no gap to the validation loss can be read from it. The mean over "
            "the epoch is steady and costs nothing, because every loss in it has been computed anyway."
        ),
        source="document 003, and 000, 002 and 004 as well",
    ),
)
