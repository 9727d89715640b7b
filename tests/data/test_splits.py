"""Splits: disjoint, complete, the same for ever; statistics and counts that add up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from image_files import labels, pictures

from flyweight.data.imageset import blocks, image_set
from flyweight.data.sources import load
from flyweight.data.splits import (
    Split,
    channel_statistics,
    class_counts,
    nothing_held_out,
    shuffled,
    split,
    summary,
    train_part,
    validation_part,
)
from flyweight.errors import UsageError

GOLDEN_ORDER = [11, 3, 2, 1, 8, 6, 0, 7, 4, 10, 5, 9]
GOLDEN_HASH = "c94845795d0b016116ac87310cd04470124358d089025626a24296b848f69a17"
MNIST_5000 = "19b2ca8b2ec3d5e0f69a38d159464a4d10a54327f431330bd188899e0ce4d2c8"
MNIST_500 = "5b482bf2d48671490c7c500b6ac61c10033e3c789599c6bfb7004e67b6526a23"


def a_set(n: int = 30, *, own_validation: int = 0, channels: int = 1):
    shape = (channels, 5, 4)
    sizes = {"train": n, "test": 6} | ({"validation": own_validation} if own_validation else {})
    pairs = ((pictures(size, shape, number), labels(size)) for number, size in enumerate(sizes.values()))
    return image_set(name="mine", parts=dict(zip(sizes, pairs, strict=True)))


@given(n=st.integers(3, 200), seed=st.integers(0, 2**64), share=st.floats(0, 1))
def test_training_and_validation_share_nothing_and_lack_nothing(n, seed, share):
    """Together they are every training image once, and the validation part has the size that was asked for."""
    validation = 1 + int(share * (n - 3))

    found = split(a_set(n), seed=seed, validation=validation)

    assert len(found.validation) == validation
    assert sorted([*found.train, *found.validation]) == list(range(n))
    assert found.train.dtype == found.validation.dtype == np.int64


def test_a_split_is_the_same_for_ever():
    """Indices and hash of a seed are those written here; other seeds and sizes have others."""
    found = split(a_set(12), seed=0, validation=2)

    assert found.validation.tolist() == GOLDEN_ORDER[:2]
    assert found.train.tolist() == GOLDEN_ORDER[2:]
    assert found.hash == GOLDEN_HASH
    assert len({split(a_set(12), seed=s, validation=v).hash for s in (0, 1) for v in (3, 4)}) == 4


def test_the_splits_of_mnist_are_the_same_for_ever():
    """Every recorded run of it has one of them."""
    mnist = load("mnist")

    assert split(mnist, seed=0, validation=5000).hash == MNIST_5000
    assert split(mnist, seed=3, validation=500).hash == MNIST_500


@given(counts=st.lists(st.integers(2, 60), min_size=2, max_size=8), seed=st.integers(0, 99), share=st.floats(0.05, 0.6))
def test_no_class_is_left_without_images_of_a_part_by_chance(counts, seed, share):
    """Where there is room for all classes, a class of two or more images trains and validates; of more, its share."""
    images = a_set(sum(counts))
    images = replace(
        images,
        train_labels=np.repeat(np.arange(len(counts)), counts),
        class_names=tuple(map(str, range(len(counts)))),
    )
    validation = min(max(len(counts), int(share * sum(counts))), sum(counts) - max(2, len(counts)))
    assume(validation >= len(counts))

    found = split(images, seed=seed, validation=validation)

    held = class_counts(images.train_labels[found.validation], len(counts))
    trained = class_counts(images.train_labels[found.train], len(counts))
    assert sum(held) == validation
    for count, one, other in zip(counts, held, trained, strict=True):
        assert one + other == count
        assert other >= 1
        assert one >= 1
    if min(*held, *trained) < 5:
        wanted = [validation * count / sum(counts) for count in counts]
        assert max(abs(one - share) for one, share in zip(held, wanted, strict=True)) < 1 + len(counts) / 2


def test_a_small_class_beside_a_large_one_is_validated():
    """48 and 6 images: one of the 6 and eight of the 48, not nine of the 48."""
    images = replace(a_set(54), train_labels=np.array([0] * 48 + [1] * 6), class_names=("a", "b"))

    for seed in range(20):
        found = split(images, seed=seed)
        assert class_counts(images.train_labels[found.validation], 2) == (8, 1)


def test_the_order_is_that_of_the_raw_random_numbers():
    """A pencil's way to the same order: draw one 64-bit number per image, sort by it."""
    keys = [int(key) for key in np.random.PCG64(7).random_raw(50)]

    assert shuffled(50, 7).tolist() == sorted(range(50), key=lambda i: keys[i])


def test_a_set_with_validation_images_of_its_own_validates_on_them():
    """All of them and only them, and every training image trains."""
    images = a_set(30, own_validation=4)

    found = split(images, seed=0, validation=10)

    assert sorted(found.train) == list(range(30))
    np.testing.assert_array_equal(validation_part(images, found)[0], images.validation_images)
    np.testing.assert_array_equal(validation_part(images, found)[1], images.validation_labels)


def test_parts_are_the_images_and_labels_of_the_indices():
    """train_part and validation_part look the indices up, images with their labels."""
    images = a_set(30)

    found = split(images, seed=3, validation=10)

    for (pixels, wanted), indices in (
        (train_part(images, found), found.train),
        (validation_part(images, found), found.validation),
    ):
        np.testing.assert_array_equal(pixels, images.train_images[indices])
        np.testing.assert_array_equal(wanted, images.train_labels[indices])


@pytest.mark.parametrize("validation", [-1, 29, 30, 5000])
def test_a_validation_part_that_cannot_be_is_a_usage_error_with_a_way_out(validation):
    """The message names the range, what was found, and a value that works."""
    with pytest.raises(UsageError, match=r"must be 0 to 28 of the 30 training images.*leave it out for 5"):
        split(a_set(30), seed=0, validation=validation)


def test_a_negative_seed_is_a_usage_error():
    """PCG64 takes none."""
    with pytest.raises(UsageError, match=r"data\.split_seed must be 0 or more, found -1"):
        split(a_set(), seed=-1, validation=5)


@given(n=st.integers(1, 40), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_statistics_are_those_of_numpy_in_double_precision(n, channels, seed):
    """Mean and standard deviation per channel agree with numpy's over the chosen images alone."""
    images = pictures(50, (channels, 5, 4), seed)
    chosen = shuffled(50, seed)[:n]

    mean, std = channel_statistics(images, chosen)

    reference = images[chosen].astype(np.float64) / 255
    np.testing.assert_allclose(mean, reference.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, reference.std(axis=(0, 2, 3)), rtol=1e-12)
    assert (mean, std) == channel_statistics(images, np.sort(chosen))


@pytest.mark.parametrize(("n", "side"), [(5000, 28), (4, 1100)])
def test_statistics_over_more_than_one_block_are_whole(n, side):
    """Many images or large ones, half of them black and half white: mean and deviation of one half, exactly."""
    images = np.repeat(np.array([0, 255], np.uint8), n * side * side // 2).reshape(n, 1, side, side)

    assert len(list(blocks(images.shape))) > 1
    assert channel_statistics(images, np.arange(n)) == ((0.5,), (0.5,))


@given(n=st.integers(0, 40), row_bytes=st.integers(0, 2**21))
def test_blocks_cover_every_row_once_and_are_small(n, row_bytes):
    """In order, without a gap, and of more than a megabyte only where one row is."""
    found = list(blocks((n, row_bytes)))

    assert [row for rows in found for row in range(n)[rows]] == list(range(n))
    assert all(rows.stop - rows.start == 1 or (rows.stop - rows.start) * row_bytes <= 2**20 for rows in found)


def test_own_validation_images_are_handed_out_uncopied():
    """All of them in their order need no second place in memory; a choice among them is looked up."""
    images = a_set(30, own_validation=4)
    whole = split(images, seed=0)

    some = Split(train=whole.train, validation=np.array([2, 0]))

    assert validation_part(images, whole)[0] is images.validation_images
    np.testing.assert_array_equal(validation_part(images, some)[0], images.validation_images[[2, 0]])


@pytest.mark.parametrize("own_validation", [0, 4])
def test_the_counts_of_a_summary_add_up(own_validation):
    """Counts per class sum to the sizes of the parts, and those to the images there are."""
    images = a_set(30, own_validation=own_validation, channels=3)

    found = summary(images, split(images, seed=0, validation=7))

    held_out = own_validation or 7
    assert found.sizes == {"train": 30 if own_validation else 23, "validation": held_out, "test": 6}
    assert found.counts["test"] == (2, 2, 2)
    assert (found.shape, len(found.mean), len(found.std)) == ((3, 5, 4), 3, 3)
    assert found.fingerprint == images.fingerprint


@pytest.mark.parametrize("own_validation", [0, 4])
@pytest.mark.parametrize("validated_on", ["test", "train"])
def test_with_nothing_held_out_every_image_trains_in_the_order_of_the_file(validated_on, own_validation):
    """All training images train, as they stand in the file, and epochs are judged on the images that are named."""
    images = a_set(30, own_validation=own_validation)

    found = nothing_held_out(images, validated_on=validated_on)

    judged = {"test": images.test_images, "train": images.train_images}[validated_on]
    judged_labels = {"test": images.test_labels, "train": images.train_labels}[validated_on]
    assert found.train.tolist() == list(range(30))
    np.testing.assert_array_equal(train_part(images, found)[0], images.train_images)
    np.testing.assert_array_equal(validation_part(images, found)[0], judged)
    np.testing.assert_array_equal(validation_part(images, found)[1], judged_labels)
    assert summary(images, found).counts["validation"] == class_counts(judged_labels, images.n_classes)


@given(n=st.integers(3, 40), seed=st.integers(0, 2**64))
def test_no_split_that_holds_images_out_has_the_hash_of_one_that_does_not(n, seed):
    """Runs that chose by held-out images and runs that did not are never taken for each other."""
    images = a_set(n)
    held_out = {split(images, seed=seed, validation=size).hash for size in range(1, n - 1)}
    others = {nothing_held_out(images, validated_on=part).hash for part in ("test", "train")}
    in_order = Split(train=np.arange(n), validation=np.arange(n))

    assert len(held_out) == n - 2
    assert len(others) == 2
    assert not others & {*held_out, in_order.hash}
