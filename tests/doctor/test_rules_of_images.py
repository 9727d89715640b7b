"""Rules of the images: copies between parts, parts that look otherwise, and classes that are rare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_subjects import made_images, made_subject
from recomputed import names_of_subject, recompute

from flyweight.doctor.finding import Judgement
from flyweight.doctor.rules.images import FEW_IMAGES, LEAST_IMAGES, RARE, RULES
from flyweight.doctor.subject import Subject
from flyweight.recipe import load, own_names

BY_CODE = {rule.code: rule for rule in RULES}
MNIST = made_images()


def judged(code: str, *overrides: str, **changes: Any) -> Judgement | None:
    return BY_CODE[code].judge(case_of(*overrides, **changes))


def case_of(*overrides: str, **changes: Any) -> Subject:
    return made_subject(overrides=overrides, images=made_images(**changes))


def spoken(code: str, *overrides: str, **changes: Any) -> Judgement:
    """What a rule says, after every number of it has been computed again."""
    subject = case_of(*overrides, **changes)
    judgement = BY_CODE[code].judge(subject)
    assert judgement is not None, f"{code} is silent"
    assert judgement.evidence
    for one in judgement.evidence:
        found = recompute(one.source, names_of_subject(subject))
        assert found == (pytest.approx(one.value) if isinstance(one.value, float) else one.value), one.source
    return judgement


def of_part(part: str, **changes: float) -> dict[str, dict[str, float]]:
    """MNIST, with some figures of one part replaced."""
    return {name: {**getattr(MNIST, name), part: value} for name, value in changes.items()}


def test_mnist_is_healthy_for_every_recipe_of_ours() -> None:
    """Nothing is said of the images that come with the package, which were measured."""
    found = [
        rule.code
        for name in own_names()
        for rule in RULES
        if rule.judge(made_subject(recipe=load(name), images=MNIST)) is not None
    ]

    assert found == []
    assert len(own_names()) == 5
    assert len(RULES) == len(BY_CODE) == 8


@pytest.mark.parametrize(
    ("code", "count"), [("DA01", "validation_in_train"), ("DA02", "test_in_train"), ("DA06", "test_in_validation")]
)
def test_copies_are_a_note_until_they_can_move_the_figure(code: str, count: str) -> None:
    """Up to 1 % of a part is what collected sets have; beyond it is a fault, and there is advice and no remedy."""
    n = MNIST.n[count.partition("_")[0]]

    few, many = (spoken(code, **{count: copies}) for copies in (n // 100, n // 100 + 1))

    assert (few.severity, many.severity) == ("note", "fault")
    assert many.remedy is None
    assert many.advice
    assert judged(code, **{count: 0}) is None


def test_a_test_set_that_is_the_training_set_is_called_that() -> None:
    """Where every test image comes from the training images, held out or not, the evidence says so."""
    all_of_them = [
        spoken("DA02", test_in_train=10_000),
        spoken("DA02", test_in_train=9_000, test_in_validation=1_000),
        spoken("DA02", "protocol.evaluate_on=test", test_in_train=10_000, test_in_validation=10_000),
    ]
    some_of_them = [
        spoken("DA02", test_in_train=9_999),
        spoken("DA02", "protocol.evaluate_on=test", test_in_train=9_000, test_in_validation=10_000),
    ]

    what = "all test images are training images"
    assert all(what in [one.what for one in judgement.evidence] for judgement in all_of_them)
    assert all(what not in [one.what for one in judgement.evidence] for judgement in some_of_them)


def test_a_test_set_out_of_the_training_file_is_told_once() -> None:
    """Of its images some train and some were held out; that is one fault and not two."""
    copies = {"test_in_train": 900, "test_in_validation": 100}

    assert judged("DA02", **copies) is not None
    assert judged("DA06", **copies) is None
    assert judged("DA06", **{**copies, "test_in_train": 1}) is not None


@pytest.mark.parametrize("judging", ["test", "train"])
def test_parts_that_a_protocol_makes_one_are_left_to_the_rules_of_evaluation(judging: str) -> None:
    """Judged on the test or training images, validation has copies of them by definition."""
    copies = {"validation_in_train": 60_000, "test_in_validation": 10_000}

    assert judged("DA01", f"protocol.evaluate_on={judging}", **copies) is None
    assert judged("DA06", f"protocol.evaluate_on={judging}", **copies) is None


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mean": 0.867}, id="inverted"),
        pytest.param({"sd": 0.154, "mean": 0.0653}, id="half the contrast"),
        pytest.param({"sd": 0.2}, id="less contrast"),
        pytest.param({"sd": 0.42}, id="more contrast"),
        pytest.param({"mean": 0.175}, id="brighter"),
    ],
)
def test_a_part_that_was_prepared_otherwise_is_seen(part: str, changes: dict[str, float]) -> None:
    """Inverted, dimmed, hardened or brightened images of either part are a fault that names the part."""
    judgement = spoken("DA03", **of_part(part, **changes))

    assert judgement.severity == "fault"
    assert all(part in one.what or "train" in one.what for one in judgement.evidence)
    assert any(part in one.what for one in judgement.evidence)


@given(shift=st.floats(-0.03, 0.03), contrast=st.floats(0.85, 1.2), part=st.sampled_from(["validation", "test"]))
def test_parts_that_differ_as_samples_do_are_silent(shift: float, contrast: float, part: str) -> None:
    """A tenth of a standard deviation and a sixth of the contrast is what other writers make."""
    changes = of_part(part, mean=MNIST.mean["train"] + shift, sd=MNIST.sd["train"] * contrast)

    assert judged("DA03", **changes) is None


def test_a_handful_of_images_does_not_show_how_a_part_looks() -> None:
    """Under 30 images nothing is said of their mean, and the error of few images is allowed for."""
    inverted = of_part("test", mean=0.867)
    small = {"n": {**MNIST.n, "test": LEAST_IMAGES - 1}}
    unsure = of_part("test", mean=0.19, mean_error=0.02)

    assert judged("DA03", **inverted, **small) is None
    assert judged("DA03", **unsure) is None
    assert judged("DA03", **inverted) is not None


def test_images_of_one_colour_have_no_spread_to_compare() -> None:
    """Training images without any contrast do not stop the rule."""
    assert judged("DA03", **of_part("train", sd=0.0, mean=0.0)) is None


def test_validation_that_is_another_part_is_not_compared_twice() -> None:
    """Judged on the training images, the validation part is the training part."""
    assert judged("DA03", "protocol.evaluate_on=train", **of_part("validation", mean=0.867)) is None


@given(st.lists(st.integers(0, 500), min_size=2, max_size=30))
def test_rare_classes_are_those_below_a_tenth_of_the_largest(counts: list[int]) -> None:
    """A warning where the smallest class has less than a tenth of the largest; else where it has less than twenty."""
    changes = {"class_counts": tuple(counts)}
    is_rare = min(counts) < RARE * max(counts)
    is_small = min(counts) < FEW_IMAGES and not is_rare

    assert (judged("DA04", **changes) is not None) == is_rare
    assert (judged("DA05", **changes) is not None) == is_small
    for code, speaks in (("DA04", is_rare), ("DA05", is_small)):
        if speaks:
            assert spoken(code, **changes).severity == "warning"


def test_the_rarest_class_is_named() -> None:
    """The first of the smallest classes, with its images."""
    judgement = spoken("DA04", class_counts=(500, 20, 400, 20))

    assert [one.value for one in judgement.evidence] == [1, 20, 500, 0.04]


def test_no_rule_of_images_proposes_a_change_of_the_recipe() -> None:
    """What is wrong with images is mended in the images: all of it is advice."""
    inverted = {**MNIST.mean, "test": 0.867}
    wrong = [
        replace(MNIST, validation_in_train=5_000, test_in_train=10_000, mean=inverted, class_counts=(5_000, 5)),
        replace(MNIST, test_in_validation=5_000, class_counts=(5, 5), constant_values=600, highest=1),
    ]
    found = [(rule.code, rule.judge(made_subject(images=images))) for images in wrong for rule in RULES]
    judgements = [judgement for _, judgement in found if judgement is not None]

    assert sorted(code for code, judgement in found if judgement is not None) == sorted(BY_CODE)
    assert all(one.remedy is None and one.advice for one in judgements)


def test_a_channel_that_hardly_varies_is_named() -> None:
    """White digits on red: the red channel tells nothing. Channels of a photograph differ, but all vary."""
    judgement = spoken("DA07", channel_sd=(0.0, 0.3, 0.3))

    assert judgement.severity == "note"
    assert judgement.evidence[0].value == 0
    assert judged("DA07", channel_sd=(0.2, 0.25, 0.3)) is None
    assert judged("DA07", channel_sd=(0.3,)) is None


def test_images_that_are_mostly_frame_are_named() -> None:
    """More than half of the values are the same everywhere; the corners of MNIST are not."""
    assert spoken("DA07", constant_values=393).evidence[0].value == pytest.approx(393 / 784)
    assert judged("DA07", constant_values=392) is None


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (0, 16), (100, 163)])
def test_values_in_a_small_range_are_a_warning(lowest: int, highest: int) -> None:
    """Such a net misreads ordinary pictures."""
    judgement = spoken("DA08", lowest=lowest, highest=highest)

    assert judgement.severity == "warning"
    assert judged("DA08", lowest=lowest, highest=lowest + 64) is None


def test_probes_of_before_say_nothing_of_range_and_channels() -> None:
    """They did not measure it."""
    old = {"channel_sd": (), "lowest": 0, "highest": 255, "constant_values": 0, "n_values": 1}

    assert judged("DA07", **old) is None
    assert judged("DA08", **old) is None
