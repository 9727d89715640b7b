"""Augmentation that is missing or too strong, weight decay and label smoothing that are too strong."""

from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Judgement, judgement
from flyweight.doctor.quantity import Known, call, fact, mean
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.fitting import FITTED, training_gap
from flyweight.doctor.subject import Subject
from flyweight.recipe import optimizer_traits

# Beyond these a digit, or most other things, becomes another or leaves the frame.
LARGEST_ROTATION: Final = 60.0
LARGEST_SHIFT: Final = 0.25
LARGEST_SCALE: Final = 0.4
LARGEST_SHEAR: Final = 40.0

# Of the side: what is left of an image that is cropped, and what is erased, where it happens to many images.
SMALLEST_CROP: Final = 0.6
LARGEST_ERASED: Final = 0.5
OFTEN: Final = 0.3

# Clean training images answered better than the augmented ones of the last epoch, by more than dropout and moving
# weights explain.
AUGMENTED_GAP: Final = 0.15

# Weight decay times the rates of all steps is how often decay alone would shrink the weights by a factor of e.
MOST_SHRINKING: Final = 20.0
MOST_SMOOTHING: Final = 0.3

MILDER: Final = {
    "rotate": "8",
    "translate": "0.06",
    "scale": "0.08",
    "shear": "6",
    "crop_probability": "0.1",
    "erase_size": "0.25",
}
MILD: Final = ("augment.rotate=8", "augment.translate=0.06", "augment.scale=0.08")


@rule(
    "RE04",
    "No augmentation, and a gap between training and validation",
    needs=("ending",),
    source="document 003, steps 14 to 18",
)
def no_augmentation(subject: Subject) -> Judgement | None:
    """Without augmentation every epoch shows the same pixels, and the net memorises them. It does better on its
    training images than on new ones, and the gap grows with each epoch. Small rotations and shifts vary the images,
    without parameters."""
    # Every epoch shows the same pixels, and the gap is there.
    found = training_gap(subject) if is_idle(subject) else None
    if found is None:
        return None
    severity, gap = found
    return judgement(
        severity,
        *gap,
        fact("times each image is shown, unchanged", Known(subject).recipe.train.epochs),
        changes=MILD,
        expected="The gap shrinks; training accuracy falls a little and validation accuracy rises.",
    )


def is_idle(subject: Subject) -> bool:
    """Whether training images stay as they are."""
    augment = subject.recipe.augment
    warps = (augment.rotate, augment.translate, augment.scale, augment.shear, augment.elastic)
    others = (augment.crop_probability, augment.erase_probability, augment.flip_probability, augment.brightness)
    return not (any(warps) and augment.probability) and not any(others)


@rule("RE05", "Augmentation too strong")
def too_strong_augmentation(subject: Subject) -> Judgement | None:
    """Augmentation should produce images that may really occur. Beyond that, a small net spends its parameters on
    images that never occur, and some images turn into another class. Use milder changes."""
    # Warps beyond what leaves a thing itself, or a far lower accuracy on augmented images than on clean ones.
    augment = subject.recipe.augment
    if is_idle(subject):
        return None
    limits = {
        "rotate": LARGEST_ROTATION,
        "translate": LARGEST_SHIFT,
        "scale": LARGEST_SCALE,
        "shear": LARGEST_SHEAR,
    }
    over = [key for key, limit in limits.items() if getattr(augment, key) > limit]
    if (
        augment.crop_size
        and augment.crop_size < SMALLEST_CROP * subject.data.shape[1]
        and augment.crop_probability > OFTEN
    ):
        over += ["crop_size", "crop_probability"]
    if augment.erase_size > LARGEST_ERASED and augment.erase_probability > OFTEN:
        over += ["erase_size", "erase_probability"]
    known = Known(subject)
    evidence = [fact(f"augment.{key}", getattr(known.recipe.augment, key)) for key in over]
    if subject.history and subject.ending and subject.ending.train:
        clean = known.result.train.correct / known.result.train.count
        gap = clean - known.metrics.train_accuracy[-1]
        has_dropout = any(row.kind == "dropout" for row in subject.cost.rows)
        if gap.value > AUGMENTED_GAP and clean.value > FITTED and not has_dropout:
            over = over or [key for key in limits if getattr(augment, key)]
        evidence.append(fact("accuracy on clean training images minus that on augmented ones", gap))
    if not over:
        return None
    return judgement(
        "warning",
        *evidence,
        changes=tuple(f"augment.{key}={MILDER[key]}" for key in over if key in MILDER),
        expected="The net uses its parameters for images like the test images.",
    )


@rule("RE06", "Weight decay too strong", source="Loshchilov and Hutter 2019, Decoupled weight decay")
def too_strong_decay(subject: Subject) -> Judgement | None:
    """Weight decay pulls every weight towards zero at each step, by the learning rate times the decay. If this pull is
    stronger than that of the images, the net keeps little of what it learns. A decay a hundred times weaker still keeps
    the weights small."""
    # Decay that outweighs what is learnt.
    train, known = subject.recipe.train, Known(subject)
    traits = optimizer_traits(train.optimizer)
    shrinking = known.recipe.train.weight_decay * call(mean, known.lr_curve)
    if not traits.is_adaptive:
        shrinking /= 1 - known.recipe.train.momentum
    shrinking *= known.steps
    # Where the decay is part of a gradient that is divided by its size, it is the decay itself that counts.
    is_divided = traits.is_adaptive and traits.is_decay_coupled
    is_strong = train.weight_decay > 0.01 if is_divided else shrinking.value > MOST_SHRINKING
    if not is_strong or train.weight_decay < 0.002:
        return None
    return judgement(
        "fault",
        fact("weight decay", known.recipe.train.weight_decay),
        fact("times that decay alone shrinks the weights by a factor of e", shrinking),
        changes=(f"train.weight_decay={traits.usual_weight_decay}",),
        expected="Weights can grow as far as the images need.",
    )


@rule("RE07", "Label smoothing too strong", source="Szegedy et al. 2016")
def too_strong_smoothing(subject: Subject) -> Judgement | None:
    """Label smoothing takes part of each label from the right class and spreads it over all classes. A little keeps a
    net from being overconfident; too much leaves hardly any difference between right and wrong. Five to ten per cent
    are usual."""
    # Labels of which hardly anything is left.
    known = Known(subject)
    smoothing = known.recipe.train.label_smoothing
    if smoothing.value <= MOST_SMOOTHING:
        return None
    left = 1 - smoothing + smoothing / known.data.n_classes
    return judgement(
        "warning",
        fact("label smoothing", smoothing),
        fact("share of a label left for the right class", left),
        changes=("train.label_smoothing=0.05",),
        expected="The loss separates right and wrong classes again.",
    )


RULES: Final[tuple[Rule, ...]] = (no_augmentation, too_strong_augmentation, too_strong_decay, too_strong_smoothing)
