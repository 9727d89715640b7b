"""Differences seed by seed, against scipy's paired t test and simulated experiments in which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from flyweight.evidence.effect import difference
from flyweight.evidence.paired import paired

IMAGE = 1 / 5_000

COUNTS = st.integers(0, 5_000)
PAIRS = st.lists(st.tuples(COUNTS, COUNTS), min_size=2, max_size=10)


def accuracies(pairs: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    return [before / 5_000 for before, _ in pairs], [after / 5_000 for _, after in pairs]


@given(PAIRS, st.sampled_from([0.8, 0.95, 0.99]))
def test_it_is_the_t_test_for_pairs_as_scipy_makes_it(pairs: list[tuple[int, int]], confidence: float) -> None:
    """Effect, p and interval equal ttest_rel wherever the differences have a spread."""
    assume(len({after - before for before, after in pairs}) > 1)
    before, after = accuracies(pairs)

    found = paired(before, after, confidence=confidence)

    expected = ttest_rel(after, before)
    interval = expected.confidence_interval(confidence)
    assert found.effect == pytest.approx(np.mean(after) - np.mean(before), abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.n == len(pairs)


def test_it_is_the_t_test_for_pairs_by_hand() -> None:
    """Differences 1, 2 and 3: mean 2, spread 1, so t = 2 √3 with two degrees of freedom, whose tail has a formula."""
    found = paired([0, 0, 0], [1, 2, 3])

    t = 2 * math.sqrt(3)
    assert (found.effect, found.sd, found.n) == (2, 1, 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


@given(PAIRS)
def test_before_and_after_change_the_sign(pairs: list[tuple[int, int]]) -> None:
    """What a change gains is what taking it back loses."""
    before, after = accuracies(pairs)

    there, back = paired(before, after, resolution=IMAGE), paired(after, before, resolution=IMAGE)

    assert (there.effect, there.p) == pytest.approx((-back.effect, back.p), abs=1e-12)
    assert there.low is not None
    assert back.high is not None
    assert there.low == pytest.approx(-back.high, abs=1e-12)


@given(PAIRS)
def test_p_and_interval_say_the_same(pairs: list[tuple[int, int]]) -> None:
    """The interval leaves 0 out exactly where p is below its level."""
    found = paired(*accuracies(pairs), resolution=IMAGE)

    assert found.p is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.effect <= found.high
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


@given(COUNTS, st.integers(-50, 50), st.integers(2, 10))
def test_equal_differences_are_as_sure_as_the_images_allow(count: int, change: int, n: int) -> None:
    """Pairs that all differ alike have the spread of two roundings: p is never 0, and 1 where nothing differs."""
    before, after = [count / 5_000] * n, [(count + change) / 5_000] * n

    found = paired(before, after, resolution=IMAGE)

    assert found.sd == pytest.approx(IMAGE / math.sqrt(6), rel=1e-6)
    assert found.p is not None
    assert found.p > 0
    assert (found.p == pytest.approx(1, abs=1e-6)) == (change == 0)


def test_without_resolution_equal_differences_have_no_p() -> None:
    """Where no spread can be known, none is invented."""
    found = paired([0.8, 0.2, 0.5], [0.9, 0.3, 0.6])  # by 0.1 each, but for the rounding of fractions

    assert found.effect == pytest.approx(0.1)
    assert (found.low, found.high, found.p, found.sd) == (None, None, None, 0)


def test_one_pair_has_no_p() -> None:
    """One seed is no difference over seeds, however fine the images resolve."""
    found = paired([0.1], [0.9], resolution=IMAGE)

    assert found.effect == pytest.approx(0.8)
    assert (found.low, found.high, found.p, found.sd, found.n) == (None, None, None, None, 1)


def test_pairs_see_what_is_hidden_by_the_luck_of_seeds() -> None:
    """Where seeds differ by far more than the change, pairs are sure of it and groups are not."""
    luck = np.random.default_rng(0).normal(0, 0.01, 8)
    before, after = list(0.95 + luck), list(0.952 + luck + np.random.default_rng(1).normal(0, 0.0005, 8))

    in_pairs, in_groups = paired(before, after).p, difference(before, after).p

    assert in_pairs is not None
    assert in_groups is not None
    assert in_pairs < 0.001 < 0.4 < in_groups


def test_what_does_not_differ_is_called_different_as_often_as_it_says() -> None:
    """Over 4,000 pairs of recipes that are the same, p is below 0.05 in 4 to 6 %."""
    values = np.random.default_rng(0).normal(0.97, 0.004, (2, 4_000, 5))

    found = [paired(list(before), list(after), resolution=IMAGE).p for before, after in zip(*values, strict=True)]

    assert 0.04 < np.mean([p is not None and p < 0.05 for p in found]) < 0.06


@pytest.mark.parametrize(
    ("before", "after", "options"),
    [
        ([], [], {}),
        ([0.5, 0.6], [0.5], {}),
        ([0.5, math.nan], [0.5, 0.6], {}),
        ([0.5, 0.6], [0.5, math.inf], {}),
        ([0.5, 0.6], [0.5, 0.7], {"confidence": 95}),
        ([0.5, 0.6], [0.5, 0.7], {"resolution": -0.1}),
        ([0.5, 0.6], [0.5, 0.7], {"resolution": 10_000}),
    ],
)
def test_what_is_no_experiment_is_refused(before: list[float], after: list[float], options: dict[str, float]) -> None:
    """No pairs, values without a partner, values that are no numbers, options that mean nothing."""
    with pytest.raises(ValueError, match="found"):
        paired(before, after, **options)
