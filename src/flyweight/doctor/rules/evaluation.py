"""Whether the figures of a run are what they are called: which images judge it, when, and what is chosen by them.

Goes in: a subject. Its protocol says it before any run; the reported figures beside the clean ones say by how much.
"""

from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Evidence, Judgement, Severity, judgement
from flyweight.doctor.quantity import Known, best_accuracy, call, fact
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.rules.last_reported import reported_and_clean_accuracy
from flyweight.doctor.subject import Subject

# 1 is a batch as mixed as a shuffled one, 0 a batch of one class; a file that is not sorted lies close to 1.
CLASS_BY_CLASS: Final = 0.5
# In batches as mixed as this a new order every epoch gains next to nothing: 0.0 and 0.1 points in two nets, n = 5 each
# (docs/notebook.md).
WELL_MIXED: Final = 0.9

# The standard error of an accuracy of 99 % is 0.45 points on 500 images: more than the late epochs of a run differ by,
# and the best of more than 5 epochs is about one such error too good (the expected maximum of 5 normals is 1.16).
FEW_VALIDATION_IMAGES: Final = 500
FEW_EPOCHS: Final = 5


@rule(
    "EV03", "Evaluated on the training images", source="document 002: 95.39 % are 57,232 of the 60,000 training images"
)
def _judged_on_training_images(subject: Subject) -> Judgement | None:
    """The run is evaluated on its own training images. A net can memorise them, so the figure says nothing about new
    images and hides overfitting. Evaluate on images held out of training."""
    if subject.recipe.protocol.evaluate_on != "train":
        return None
    known = Known(subject)
    evidence = [
        fact("evaluated images", known.recipe.protocol.evaluate_on),
        fact("training images, also evaluated", known.data.n_train),
        *reported_and_clean_accuracy(subject),
    ]
    if subject.ending is not None and subject.ending.test is not None:
        test = known.result.test
        evidence.append(fact("accuracy on the real test images", test.correct / test.count))
    return judgement(
        "fault",
        *evidence,
        changes=("protocol.evaluate_on=validation",),
        gain="honesty",
        expected="The figure is measured on images the net has never seen.",
    )


@rule(
    "EV04",
    "Test images evaluated during training",
    source="document 003, step 17: 99.49 % by the test images, 99.40 % at the epoch that validation picks",
)
def _judged_on_test_images(subject: Subject) -> Judgement | None:
    """The test images are evaluated while there is still something to choose: an epoch, or the next change. The best of
    many evaluations is partly chance, so the figure is higher than on new images. Choose by validation images and
    evaluate the test images once, at the end."""
    protocol, epochs, known = subject.recipe.protocol, subject.recipe.train.epochs, Known(subject).recipe
    evidence, changes = [], []
    if protocol.evaluate_on == "test":
        evidence.append(fact("evaluated images", known.protocol.evaluate_on))
        changes.append("protocol.evaluate_on=validation")
    # With evaluate_on "train" the test images stay closed, and with one epoch the look at its end is the only one.
    if protocol.test_every_epoch and protocol.evaluate_on != "train" and epochs > 1:
        evidence.append(fact("test images are evaluated after every epoch", known.protocol.test_every_epoch))
        changes.append("protocol.test_every_epoch=false")
    if not changes:
        return None
    return judgement(
        # With one epoch nothing is chosen, whatever keep and patience say: the evaluation is clean as long as no other
        # run is compared with it.
        "fault" if epochs > 1 else "note",
        *evidence,
        fact("evaluations of the test images", known.train.epochs),
        *_optimism(subject),
        changes=changes,
        gain="honesty",
        expected="The test images are evaluated once, after the choice: lower, without the effect of choosing.",
    )


def _optimism(subject: Subject) -> tuple[Evidence, ...]:
    """How much better the best look at the test images was than the one that nobody has picked by them."""
    rows = subject.reported["epochs"] if subject.reported is not None else ()
    if len(rows) < 2 or not all("test" in row for row in rows):
        return ()
    epochs, epoch = Known(subject).reported.epochs, _picked_by_validation(subject)
    is_picked = epoch is not None and epoch <= len(rows) and rows[epoch - 1]["epoch"] == epoch
    fair = epochs[epoch - 1 if epoch is not None and is_picked else -1].test
    which = "the epoch chosen by validation" if is_picked else "the last epoch"
    best = call(best_accuracy, epochs.test)
    return (
        fact("best reported test accuracy", best),
        fact(f"reported test accuracy of {which}", fair.correct / fair.count),
        fact(f"points by which the best exceeds {which}", 100 * (best - fair.correct / fair.count)),
    )


def _picked_by_validation(subject: Subject) -> int | None:
    """The epoch that the run has kept, where it was chosen by images that are not for the test."""
    if (
        subject.recipe.protocol.evaluate_on != "validation"
        or subject.recipe.train.keep != "best"
        or subject.ending is None
    ):
        return None
    return subject.ending.best_epoch


@rule(
    "EV05",
    "Training images always in the same order",
    source="documents 000 to 002; Bottou 2012, Stochastic gradient descent tricks",
)
def _no_shuffle(subject: Subject) -> Judgement | None:
    """The training images come in the same order in every epoch. The same images always share a batch, and if the file
    is sorted the net forgets one class while it learns the next. A new order every epoch makes each batch a random
    sample of all classes."""
    # A batch that holds all images has no order.
    if subject.recipe.train.shuffle or subject.steps_per_epoch == 1:
        return None
    known = Known(subject)
    severity: Severity = "warning"
    evidence = [
        fact("images are shuffled", known.recipe.train.shuffle),
        fact("epochs", known.recipe.train.epochs),
    ]
    if subject.images is not None and subject.images.classes_per_shuffled_batch > 1:
        own, shuffled = known.images.classes_per_batch, known.images.classes_per_shuffled_batch
        mixed = (own - 1) / (shuffled - 1)
        if mixed.value < CLASS_BY_CLASS:
            severity = "fault"
        elif mixed.value > WELL_MIXED or subject.recipe.train.epochs == 1:
            severity = "note"
        evidence += [
            fact("classes in a batch", own),
            fact("classes in a shuffled batch", shuffled),
            fact("mixing of classes, 1 for shuffled batches", mixed),
        ]
    return judgement(
        severity,
        *evidence,
        changes=("train.shuffle=true",),
        expected="Batches differ between epochs and hold all classes, so that no class is forgotten.",
    )


@rule("EV06", "Seed set after the split", source="document 003: every step that has a split")
def _seed_after_split(subject: Subject) -> Judgement | None:
    """The split into training and validation images is drawn before the seed is set. Runs then differ in their images
    as well, so no run can be repeated and the spread over seeds mixes two sources of chance. Give the split its own
    fixed seed, so that only the training varies."""
    protocol, known = subject.recipe.protocol, Known(subject)
    # Where nothing is held out there is no split that a seed could come too late for.
    if not protocol.seed_after_split or protocol.evaluate_on != "validation":
        return None
    return judgement(
        "fault",
        fact("the seed is set after the split", known.recipe.protocol.seed_after_split),
        fact("validation images", known.data.n_validation),
        changes=("protocol.seed_after_split=false",),
        gain="honesty",
        expected="All seeds train on the same images, and their spread comes from training alone.",
    )


@rule("EV10", "Epoch chosen on few validation images", source="binomial error of an accuracy")
def _noisy_choice(subject: Subject) -> Judgement | None:
    """The epoch was chosen by its accuracy on a small number of validation images. Late epochs differ by less than the
    sampling error of so few images, so the choice is mostly chance and its accuracy is too high. Keep the last epoch of
    a schedule that decays to zero, or hold out more images."""
    train, known = subject.recipe.train, Known(subject)
    is_choice = subject.recipe.protocol.evaluate_on == "validation" and (train.keep == "best" or train.patience)
    if not is_choice or subject.data.n_validation >= FEW_VALIDATION_IMAGES or train.epochs <= FEW_EPOCHS:
        return None
    changes = ["train.keep=last"] * (train.keep == "best") + ["train.patience=none"] * (train.patience is not None)
    return judgement(
        "note",
        fact("validation images", known.data.n_validation),
        fact("epochs", known.recipe.train.epochs),
        fact("percentage points per image", 100 / known.data.n_validation),
        changes=changes,
        gain="honesty",
        expected="No epoch is chosen, so the validation accuracy is not the maximum over many epochs.",
    )


RULES: Final[tuple[Rule, ...]] = (
    _judged_on_training_images,
    _judged_on_test_images,
    _no_shuffle,
    _seed_after_split,
    _noisy_choice,
)
