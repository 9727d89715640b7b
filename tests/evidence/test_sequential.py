"""Asking more than once: Holm against worked examples, the level for many looks against Pocock and fresh simulation."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.evidence.effect import difference
from flyweight.evidence.sequential import holm, sequential_level

P_VALUES = st.lists(st.none() | st.floats(0, 1), max_size=25)


def test_holm_is_the_worked_example_of_pingouin() -> None:
    """The example in the manual of pingouin.multicomp (Vallat 2018)."""
    found = holm([0.50, 0.003, 0.32, 0.054, 0.0003])

    assert found == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])


def test_holm_by_hand() -> None:
    """Times 4, 3, 2 and 1 from the smallest up, never less than the one before: 0.03 · 2 = 0.06 lifts 0.04 · 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(P_VALUES)
@settings(max_examples=100, deadline=None)
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: list[float | None]) -> None:
    """Adjusted values are in the order of the p values, at least as large, at most n times; None is left out."""
    found = holm(p_values)

    tested = [p for p in p_values if p is not None]
    assert [p is None for p in found] == [p is None for p in p_values]
    assert holm(tested) == [p for p in found if p is not None]
    pairs = sorted((p, q) for p, q in zip(p_values, found, strict=True) if p is not None and q is not None)
    assert all(p <= q <= min(1, len(tested) * p + 1e-12) for p, q in pairs)
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, math.nan])
def test_holm_refuses_what_is_no_p_value(wrong: float) -> None:
    """A NaN would sort anywhere and spoil its neighbours in silence."""
    with pytest.raises(ValueError, match=r"p values within 0\.\.1"):
        holm([0.5, wrong])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_journey_of_nothing_claims_nothing(n: int) -> None:
    """18 steps, each against its parent's seeds, none better: at most 5 % of 3,000 journeys claim anything.

    Expected 2 % (3 seeds), 3 % (5) and 4 % (10); the sd of the simulation is 0.4 points at 5 %. Unadjusted, half would.
    """
    journeys = np.round(np.random.default_rng(n).normal(0.994, 0.0005, (3_000, 19, n)), 4)

    claimed = unadjusted = 0
    for journey in journeys:
        p_values = [difference(a, b, resolution=1e-4).p for a, b in pairwise(journey)]
        assert len(p_values) == 18
        claimed += any(p is not None and p <= 0.05 for p in holm(p_values))
        unadjusted += any(p is not None and p <= 0.05 for p in p_values)

    assert claimed / 3_000 <= 0.05
    assert unadjusted / 3_000 > 0.4


@pytest.mark.parametrize(("looks", "level"), [(2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158), (10, 0.0106)])
def test_the_level_of_large_groups_is_pococks(looks: int, level: float) -> None:
    """Pocock 1977, table 1 (alpha .05, spread known): the nominal level for equally many seeds more at each look."""
    found = sequential_level([(2_000 * look, 2_000 * look) for look in range(1, looks + 1)])

    assert found == pytest.approx(level, rel=0.06)


@pytest.mark.parametrize(
    "looks",
    [
        [(n, n) for n in range(3, 11)],
        [(n, n) for n in range(5, 31, 5)],
        [(3, 3), (6, 6)],
        [(10, 3), (10, 4), (10, 6), (10, 10)],
    ],
    ids=["3 to 10", "5 to 30 by 5", "once more", "catching up"],
)
def test_looking_again_and_again_errs_as_often_as_a_single_look(looks: list[tuple[int, int]]) -> None:
    """In 8,000 fresh comparisons of nothing, stopped at the first look below the level, 4.2 to 5.6 % are stopped.

    The sd of the simulation is 0.24 points. Stopping at p <= 0.05 would err in more than 6.5 %.
    """
    generator = np.random.default_rng(123)
    n_a, n_b = looks[-1]
    level = sequential_level(looks)

    least = []
    for a, b in zip(generator.normal(size=(8_000, n_a)), generator.normal(size=(8_000, n_b)), strict=True):
        least.append(min(difference(a[:so_far], b[:as_far]).p or 0.0 for so_far, as_far in looks))

    assert 0.042 <= np.mean(np.array(least) <= level) <= 0.056
    assert np.mean(np.array(least) <= 0.05) > 0.065


def test_a_single_look_is_no_reason_to_ask_for_less() -> None:
    """Welch's test of three seeds errs less than it may; the level is never raised above alpha for it."""
    assert sequential_level([(3, 3)]) == 0.05
    assert sequential_level([(3, 3)], alpha=0.01) == 0.01


def test_each_further_look_costs() -> None:
    """The level falls with every look that is planned, and is the same each time it is asked for."""
    found = [sequential_level([(n, n) for n in range(3, last + 1)]) for last in range(4, 12)]

    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found == [sequential_level(tuple((n, n) for n in range(3, last + 1))) for last in range(4, 12)]


def test_a_requested_plan_is_stored() -> None:
    """The second time it costs less than a tenth of the first, in processor time; the best of three plans."""
    first, again = [], []
    for ahead in (1, 2, 3):
        looks = [(n, n + ahead) for n in range(3, 11)]
        start = time.process_time()
        sequential_level(looks)
        middle = time.process_time()
        sequential_level(looks)
        first.append(middle - start)
        again.append(time.process_time() - middle)

    assert min(again) < max(first) / 10


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ([], "two or more seeds"),
        ([(1, 3)], "two or more seeds"),
        ([(3, 3), (2, 4)], "only add seeds"),
        ([(3, 3), (3, 3)], "only add seeds"),
    ],
)
def test_looks_that_are_none_are_refused(looks: list[tuple[int, int]], message: str) -> None:
    """No look, a single seed, a group that shrinks, the same look twice."""
    with pytest.raises(ValueError, match=message):
        sequential_level(looks)


def test_an_alpha_is_a_fraction() -> None:
    """5 instead of 0.05 is refused."""
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        sequential_level([(3, 3)], alpha=5)
