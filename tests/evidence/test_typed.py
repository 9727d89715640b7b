"""Counts that people wrote, against the count that was made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.evidence.typed import typed_otherwise


@pytest.mark.parametrize(
    "text",
    [
        "19,378 parameters",
        "19378 params",
        "19.4k parameters",
        "19.38K trainable parameters",
        "about 19k params",
        "Under 20,000 parameters, three short epochs.",
        "up to 0.02M parameters",
        "more than 19k parameters",
        "4 layers, 5 epochs, 99.4 %",
        "v2.19348 parameters of the schedule",
    ],
)
def test_a_right_a_rounded_and_a_limited_count_are_let_be(text: str) -> None:
    """So is every number that counts something else."""
    assert list(typed_otherwise(text, 19_378)) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("it has 19,348 parameters", "19,348 parameters"),
        ("19.2k params", "19.2k params"),
        ("fewer than 19,000 parameters", "fewer than 19,000 parameters"),
        ("over 20k parameters", "over 20k parameters"),
        ("1.9m parameters", "1.9m parameters"),
    ],
)
def test_a_count_that_cannot_be_is_reported(text: str, wrong: str) -> None:
    """With the words that make it a limit."""
    assert list(typed_otherwise(text, 19_378)) == [wrong]


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_a_full_count_is_right_exactly_if_it_is_the_count(typed: int, counted: int) -> None:
    """Whatever the numbers, with thousands separated or not."""
    for text in (f"{typed:,} parameters", f"{typed} parameters"):
        assert (list(typed_otherwise(text, counted)) == []) == (typed == counted)
