"""What the images say by themselves: parts that share images, parts that look otherwise, classes that are rare.

Goes in: a subject with the probe of its images. No change of a recipe mends any of it, so all of it ends in advice.
Where the protocol makes one part of another on purpose, the rules of evaluation say so and these are silent.
"""

from __future__ import annotations

from math import hypot
from typing import Final

from flyweight.data.notes import LEAST_RANGE
from flyweight.data.splits import LEAST_SPREAD
from flyweight.doctor.finding import Evidence, Judgement, judgement
from flyweight.doctor.probes import ImageProbe
from flyweight.doctor.quantity import Known, call, count_below, equal, fact, index_of
from flyweight.doctor.rule import Rule, rule
from flyweight.doctor.subject import Subject

# Of MNIST no image has a copy, in 70,000. A few copies are usual in sets that were collected and not drawn (one image
# uploaded twice); 1 % of them can lift an accuracy of 99 % by 0.01 points, and from there on it is more.
SHARED_SHARE: Final = 0.01

# Parts of MNIST differ by 0.006 of the pixels' standard deviation (4 standard errors: other writers), 30 of its images
# by 0.05 and in their standard deviation by 5 %. Inverted images differ by more than 2 deviations, a forgotten
# normalisation to half the contrast by half.
MEAN_ERRORS: Final = 6.0
MEAN_DEVIATIONS: Final = 0.1
SD_RATIOS: Final = (0.8, 1.25)
LEAST_IMAGES: Final = 30  # with fewer, mean and deviation are too noisy

# At ten to one, a net that never predicts the small class is still right on 91 % of the images of the two.
RARE: Final = 0.1

# A net of thousands of parameters fits 20 images whatever they show; one misread image in 20 is 5 points of the class.
FEW_IMAGES: Final = 20

# Of MNIST's values 9 % are always 0. Where half of them are, the image is mostly frame.
CONSTANT_SHARE: Final = 0.5


@rule(
    "DA01",
    "Validation images among the training images",
    needs=("images",),
    source="Barz and Denzler 2020, Do we train on test data?",
)
def _validation_in_train(subject: Subject) -> Judgement | None:
    """Some validation images are also training images, pixel for pixel. The net can memorise them, so validation
    accuracy is too high and the choice favours overfitting. Use parts without common images."""
    if subject.recipe.protocol.evaluate_on != "validation":
        return None
    return _shared(subject, "validation", "train")


@rule(
    "DA02",
    "Test images among the training images",
    needs=("images",),
    source="document 002 (all of them); Barz and Denzler 2020, Do we train on test data?",
)
def _test_in_train(subject: Subject) -> Judgement | None:
    """Some test images are also training images, pixel for pixel, or the test set is the training set. The net can
    memorise them, so test accuracy is higher than on new images. Test on images that were never trained on."""
    return _shared(subject, "test", "train", *_test_is_training(subject))


def _test_is_training(subject: Subject) -> tuple[Evidence, ...]:
    """Said where every test image comes from the training images, of which a part may have been held out."""
    images = Known(subject).images
    copies = images.test_in_train
    # Judged on other images than held out ones, those that validate are the test or the training images themselves.
    if subject.recipe.protocol.evaluate_on == "validation":
        copies += images.test_in_validation
    is_all = call(equal, copies, images.n["test"])
    return (fact("all test images are training images", is_all),) if is_all.value else ()


@rule("DA06", "Test images among the validation images", needs=("images",))
def _test_in_validation(subject: Subject) -> Judgement | None:
    """Some test images are also validation images, pixel for pixel. Epochs and recipes are chosen on them before the
    test, so part of the test figure is chance in that choice. Use parts without common images."""
    images = subject.images
    # Judged on the test or the training images, there are none that only validate.
    if images is None or subject.recipe.protocol.evaluate_on != "validation":
        return None
    # Where the test images come from the training images, some of those have been held out: DA02 says so already.
    if images.test_in_train > SHARED_SHARE * images.n["test"]:
        return None
    return _shared(subject, "test", "validation")


def _shared(subject: Subject, part: str, other: str, *more: Evidence) -> Judgement | None:
    """Images of `part` that `other` has, too: a fault where they can move the figure, a note where they are a few."""
    images = Known(subject).images
    copies, n = getattr(images, f"{part}_in_{other}"), images.n[part]
    if not copies.value or not n.value:
        return None
    share = copies / n
    return judgement(
        "fault" if share.value > SHARED_SHARE else "note",
        fact(f"{part} images also among the {other} images", copies),
        fact(f"{part} images", n),
        fact("share of copies", share),
        *more,
        advice=f"Remove the copies from the {other} images, or use new {part} images.",
    )


@rule(
    "DA03",
    "Parts of the data differ in brightness or contrast",
    needs=("images",),
    source="LeCun et al. 1998, Efficient backprop: inputs of one mean and one spread",
)
def _parts_look_otherwise(subject: Subject) -> Judgement | None:
    """Validation or test images are brighter, darker or of other contrast than the training images. The net learned one
    kind and is evaluated on another, so it fails on images it would recognise if prepared alike. Use the same range,
    background and size for all parts."""
    assert subject.images is not None
    parts = ("validation", "test") if subject.recipe.protocol.evaluate_on == "validation" else ("test",)
    otherwise = [part for part in parts if _looks_otherwise(subject.images, part)]
    if not otherwise:
        return None
    mean, sd = Known(subject).images.mean, Known(subject).images.sd
    evidence = [
        fact(f"{what} of the pixels of {part} images", values[part])
        for what, values in (("mean", mean), ("standard deviation", sd))
        for part in ("train", *otherwise)
    ]
    for part in otherwise:
        evidence += [
            fact(
                f"standard deviations between the means of training and {part} images",
                call(abs, mean[part] - mean["train"]) / sd["train"],
            ),
            fact(f"standard deviation of {part} images over that of training images", sd[part] / sd["train"]),
        ]
    return judgement(
        "fault",
        *evidence,
        advice="Prepare all parts in the same way: the same range, background, crop and size.",
    )


def _looks_otherwise(images: ImageProbe, part: str) -> bool:
    if min(images.n[part], images.n["train"]) < LEAST_IMAGES or not images.sd["train"]:
        return False
    away = abs(images.mean[part] - images.mean["train"])
    error = hypot(images.mean_error[part], images.mean_error["train"])
    is_shifted = away > MEAN_ERRORS * error and away > MEAN_DEVIATIONS * images.sd["train"]
    low, high = SD_RATIOS
    return is_shifted or not low <= images.sd[part] / images.sd["train"] <= high


@rule(
    "DA04",
    "A class with far fewer training images",
    needs=("images",),
    source="Buda et al. 2018, A systematic study of the class imbalance problem",
)
def _rare_class(subject: Subject) -> Judgement | None:
    """One class has far fewer training images than another. It has little weight in the training, so the net predicts
    the large classes instead, and the overall accuracy hardly shows it. Add images of the rare class."""
    assert subject.images is not None
    if not _has_rare_class(subject.images.class_counts):
        return None
    counts = Known(subject).images.class_counts
    return judgement(
        "warning",
        *_smallest_class(subject),
        fact("training images of the largest class", call(max, counts)),
        fact("smallest over largest", call(min, counts) / call(max, counts)),
        advice="Add images of the rare class, and check the accuracy of each class, not only the overall accuracy.",
    )


@rule("DA05", "Very few training images of a class", needs=("images",))
def _few_images_of_a_class(subject: Subject) -> Judgement | None:
    """A class has only a handful of training images. The net memorises them instead of what they have in common, so new
    images of the class are mostly misclassified. More images help most, and augmentation helps somewhat."""
    assert subject.images is not None
    counts = subject.images.class_counts
    # What a rare class lacks is DA04: this is about sets that are small altogether.
    if not counts or min(counts) >= FEW_IMAGES or _has_rare_class(counts):
        return None
    few = call(count_below, Known(subject).images.class_counts, FEW_IMAGES)
    return judgement(
        "warning",
        *_smallest_class(subject),
        fact(f"classes with fewer than {FEW_IMAGES} training images", few),
        advice="Add images of that class, raise data.train_limit if it is set, or augment.",
    )


@rule("DA07", "Channels or pixels without information", needs=("images",))
def _without_information(subject: Subject) -> Judgement | None:
    """A colour channel hardly varies, or most values of an image are the same in all training images: a border, or a
    constant background. They cost time and multiplications and tell the net nothing. Crop the border, or make the
    images grey."""
    assert subject.images is not None
    images = Known(subject).images
    evidence: tuple[Evidence, ...] = ()
    if subject.images.channel_sd and min(subject.images.channel_sd) < LEAST_SPREAD * max(subject.images.channel_sd):
        evidence += (
            fact("channel that varies least", call(index_of, call(min, images.channel_sd), images.channel_sd)),
            fact("its standard deviation", call(min, images.channel_sd)),
            fact("largest standard deviation of a channel", call(max, images.channel_sd)),
        )
    constant = images.constant_values / images.n_values
    if constant.value > CONSTANT_SHARE:
        evidence += (fact("share of values that are the same in all training images", constant),)
    if not evidence:
        return None
    return judgement("note", *evidence, advice="Crop the images to what varies, or save them as grey.")


@rule("DA08", "Values use a small part of 0 to 255", needs=("images",))
def _small_range(subject: Subject) -> Judgement | None:
    """The values of the training images fill a small part of 0 to 255, for example only 0 and 1. The net still learns,
    but an ordinary picture is far outside what it was trained on, so such pictures are misread with high confidence.
    Scale the values to 0 to 255."""
    images = Known(subject).images
    width = images.highest - images.lowest
    if width.value >= LEAST_RANGE:
        return None
    return judgement(
        "warning",
        fact("lowest value", images.lowest),
        fact("highest value", images.highest),
        fact("range of the values", width),
        advice="Multiply the values so that they fill 0 to 255, and train again.",
    )


def _has_rare_class(counts: tuple[int, ...]) -> bool:
    return bool(counts) and min(counts) < RARE * max(counts)


def _smallest_class(subject: Subject) -> tuple[Evidence, ...]:
    counts = Known(subject).images.class_counts
    fewest = call(min, counts)
    return (
        fact("class with the fewest training images", call(index_of, fewest, counts)),
        fact("training images of that class", fewest),
    )


RULES: Final[tuple[Rule, ...]] = (
    _validation_in_train,
    _test_in_train,
    _parts_look_otherwise,
    _rare_class,
    _few_images_of_a_class,
    _test_in_validation,
    _without_information,
    _small_range,
)
