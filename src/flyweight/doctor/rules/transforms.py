"""Random changes of images that are where they should not be, or are not where they should be.

Goes in: a subject; its protocol says it before any run, and two reads of the same images confirm it or take it back.
"""

from __future__ import annotations

from math import prod
from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, judgement
from flyweight.doctor.quantity import Known, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.last_reported import reported_and_clean_accuracy
from flyweight.doctor.subject import Subject
from flyweight.recipe import Recipe, value_at

# Amounts by which an image is changed, and 0 is off (`data.augment`); shares say how often, by themselves.
WARPS: Final = ("rotate", "translate", "scale", "shear", "elastic")
SHARES: Final = ("crop_probability", "erase_probability", "flip_probability")

# So many of the images read twice should differ, and none does: at 10 that is chance once in 22,000 (e^-10).
EXPECTED_TO_DIFFER: Final = 10.0


@rule(
    "EV01", "Evaluation images are augmented", source="documents 000 and 002 (test), 003, steps 12 and 13 (validation)"
)
def _augmented_evaluation(subject: Subject) -> Judgement | None:
    """The evaluation images are randomly changed like training images. They are harder and differ at each evaluation,
    so the figure is usually too low and two evaluations disagree. Evaluate the unchanged images: the figure then means
    the same for every epoch and net."""
    protocol, reads, known = subject.recipe.protocol, subject.reads, Known(subject).recipe.protocol
    evidence, changes = [], []
    if protocol.evaluate_augmented:
        evidence.append(fact("evaluation is augmented", known.evaluate_augmented))
        changes.append("protocol.evaluate_augmented=false")
    if protocol.shared_transform == "training":
        evidence.append(fact("transform shared by both parts", known.shared_transform))
        changes.append("protocol.shared_transform=none")
    is_augmented = bool(changes) and _augments(subject.recipe)
    differ = 0 if reads is None else reads.evaluation_differ
    if not differ and (not is_augmented or _should_have_differed(subject)):
        return None
    if is_augmented:
        evidence += [*_amounts(subject), *reported_and_clean_accuracy(subject)]
    return judgement(
        "fault",
        *evidence,
        *_reads(subject, "evaluation"),
        changes=changes if is_augmented else (),
        gain="honesty",
        expected="The figure is measured on unchanged images: usually higher, and the same each time.",
        fallback="Read evaluation images without any random change.",
    )


@rule("EV02", "Training images are not augmented", source="document 003, from step 14 on")
def _lost_augmentation(subject: Subject) -> Judgement | None:
    """The recipe asks for augmentation, but the training images come unchanged, usually because both parts of a split
    share one data set and its transform. The net sees the same pixels in every epoch and memorises them, and something
    else, such as missing dropout, gets the blame. Give each part its own transform."""
    recipe, reads = subject.recipe, subject.reads
    if not _augments(recipe):
        return None
    is_shared = recipe.protocol.shared_transform == "evaluation"
    if reads is not None and reads.training_differ:
        return None
    if not is_shared and not _should_have_differed(subject):
        return None
    return judgement(
        "fault",
        fact("transform shared by both parts", Known(subject).recipe.protocol.shared_transform),
        *_amounts(subject),
        *_reads(subject, "training"),
        changes=["protocol.shared_transform=none"] * is_shared,
        expected="Training images are augmented again: their accuracy falls, and that of new images rises.",
        fallback="The augmentation is too small to change a pixel: make it larger, or remove it.",
    )


def _augments(recipe: Recipe) -> bool:
    return _varied_share(recipe) > 0


def _should_have_differed(subject: Subject) -> bool:
    """Whether so many images were read twice that some of them would differ if they were augmented."""
    return subject.reads is not None and subject.reads.n * _differing_share(subject.recipe) >= EXPECTED_TO_DIFFER


def _varied_share(recipe: Recipe) -> float:
    """The share of the training images that an augmentation asks to change."""
    augment = recipe.augment
    is_warped = any(value_at(recipe, f"augment.{name}") for name in WARPS)
    shares = (augment.crop_probability, augment.erase_probability, augment.flip_probability)
    left_alone = (1 - augment.probability * is_warped, *(1 - share for share in shares), augment.brightness == 0)
    return 1 - prod(left_alone)


def _differing_share(recipe: Recipe) -> float:
    """The share of the images of which two reads differ: a crop or a flip does the same each time, or nothing."""
    augment = recipe.augment
    is_warped = any(value_at(recipe, f"augment.{name}") for name in WARPS)
    alike = (
        1 - augment.probability * is_warped,
        *(1 - 2 * share * (1 - share) for share in (augment.crop_probability, augment.flip_probability)),
        1 - augment.erase_probability,
        augment.brightness == 0,
    )
    return 1 - prod(alike)


def _amounts(subject: Subject) -> tuple[Evidence, ...]:
    """What the recipe asks of the augmentation, one by one."""
    augment = Known(subject).recipe.augment
    amounts = {name: getattr(augment, name) for name in (*WARPS, *SHARES, "brightness")}
    return tuple(fact(f"augment.{name}", amount) for name, amount in amounts.items() if amount.value)


def _reads(subject: Subject, kind: str) -> tuple[Evidence, ...]:
    """How many of the images of a kind were not the same when they were read again."""
    if subject.reads is None:
        return ()
    reads = Known(subject).reads
    return (
        fact(f"{kind} images that differ when read twice", getattr(reads, f"{kind}_differ")),
        fact("images read twice", reads.n),
    )


RULES: Final[tuple[Rule, ...]] = (_augmented_evaluation, _lost_augmentation)
