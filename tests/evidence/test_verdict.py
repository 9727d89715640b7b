"""Verdicts as pure functions of figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.evidence.effect import Effect, difference
from flyweight.evidence.verdict import KINDS, judge, kind_of

ACCURACIES = st.lists(st.integers(9_800, 10_000).map(lambda n: n / 10_000), min_size=1, max_size=6)


@given(ACCURACIES, ACCURACIES, st.sampled_from([(), ("lr",), ("lr", "net")]), st.sampled_from([0.05, 0.0153]))
def test_a_verdict_and_its_interval_never_disagree(a, b, factors, level) -> None:
    """At the level of the verdict, 0 lies outside the interval exactly if a difference is claimed."""
    effect = difference(a, b, resolution=1e-4, confidence=1 - level)

    found = judge(effect, p=effect.p, level=level, factors=factors)

    claimed = found.kind in ("better", "worse", "confounded")
    assert found.kind in KINDS
    assert found.sentence.startswith(found.kind)
    if min(len(a), len(b)) < 2:
        assert found.kind == "one seed"
    else:
        assert claimed == (not effect.low <= 0 <= effect.high)


def test_one_seed_is_never_a_difference_over_seeds() -> None:
    """Even if somebody hands in a p."""
    effect = difference([0.9], [0.99])

    assert kind_of(effect, p=1e-9, level=0.05, factors=("lr",)) == "one seed"


def test_a_p_that_was_adjusted_decides() -> None:
    """The effect's own p does not, once others were asked about with it."""
    effect = difference([0.980, 0.981, 0.982], [0.990, 0.991, 0.992])

    assert kind_of(effect, p=effect.p, level=0.05, factors=()) == "better"
    assert kind_of(effect, p=0.06, level=0.05, factors=()) == "no evidence"


@pytest.mark.parametrize(("level", "reported"), [(0.05, "95% interval"), (0.0153, "98.5% interval")])
def test_the_interval_is_called_by_its_confidence(level: float, reported: str) -> None:
    """A plan with many looks asks for more, and says so."""
    effect: Effect = difference([0.980, 0.981, 0.982], [0.990, 0.991, 0.992], confidence=1 - level)

    assert reported in judge(effect, p=effect.p, level=level).sentence
