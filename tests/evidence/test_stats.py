"""Intervals against published values, scipy's own distributions and simulated experiments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from flyweight.evidence.stats import mean_interval, wilson

# Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score, no continuity correction).
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("correct", "count", "low", "high"), NEWCOMBE)
def test_wilson_is_the_published_interval(correct: int, count: int, low: float, high: float) -> None:
    """The four examples of Newcombe's comparison come out to the four digits he prints."""
    found = wilson(correct, count)

    assert found == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 100_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
@settings(max_examples=60, deadline=None)
def test_wilson_holds_the_proportion_and_solves_its_own_equation(counts: tuple[int, int]) -> None:
    """Each end p satisfies (p̂ - p)² = z² p (1 - p) / n, the definition of the score interval; p̂ is between."""
    correct, count = counts
    proportion, z = correct / count, 1.959963984540054

    low, high = wilson(correct, count)

    assert 0 <= low <= proportion <= high <= 1
    for end in (low, high):
        assert (proportion - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / count, abs=1e-9)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("count", [1, 7, 500, 10_000])
def test_wilson_is_what_scipy_gives(count: int, confidence: float) -> None:
    """The closed form equals scipy's score interval from no hit to all of them."""
    for correct in {0, 1, count // 3, count - 1, count}:
        expected = binomtest(correct, count).proportion_ci(confidence, method="wilson")

        assert wilson(correct, count, confidence) == pytest.approx((expected.low, expected.high), abs=1e-14)
    assert wilson(0, count)[0] == 0
    assert wilson(count, count)[1] == 1


@pytest.mark.parametrize("accuracy", [0.5, 0.95, 0.994])
def test_wilson_covers_the_truth_as_often_as_it_says(accuracy: float) -> None:
    """In 20,000 simulated tests on 10,000 images the 95 % interval holds the true accuracy 94 to 96 % of the time."""
    generator = np.random.default_rng(0)
    drawn, times = np.unique(generator.binomial(10_000, accuracy, size=20_000), return_counts=True)

    covered = sum(
        int(n) for correct, n in zip(drawn, times, strict=True) if _holds(wilson(int(correct), 10_000), accuracy)
    )

    assert 0.94 < covered / 20_000 < 0.96


def _holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


@pytest.mark.parametrize(("correct", "count"), [(0, 0), (-1, 10), (11, 10)])
def test_impossible_counts_are_refused(correct: int, count: int) -> None:
    """More hits than tries, or no tries, is a mistake of the caller and never becomes an interval."""
    with pytest.raises(ValueError, match="wilson needs"):
        wilson(correct, count)


def test_mean_interval_is_the_t_interval_by_hand() -> None:
    """n = 5: the margin is 2.776 standard errors, the tabled quantile of t with 4 degrees of freedom."""
    values = [0.9940, 0.9943, 0.9938, 0.9945, 0.9944]

    found = mean_interval(values)

    assert found.n == 5
    assert found.mean == pytest.approx(0.9942)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.low == pytest.approx(0.9942 - 2.7764451 * np.std(values, ddof=1) / math.sqrt(5))
    assert found.high == pytest.approx(0.9942 + 2.7764451 * np.std(values, ddof=1) / math.sqrt(5))
    assert (found.minimum, found.maximum) == (0.9938, 0.9945)


@given(st.lists(st.integers(9_000, 9_999), min_size=2, max_size=12), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_mean_interval_is_what_scipy_gives(counts: list[int], confidence: float) -> None:
    """Mean, spread and interval equal numpy's and those of scipy.stats.t, for any group of accuracies."""
    values = [count / 10_000 for count in counts]
    mean, sd, n = np.mean(values), np.std(values, ddof=1), len(values)

    found = mean_interval(values, confidence)

    margin = t.ppf((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
    assert (found.mean, found.sd) == pytest.approx((mean, sd), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((mean - margin, mean + margin), abs=1e-12)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_interval_covers_the_truth_as_often_as_it_says(n: int, confidence: float) -> None:
    """Over 10,000 simulated groups of seeds the interval holds the true mean within 1 point of its confidence."""
    groups = np.random.default_rng(n).normal(0.9940, 0.0004, size=(10_000, n))

    covered = 0
    for group in groups:
        found = mean_interval(group, confidence)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.9940 <= found.high

    assert covered / len(groups) == pytest.approx(confidence, abs=0.01)


def test_one_value_has_no_spread_and_no_interval() -> None:
    """A single seed reports nothing about the next one, and the summary says so by None."""
    found = mean_interval([0.994])

    assert (found.n, found.mean, found.sd, found.low, found.high) == (1, 0.994, None, None, None)


@pytest.mark.parametrize("values", [[], [math.nan], [0.9, math.inf]])
def test_nothing_and_not_a_number_are_refused(values: list[float]) -> None:
    """A diverged run has to be left out knowingly; it never turns a group into NaN."""
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_is_a_fraction(confidence: float) -> None:
    """95 instead of 0.95 is refused by both."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence)
