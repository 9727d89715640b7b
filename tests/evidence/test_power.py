"""Power against published tables, scipy's noncentral t and experiments simulated from pilot to verdict."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import chdtri
from scipy.stats import nct, t, ttest_ind

from flyweight.evidence.power import power, seeds_needed, smallest_effect


# Cohen 1988, Statistical Power Analysis, table 2.4.1, two-sided alpha .05, power .80; for d = 0.2 he prints the 393 of
# the normal approximation, the t test needs 394.
@pytest.mark.parametrize(("d", "n"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_seeds_needed_are_those_of_cohens_table(d: float, n: int) -> None:
    """Small, medium, large effects in units of the spread."""
    assert seeds_needed(d, 1.0) == n


@pytest.mark.parametrize("n", [20, 64, 400])
@pytest.mark.parametrize("d", [0.0, 0.2, 0.5, 1.5])
def test_power_of_many_seeds_is_that_of_students_test(n: int, d: float) -> None:
    """With equal groups Welch's test approaches Student's, whose power scipy.stats.nct gives."""
    critical, noncentrality = t.ppf(0.975, 2 * n - 2), d * math.sqrt(n / 2)
    expected = nct.sf(critical, 2 * n - 2, noncentrality) + np.nan_to_num(nct.cdf(-critical, 2 * n - 2, noncentrality))

    assert power(d, 1.0, n) == pytest.approx(expected, abs=0.04 / n)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("d", [0.0, 1.0, 2.5, 6.0])
def test_power_of_few_seeds_is_that_of_welchs_test(n: int, d: float) -> None:
    """As often as scipy's Welch test finds the effect in 40,000 experiments, within 0.9 points (3.6 sd at most)."""
    generator = np.random.default_rng(n)
    a, b = generator.normal(0, 1, (n, 40_000)), generator.normal(d, 1, (n, 40_000))

    found = np.mean(ttest_ind(a, b, equal_var=False).pvalue <= 0.05)

    assert power(d, 1.0, n) == pytest.approx(found, abs=0.009)


@pytest.mark.parametrize("n", [2, 3, 8, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 18])
def test_the_smallest_effect_has_the_power_it_promises(n: int, alpha: float) -> None:
    """power() of the smallest effect is 80 %, of a hundredth less below that; it scales with the spread."""
    found = smallest_effect(0.0015, n, alpha=alpha)

    assert found is not None
    assert power(found, 0.0015, n, alpha=alpha) == pytest.approx(0.8, abs=0.001)
    assert power(found * 0.99, 0.0015, n, alpha=alpha) < 0.8
    assert smallest_effect(0.003, n, alpha=alpha) == pytest.approx(2 * found)


def test_more_seeds_show_smaller_effects() -> None:
    """Each further seed helps, and one seed shows nothing."""
    found = [smallest_effect(0.001, n) for n in range(2, 30)]

    assert all(more < fewer for fewer, more in pairwise(found) if fewer and more)
    assert len(found) == 28
    assert smallest_effect(0.001, 1) is None


@pytest.mark.parametrize("effect", [0.0005, 0.001, -0.003])
def test_seeds_needed_are_enough_and_no_more(effect: float) -> None:
    """With a known spread the number asked for has 80 % power and one less has not; the sign does not matter."""
    found = seeds_needed(effect, 0.0015)

    assert found is not None
    assert power(effect, 0.0015, found) >= 0.8 > power(effect, 0.0015, found - 1)
    assert seeds_needed(-effect, 0.0015) == found


def test_a_spread_from_few_seeds_asks_for_more() -> None:
    """The fewer degrees of freedom the sd has, the more seeds; with very many it is as good as known."""
    found = [seeds_needed(0.001, 0.001, degrees_of_freedom=df) for df in (2, 4, 8, 18, 1e6)]

    assert found == sorted(found, key=lambda n: -(n or 0))
    assert found[0] != found[-1] == seeds_needed(0.001, 0.001) == 17


@pytest.mark.parametrize("true_sd", [0.0005, 0.0015, 0.003])
def test_a_planted_effect_is_found_with_the_computed_number_of_seeds(true_sd: float) -> None:
    """0.3 points, from pilots of 3 + 3 seeds to the verdict on new ones: found in 80 % of whole experiments or more.

    25 pilots at equally likely sds, lucky ones and unlucky; 1,600 experiments with the seeds that each asks for. The
    sd of the simulation is 0.2 points.
    """
    generator = np.random.default_rng(42)
    pilots = true_sd * np.sqrt(chdtri(4, (np.arange(25) + 0.5) / 25) / 4)

    found = []
    for sd in pilots:
        n = seeds_needed(0.003, sd, degrees_of_freedom=4)
        assert n is not None
        a, b = generator.normal(0.990, true_sd, (n, 1_600)), generator.normal(0.993, true_sd, (n, 1_600))
        found.append(np.mean(ttest_ind(a, b, equal_var=False).pvalue <= 0.05))

    assert np.mean(found) >= 0.80


def test_an_effect_that_no_number_of_seeds_shows_gives_none() -> None:
    """No effect, or one that needs more than the most one would train."""
    assert seeds_needed(0.0, 0.001) is None
    assert seeds_needed(0.0001, 0.001, max_n=100) is None
    assert seeds_needed(0.0001, 0.001, max_n=2_000) == 1571


@pytest.mark.parametrize("sd", [0.0, -0.001, math.nan, math.inf])
def test_a_spread_must_be_above_nothing(sd: float) -> None:
    """Groups without spread would promise certainty; `difference` floors it by the resolution."""
    for call in (lambda: power(0.003, sd, 3), lambda: smallest_effect(sd, 3), lambda: seeds_needed(0.003, sd)):
        with pytest.raises(ValueError, match="sd must be a finite number above 0"):
            call()


def test_other_impossible_questions_are_refused() -> None:
    """One seed, an effect that is no number, per cent for a fraction, no degrees of freedom."""
    with pytest.raises(ValueError, match="at least two seeds a group, found 1"):
        power(0.003, 0.001, 1)
    with pytest.raises(ValueError, match="effect must be a finite number"):
        power(math.nan, 0.001, 3)
    with pytest.raises(ValueError, match="effect must be a finite number"):
        seeds_needed(math.inf, 0.001)
    with pytest.raises(ValueError, match="power must lie between 0 and 1, found 80"):
        smallest_effect(0.001, 3, power=80)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        seeds_needed(0.003, 0.001, alpha=5)
    with pytest.raises(ValueError, match="degrees_of_freedom must be above 0"):
        seeds_needed(0.003, 0.001, degrees_of_freedom=0)
