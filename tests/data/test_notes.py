"""What is said of a set before it trains."""

from dataclasses import replace

import numpy as np
import pytest
from image_files import labels, pictures

from flyweight.data.imageset import image_set
from flyweight.data.notes import notes
from flyweight.data.splits import split


def said(images: np.ndarray, classes: np.ndarray | None = None) -> str:
    found = image_set(
        name="mine",
        parts={
            "train": (images, labels(len(images)) if classes is None else classes),
            "test": (images[:30, :, ::-1], labels(30)),
        },
    )
    return " ".join(notes(found, split(found, seed=0)))


HEALTHY = pictures(90, (3, 5, 4))


def test_ordinary_images_are_said_nothing_of():
    assert said(HEALTHY) == ""


@pytest.mark.parametrize(("high", "factor"), [(1, 255), (16, 15)])
def test_a_small_range_is_named_with_the_factor_that_fills_it(high, factor):
    """Values 0 and 1, or 0 to 16, as uint8."""
    found = said(pictures(90, (1, 5, 4)) % (high + 1))

    assert f"the values are 0 to {high}, a small part of 0 to 255" in found
    assert f"multiply them by {factor} before training" in found


def test_a_constant_channel_is_named():
    """White digits on red."""
    red = HEALTHY.copy()
    red[:, 0] = 255

    assert "channel 0 of 3 hardly varies" in said(red)


def test_classes_with_few_images_are_named_by_part():
    """40 and 3 pictures: of the 3 one validates, and its accuracy means nothing."""
    classes = np.array([0] * 57 + [1] * 30 + [2] * 3)

    found = said(HEALTHY, classes)

    assert "fewer than 5 train images of 1 of 3 classes: 2 2" in found
    assert "fewer than 5 validation images of 1 of 3 classes: 2 1" in found


def test_what_was_left_out_comes_first():
    found = image_set(name="mine", parts={"train": (HEALTHY, labels(90)), "test": (HEALTHY[:30, :, ::-1], labels(30))})

    assert notes(replace(found, notes=("left out: 1 .heic",)), split(found, seed=0)) == ("left out: 1 .heic",)


def test_images_that_are_in_two_parts_are_counted():
    """Test images that were trained on flatter the net, and so do validation images."""
    parts = {"train": HEALTHY, "validation": HEALTHY[:20, :, ::-1], "test": HEALTHY[:30]}
    found = image_set(name="mine", parts={part: (images, labels(len(images))) for part, images in parts.items()})
    twice = np.concatenate([HEALTHY, HEALTHY])

    (of_test,) = notes(found, split(found, seed=0))

    assert of_test.startswith("30 of 30 test images are training images too")
    assert "validation images are training images too" in said(twice)
