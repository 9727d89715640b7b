"""What seeds can show: how often an effect would be found, the smallest worth hoping for, and how many seeds it needs.

Goes in: effect and spread over seeds, in the same unit. All speak of Welch's two-sided test (`effect.difference`)
between two groups of n seeds each with equal spread. What a seed costs is not known here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from flyweight.evidence.stats import check_fraction

Floats = npt.NDArray[np.float64]

# Nodes of the averages below; doubling them moves no power by 0.001.
RATIOS, PILOTS = 32, 64

# Effects are sought in steps of a ten-thousandth of a standard error, up to a thousand of them.
STEP, STEPS = 1e-4, 10_000_000


def power(effect: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """How often `n` seeds a group would show a true effect, at p <= alpha.

    >>> f"{power(0.003, 0.0015, 5):.2f} {power(0.003, 0.0015, 8):.2f}"
    '0.77 0.96'

    Raises:
        ValueError: n below 2, an sd that is not above 0, or an alpha that is no fraction.
    """
    _check(effect, sd, alpha)
    if n < 2:
        raise ValueError(f"power needs at least two seeds a group, found {n}.")
    return float(_found(np.array([abs(effect) / sd * math.sqrt(n / 2)]), n, alpha)[0])


def smallest_effect(sd: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest effect that `n` seeds a group would show with the given power; None for a single seed.

    For unequal groups the smaller n is the careful answer.

    >>> f"{smallest_effect(0.0005, 3):.4f} {smallest_effect(0.0005, 8):.4f}"
    '0.0018 0.0008'

    Raises:
        ValueError: an sd that is not above 0, an alpha or a power that is no fraction.
    """
    _check(0.0, sd, alpha)
    check_fraction(power, "power")
    return None if n < 2 else sd * _smallest_standardized(n, alpha, power)


def seeds_needed(
    effect: float,
    sd: float,
    *,
    degrees_of_freedom: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    max_n: int = 1000,
) -> int | None:
    """How many seeds a group an effect needs to be shown with the given power; None when more than `max_n`.

    An sd from few seeds is itself a guess. Given its degrees of freedom (n_a + n_b - 2 for `Effect.sd`), this asks for
    as many seeds as keep the promise on average over all the true spreads that could have given this sd, which is on
    average over the sampling error of the pilot too (Julious and Owen 2006, here for Welch's test and any n). From
    pilots of 3 and 3 seeds an effect is found in 81 % or more, whatever its size; taking their sd at its word, in 69 %.

    That is for new seeds. Those of the pilot may be used again, but then this was a second look: testing it once more
    at 0.05 would err in up to 6.6 % (see `sequential.sequential_level`).

    >>> seeds_needed(0.003, 0.0015), seeds_needed(0.003, 0.0015, degrees_of_freedom=4)
    (6, 8)

    Raises:
        ValueError: an sd or degrees of freedom not above 0, an alpha or a power that is no fraction.
    """
    _check(effect, sd, alpha)
    check_fraction(power, "power")
    if degrees_of_freedom is not None and not degrees_of_freedom > 0:
        raise ValueError(f"degrees_of_freedom must be above 0, or None for a known sd, found {degrees_of_freedom}.")
    distances = abs(effect) / (sd * _possible_spreads(degrees_of_freedom))
    counts = range(2, max_n + 1)
    place = bisect_left(counts, power, key=lambda n: float(_found(distances * math.sqrt(n / 2), n, alpha).mean()))
    return counts[place] if place < len(counts) else None


def _check(effect: float, sd: float, alpha: float) -> None:
    check_fraction(alpha, "alpha")
    if not math.isfinite(effect):
        raise ValueError(f"effect must be a finite number, found {effect}.")
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"sd must be a finite number above 0, found {sd}.")


@lru_cache(maxsize=256)
def _smallest_standardized(n: int, alpha: float, power: float) -> float:
    """The smallest effect in units of sd."""
    steps = bisect_left(range(STEPS), power, key=lambda step: float(_found(np.array([step * STEP]), n, alpha)[0]))
    return steps * STEP / math.sqrt(n / 2)


def _possible_spreads(degrees_of_freedom: float | None) -> Floats:
    """Equally likely true sds, as multiples of the one estimated: sqrt(df / chi²)."""
    if degrees_of_freedom is None:
        return np.ones(1)
    from scipy.special import chdtri  # type: ignore[import-untyped]

    return np.asarray(np.sqrt(degrees_of_freedom / chdtri(degrees_of_freedom, _middles(PILOTS))))


def _found(distance: Floats, n: int, alpha: float) -> Floats:
    """The chance that Welch's test finds effects `distance` standard errors from 0, both tails.

    With equal groups Welch's statistic is Student's, with 2n - 2 degrees of freedom, and its own degrees of freedom
    hang only on the share of one group in the two variances: beta distributed, independent of the statistic.
    """
    from scipy.special import betaincinv, nctdtr, stdtrit

    share = betaincinv((n - 1) / 2, (n - 1) / 2, _middles(RATIOS))
    critical = stdtrit((n - 1) / (share**2 + (1 - share) ** 2), 1 - alpha / 2)
    distance = distance[:, None]
    # nctdtr gives NaN in place of chances below 1e-16.
    within = np.nan_to_num(nctdtr(2 * n - 2, distance, critical)) - np.nan_to_num(
        nctdtr(2 * n - 2, distance, -critical)
    )
    return np.asarray(1 - within.mean(axis=1))


def _middles(count: int) -> Floats:
    """The middles of `count` equal parts of 0..1: quantiles at these are equally likely values."""
    return (np.arange(count) + 0.5) / count
