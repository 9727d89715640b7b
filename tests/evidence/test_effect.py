"""Differences against scipy's tests, binomials by hand and simulated experiments in which the truth is known."""

import math
import time
import warnings
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_ind

from flyweight.evidence.effect import (
    Bootstrapped,
    McNemar,
    bootstrap,
    difference,
    mcnemar,
    permutation,
    two_way_errors,
)

IMAGE = 1e-4  # one image of a test set of 10,000

GROUPS = st.lists(st.integers(9_000, 9_999).map(lambda count: count / 10_000), min_size=2, max_size=10)


def accuracies(
    generator: np.random.Generator, size: tuple[int, int], *, sd: float = 0.0005, mean: float = 0.994
) -> npt.NDArray[np.float64]:
    """Accuracies of seeds on 10,000 images: normal, and rounded to images as they are in life."""
    return np.round(generator.normal(mean, sd, size), 4)


def share_called_different(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    found = [difference(left, right, resolution=IMAGE).p for left, right in zip(a, b, strict=True)]
    return float(np.mean([p <= 0.05 for p in found if p is not None]))


class TestDifference:
    """Two groups of seeds."""

    @given(GROUPS, GROUPS, st.sampled_from([0.8, 0.95, 0.99]))
    @settings(max_examples=100, deadline=None)
    def test_it_is_welchs_test_as_scipy_makes_it(self, a: list[float], b: list[float], confidence: float) -> None:
        """Effect, p, degrees of freedom and interval equal ttest_ind(equal_var=False) wherever a group has a spread."""
        found = difference(a, b, confidence=confidence)

        assert found.effect == pytest.approx(np.mean(b) - np.mean(a), abs=1e-12)
        if len(set(a)) == 1 and len(set(b)) == 1:
            assert (found.p, found.low, found.high, found.degrees_of_freedom) == (None, None, None, None)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, that a constant group loses it digits
            expected = ttest_ind(b, a, equal_var=False)
        interval = expected.confidence_interval(confidence)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert found.degrees_of_freedom == pytest.approx(expected.df, rel=1e-9)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)

    def test_it_is_welchs_test_by_hand(self) -> None:
        """1, 2, 3 and 2, 4, 6, 8: variances 1/3 and 5/3 of the means, their sum 2, so 2² / (1/9/2 + 25/9/3) df."""
        found = difference([1, 2, 3], [2, 4, 6, 8])

        assert found.effect == 3
        assert found.degrees_of_freedom == pytest.approx(4 / (1 / 18 + 25 / 27))
        assert found.sd == pytest.approx(math.sqrt((2 * 1 + 3 * 20 / 3) / 5))
        assert (found.n_a, found.n_b) == (3, 4)

    @given(GROUPS, GROUPS)
    @settings(max_examples=50, deadline=None)
    def test_swapped_groups_swap_the_sign(self, a: list[float], b: list[float]) -> None:
        """b against a is a against b, mirrored; and the interval holds 0 exactly when p is above 0.05."""
        there, back = difference(a, b, resolution=IMAGE), difference(b, a, resolution=IMAGE)

        assert there.p is not None
        assert there.low is not None
        assert there.high is not None
        assert (back.effect, back.p) == pytest.approx((-there.effect, there.p))
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)
        if abs(there.p - 0.05) > 1e-9:
            assert (there.low <= 0 <= there.high) == (there.p > 0.05)

    @pytest.mark.parametrize("n", [5, 10])
    def test_the_interval_covers_the_truth_as_often_as_it_says(self, n: int) -> None:
        """Over 10,000 pairs of groups the 95 % interval holds the true difference 94 to 96 % of the time."""
        generator = np.random.default_rng(n)
        a, b = generator.normal(0.994, 0.0005, (10_000, n)), generator.normal(0.995, 0.0005, (10_000, n))

        covered = 0
        for left, right in zip(a, b, strict=True):
            found = difference(left, right)
            assert found.low is not None
            assert found.high is not None
            covered += found.low <= 0.001 <= found.high

        assert 0.94 < covered / 10_000 < 0.96

    @pytest.mark.parametrize("n", [5, 10])
    def test_a_against_a_is_seldom_called_different(self, n: int) -> None:
        """Of 200 fresh pairs of groups that do not differ, 3 to 8 % are called different.

        Not asked of 3 seeds: at their 3.5 % (next test) one batch of 200 in three falls below 3 % by chance alone.
        """
        generator = np.random.default_rng(2026)

        found = share_called_different(accuracies(generator, (200, n)), accuracies(generator, (200, n)))

        assert 0.03 <= found <= 0.08

    @pytest.mark.parametrize(
        ("n_a", "n_b", "spreads", "reported"),
        [(3, 3, 1, 0.035), (5, 5, 1, 0.044), (10, 10, 1, 0.049), (3, 3, 4, 0.055), (3, 10, 1, 0.065)],
    )
    def test_the_errors_reported_in_its_docstring_are_those_it_makes(
        self, n_a: int, n_b: int, spreads: float, reported: float
    ) -> None:
        """Over 20,000 pairs that do not differ the share called different is the documented one, within 0.6 points."""
        generator = np.random.default_rng(7)
        a = accuracies(generator, (20_000, n_a))
        b = accuracies(generator, (20_000, n_b), sd=0.0005 * spreads)

        assert share_called_different(a, b) == pytest.approx(reported, abs=0.006)

    @pytest.mark.parametrize("n", [3, 5, 10])
    @pytest.mark.parametrize("sd_in_images", [0.05, 0.2, 0.5])
    def test_seeds_closer_than_an_image_are_not_called_different_more_often(self, n: int, sd_in_images: float) -> None:
        """Where rounding to images swallows the spread, even half-way between two, the errors stay below 5.5 %."""
        generator = np.random.default_rng(n)
        a, b = (accuracies(generator, (5_000, n), sd=sd_in_images * IMAGE, mean=0.99405) for _ in range(2))

        assert share_called_different(a, b) <= 0.055

    def test_constant_predictions_keep_an_interval(self) -> None:
        """Two collapsed groups, 11.35 % and 10.28 % in every seed, differ; two that are equal have p = 1."""
        apart = difference([0.1135] * 3, [0.1028] * 3, resolution=IMAGE)
        equal = difference([0.1135] * 3, [0.1135] * 3, resolution=IMAGE)

        assert apart.p is not None
        assert apart.low is not None
        assert apart.high is not None
        assert apart.p < 0.001
        assert apart.low < -0.0107 < apart.high < 0
        assert equal.p == 1
        assert equal.sd == pytest.approx(IMAGE / math.sqrt(12))

    @pytest.mark.parametrize("value", [0.1, 0.9, 0.9943])
    def test_without_any_spread_nothing_is_claimed(self, value: float) -> None:
        """Constant groups and no resolution to floor them: interval and p are unknown, whatever the means' rounding."""
        found = difference([value] * 3, [value + 0.05] * 7)

        assert (found.low, found.high, found.p, found.degrees_of_freedom, found.sd) == (None, None, None, None, 0.0)

    @pytest.mark.parametrize(("a", "b"), [([0.99], [0.5]), ([0.99], [0.5, 0.6, 0.7]), ([0.5, 0.6, 0.7], [0.99])])
    def test_one_seed_is_never_a_difference_over_seeds(self, a: list[float], b: list[float]) -> None:
        """A single seed on a side leaves interval and p unknown, however far apart the groups are."""
        found = difference(a, b, resolution=IMAGE)

        assert found.effect == pytest.approx(np.mean(b) - np.mean(a))
        assert (found.low, found.high, found.p, found.degrees_of_freedom) == (None, None, None, None)
        assert found.sd == (pytest.approx(0.1) if len(a) + len(b) > 2 else None)

    @pytest.mark.parametrize("wrong", [[], [math.nan, 0.9], [math.inf]])
    def test_nothing_and_not_a_number_are_refused(self, wrong: list[float]) -> None:
        """On either side, by the name of the function that was asked."""
        with pytest.raises(ValueError, match="difference needs at least one value"):
            difference(wrong, [0.9, 0.8])
        with pytest.raises(ValueError, match="difference needs at least one value"):
            difference([0.9, 0.8], wrong)

    def test_options_out_of_range_are_refused(self) -> None:
        """A confidence of 95 and a resolution of 10,000 images instead of 1 / 10,000."""
        with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
            difference([0.1, 0.2], [0.3, 0.4], confidence=95)
        with pytest.raises(ValueError, match="1 / count, found 10000"):
            difference([0.1, 0.2], [0.3, 0.4], resolution=10_000)


class TestMcNemar:
    """Two runs on the same images."""

    def test_it_is_the_binomial_tail_by_hand(self) -> None:
        """1 image lost and 7 gained: twice the chance of at most 1 head in 8 tosses, 2 (1 + 8) / 256."""
        a = np.array([True] * 4 + [True] + [False] * 7 + [False] * 2)
        b = np.array([True] * 4 + [False] + [True] * 7 + [False] * 2)

        found = mcnemar(a, b)

        assert found == McNemar(both=4, only_a=1, only_b=7, neither=2, p=pytest.approx(18 / 256))

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
    @settings(max_examples=60, deadline=None)
    def test_only_the_images_they_disagree_on_count(self, answers: list[tuple[bool, bool]]) -> None:
        """p is that of a fair coin on the images that one got right and the other wrong; the four counts add up."""
        found = mcnemar([a for a, _ in answers], [b for _, b in answers])

        assert found.both + found.only_a + found.only_b + found.neither == len(answers)
        assert found.only_a - found.only_b == sum(a for a, _ in answers) - sum(b for _, b in answers)
        discordant = found.only_a + found.only_b
        assert found.p == (pytest.approx(binomtest(found.only_b, discordant).pvalue) if discordant else 1)

    def test_runs_that_agree_everywhere_are_not_distinguished(self) -> None:
        """No image reports: p is 1."""
        assert mcnemar([True, False], [True, False]) == McNemar(both=1, only_a=0, only_b=0, neither=1, p=1.0)

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ([], [], "not empty"),
            ([True, False], [True], "same images, found 2 and 1"),
            ([[True], [False]], [True, False], r"shape \(images,\)"),
            ([3, 1, 4], [1, 5, 9], "needs bool"),
            ([0.3, math.nan], [1.0, 0.0], "needs bool"),
        ],
    )
    def test_anything_but_right_and_wrong_on_the_same_images_is_refused(
        self, a: list[float], b: list[float], message: str
    ) -> None:
        """Labels or probabilities in place of right and wrong are a mistake of the caller."""
        with pytest.raises(ValueError, match=message):
            mcnemar(a, b)


class TestPermutation:
    """Labels exchanged."""

    def test_pairs_by_hand(self) -> None:
        """Gains of 1, 2, 3 and 4: of the 16 ways to sign them only all plus is as large, so p is 2 / 16."""
        found = permutation([0, 0, 0, 0], [1, 2, 3, 4], paired=True, generator=np.random.default_rng(0))

        assert (found.p, found.smallest_p) == (0.125, 0.125)

    def test_groups_by_hand(self) -> None:
        """1, 2, 4 and 3, 5, 6: of the 20 ways to divide them two give sums of 14 or more, so p is 2 * 2 / 20."""
        found = permutation([1, 2, 4], [3, 5, 6], paired=False, generator=np.random.default_rng(0))

        assert (found.p, found.smallest_p) == (pytest.approx(0.2), 0.1)

    @pytest.mark.parametrize(
        ("n_a", "n_b", "paired"),
        [(2, 2, False), (2, 5, False), (5, 2, False), (4, 7, False), (2, 2, True), (6, 6, True)],
    )
    def test_the_smallest_p_is_reached_by_the_clearest_result_and_never_undercut(
        self, n_a: int, n_b: int, paired: bool
    ) -> None:
        """All of b above all of a gives exactly smallest_p, for equal and unequal groups; random groups no less."""
        generator = np.random.default_rng(1)

        clearest = permutation(range(n_a), np.arange(n_b) * 1.1 + 100, paired=paired, generator=generator)

        assert clearest.p == pytest.approx(clearest.smallest_p)
        for _ in range(10):
            a, b = generator.normal(size=n_a), generator.normal(size=n_b)
            assert permutation(a, b, paired=paired, generator=generator).p >= clearest.smallest_p - 1e-12

    def test_many_seeds_are_permuted_at_random_and_repeatably(self) -> None:
        """10 and 10 allow 184,756 divisions: 9,999 are drawn, the same from the same generator."""
        a, b = np.arange(10.0), np.arange(10.0) + 50

        found = [permutation(a, b, paired=False, generator=np.random.default_rng(3)) for _ in range(2)]

        assert found[0] == found[1]
        assert found[0].p == pytest.approx(found[0].smallest_p) == pytest.approx(2 / 10_000)

    def test_a_against_a_is_seldom_called_different(self) -> None:
        """Of 400 fresh sets of 8 pairs that do not differ, at most 5 % (+ 2 for the simulation) are."""
        generator = np.random.default_rng(4)

        found = [permutation(*generator.normal(size=(2, 8)), paired=True, generator=generator).p for _ in range(400)]

        assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.07

    @pytest.mark.parametrize(
        ("a", "b", "paired", "message"),
        [
            ([1], [2, 3], False, "at least two values on each side, found 1 and 2"),
            ([1, 2], [1, 2, 3], True, "as many values on each side, found 2 and 3"),
            ([], [1, 2], False, "at least one value"),
            ([1, math.nan], [1, 2], True, "all finite"),
        ],
    )
    def test_what_cannot_be_permuted_is_refused(
        self, a: list[float], b: list[float], paired: bool, message: str
    ) -> None:
        """One seed, pairs that do not pair up, nothing, not a number."""
        with pytest.raises(ValueError, match=message):
            permutation(a, b, paired=paired, generator=np.random.default_rng(0))


def answers(
    generator: np.random.Generator, n_a: int, n_b: int, n_images: int, *, seeds: float, images: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Two groups without a true difference, on fresh images some of which are hard, some harder for one group.

    seeds, images: the spread (in logits) of the seeds' skill and of what an image is to a group, beyond its hardness.
    """
    hardness = generator.normal(4.0, 3.0, n_images)
    found = []
    for n in (n_a, n_b):
        logits = hardness + generator.normal(0, images, n_images) + generator.normal(0, seeds, (n, 1))
        found.append(generator.random((n, n_images)) < 1 / (1 + np.exp(-logits)))
    return found[0], found[1]


class TestBootstrap:
    """Images and seeds together."""

    @pytest.mark.parametrize("n", [3, 5, 10])
    @pytest.mark.parametrize(("seeds", "images"), [(0.02, 0.0), (0.02, 0.8), (0.1, 0.8), (0.4, 0.8)])
    def test_the_interval_covers_the_truth_on_other_images_with_other_seeds(
        self, n: int, seeds: float, images: float
    ) -> None:
        """Over 400 experiments, each with fresh seeds and images, 92 to 98 % (95, and 2.7 sd of the simulation)."""
        generator = np.random.default_rng(n)

        covered = 0
        for _ in range(400):
            a, b = answers(generator, n, n, 600, seeds=seeds, images=images)
            found = bootstrap(a, b, generator=generator, n_resamples=400)
            covered += found.low <= 0 <= found.high

        assert 0.92 <= covered / 400 <= 0.98

    @pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (4, 8)])
    @pytest.mark.parametrize(("seeds", "images"), [(0.02, 0.8), (0.3, 0.0), (0.3, 0.8)])
    def test_the_closed_variance_is_that_of_the_effects(self, n_a: int, n_b: int, seeds: float, images: float) -> None:
        """On average over 3,000 experiments the two squared errors add up to the variance of the effects themselves."""
        generator = np.random.default_rng(11)
        effects, variances = [], []
        for _ in range(3_000):
            a, b = answers(generator, n_a, n_b, 300, seeds=seeds, images=images)
            of_seeds, of_images, _ = two_way_errors(a, b)
            effects.append(b.mean() - a.mean())
            variances.append(of_seeds**2 + of_images**2)

        assert np.mean(variances) == pytest.approx(np.var(effects), rel=0.12)

    def test_the_interval_is_as_wide_as_the_closed_variance_says(self) -> None:
        """With many seeds and images it is 1.96 closed standard errors to each side, within the resampling's noise."""
        generator = np.random.default_rng(5)
        a, b = answers(generator, 40, 40, 2_000, seeds=0.2, images=0.8)

        found = bootstrap(a, b, generator=generator, n_resamples=8_000)

        assert found.effect == pytest.approx(b.mean() - a.mean())
        margin = 1.96 * math.hypot(found.seeds_error, found.images_error)
        assert (found.effect - found.low, found.high - found.effect) == pytest.approx((margin, margin), rel=0.06)

    def test_the_seeds_error_is_welchs(self) -> None:
        """Images apart, the standard error is the one behind `difference` on the same accuracies."""
        a, b = answers(np.random.default_rng(6), 4, 6, 500, seeds=0.3, images=0.5)

        found = bootstrap(a, b, generator=np.random.default_rng(0))

        test = ttest_ind(b.mean(axis=1), a.mean(axis=1), equal_var=False)
        assert found.seeds_error == pytest.approx(found.effect / test.statistic)

    def test_images_that_all_get_right_only_dilute(self) -> None:
        """As many images again on which all agree halve effect and interval, within the resampling's noise."""
        a, b = answers(np.random.default_rng(8), 5, 5, 1_000, seeds=0.3, images=0.8)
        longer_a, longer_b = (np.concatenate([group, np.ones((5, 1_000), bool)], axis=1) for group in (a, b))

        found = bootstrap(a, b, generator=np.random.default_rng(1))
        diluted = bootstrap(longer_a, longer_b, generator=np.random.default_rng(1))

        assert diluted.effect == pytest.approx(found.effect / 2)
        assert diluted.high - diluted.low == pytest.approx((found.high - found.low) / 2, rel=0.06)

    def test_the_same_generator_gives_the_same_interval(self) -> None:
        """A report made twice shows the same figures."""
        a, b = answers(np.random.default_rng(9), 3, 3, 200, seeds=0.1, images=0.5)

        found = [bootstrap(a, b, generator=np.random.default_rng(2)) for _ in range(2)]

        assert found[0] == found[1]

    @pytest.mark.parametrize("all_right", [False, True])
    def test_groups_with_equal_predictions_have_an_interval_around_their_effect(self, all_right: bool) -> None:
        """Nothing to resample, whether b equals a or has all that a lacks: a thin interval, no division by 0."""
        a = np.zeros((3, 50), bool)
        b = np.full((3, 50), all_right)

        found = bootstrap(a, b, generator=np.random.default_rng(0))

        assert isinstance(found, Bootstrapped)
        assert found.low < found.effect == all_right < found.high
        assert found.high - found.low < 2 / 50

    def test_ten_times_the_images_take_at_most_some_ten_times_as_long(self) -> None:
        """Processor time, the best of three tries: nothing grows with the square of the images."""

        def seconds(images: int) -> float:
            a, b = answers(np.random.default_rng(10), 10, 10, images, seeds=0.1, images=0.5)
            ticks = [time.process_time()]
            for _ in range(3):
                bootstrap(a, b, generator=np.random.default_rng(0))
                ticks.append(time.process_time())
            return min(after - before for before, after in pairwise(ticks))

        assert seconds(10_000) < 20 * seconds(1_000)

    @pytest.mark.parametrize(
        ("shape_a", "shape_b", "message"),
        [
            ((1, 50), (3, 50), "two seeds on each side, found 1 and 3; see mcnemar"),
            ((3, 50), (3, 49), "same images, found 50 and 49"),
            ((50,), (3, 50), r"shape \(seeds, images\)"),
            ((3, 0), (3, 0), "not empty"),
            ((3, 1), (3, 1), "at least two images"),
        ],
    )
    def test_what_cannot_be_resampled_is_refused(
        self, shape_a: tuple[int, ...], shape_b: tuple[int, ...], message: str
    ) -> None:
        """One seed, other images, a single run, nothing."""
        with pytest.raises(ValueError, match=message):
            bootstrap(np.ones(shape_a, bool), np.ones(shape_b, bool), generator=np.random.default_rng(0))

    def test_probabilities_and_too_few_resamples_are_refused(self) -> None:
        """Numbers in place of right and wrong, and quantiles of ten draws."""
        right = np.ones((3, 50), bool)

        with pytest.raises(ValueError, match="needs bool"):
            bootstrap(right * 0.5, right, generator=np.random.default_rng(0))
        with pytest.raises(ValueError, match="at least 100 resamples"):
            bootstrap(right, right, generator=np.random.default_rng(0), n_resamples=10)
