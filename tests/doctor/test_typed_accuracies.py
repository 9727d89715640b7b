"""Accuracies that somebody typed: a wrong one is named, a right one and anything that may be something else is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.doctor.typed_accuracies import typed_otherwise

MEASURED = {"train": [0.9984], "validation": [0.9924], "test": [0.9938]}


@pytest.mark.parametrize(
    "text",
    [
        "99.38 %",
        "99.4 %",
        "99.3 %",  # cut off
        "99 %",
        "> 99 %",
        "at least 99.2 %",
        "below 99.9 %",
        "about 99.3 %",
        "99.24 % validation accuracy",
        "Training accuracy 99.84 %.",
        "test accuracy: 99.38 %",
        "We reached 99.38 % on the test set",
    ],
)
def test_a_right_figure_is_silent(text):
    """Rounded, cut off, limits on the right side, and of the part that the words name."""
    assert list(typed_otherwise(text, MEASURED)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("99.5 %", "99.5 %"),
        ("99.49%", "99.49%"),
        ("> 99.4 %", "> 99.4 %"),
        ("at least 99.5 %", "at least 99.5 %"),
        ("below 99.2 %", "below 99.2 %"),
        ("about 95 %", "about 95 %"),
        ("99.24 % test accuracy", "99.24 %"),
        ("Validation accuracy 99.38 %.", "99.38 %"),
        ("The net is good; test accuracy 99.84 %, as always", "99.84 %"),
        ("training accuracy is 99.38 percent", "99.38 percent"),
    ],
)
def test_a_wrong_figure_is_named_as_it_was_typed(text, said):
    """With its words of more and less; of a part it is held against that part alone."""
    assert list(typed_otherwise(text, MEASURED)) == [said]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no figure at all",
        "An experiment log of 18 rows to 99.9 %",
        "dropout 10 %",
        "50 % faster",
        "goal 99.9 %",
        "should reach 99.9 %",
        "99.9 % in epoch 14",
        "99.41 ± 0.05 %",
        "from 98.1 % to 98.7 %",
        "+0.3 %",
        "95 % confidence",
        "10 % of the images are cropped",
        "99.9 % or 12 %",
        "accuracy 0.5",
        "v1.99.9 %",
    ],
)
def test_what_may_be_something_else_is_silent(text):
    """Goals, differences, spreads, single epochs, shares of other things, two figures in one thought."""
    assert list(typed_otherwise(text, MEASURED)) == []


def test_what_was_not_measured_contradicts_nothing():
    """A run without test figures cannot tell that a test accuracy is wrong."""
    assert list(typed_otherwise("test accuracy 12 %, accuracy 12 %", {"test": [], "train": [0.5]})) == []


def test_any_run_that_has_the_figure_is_enough():
    """A note may be of another seed."""
    assert list(typed_otherwise("99.41 %", {"test": [0.9938, 0.9941]})) == []


@given(st.integers(0, 10_000), st.integers(0, 2))
def test_a_figure_rounded_to_its_digits_is_right_and_two_more_of_the_last_are_not(correct, decimals):
    """For every count of right answers among 10,000 and every number of digits."""
    accuracy, unit = correct / 10_000, 10**-decimals
    rounded = round(100 * accuracy, decimals)

    assert list(typed_otherwise(f"accuracy {rounded:.{decimals}f} %", {"test": [accuracy]})) == []
    wrong = f"accuracy {rounded + 2 * unit:.{decimals}f} %"
    assert len(list(typed_otherwise(wrong, {"test": [accuracy]}))) == 1
