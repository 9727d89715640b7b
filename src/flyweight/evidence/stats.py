"""How sure an accuracy is: the interval of one run from its counts, and of several seeds from their spread.

Goes in: plain numbers. Comes out: plain numbers. What was trained, and where it is recorded, is not known here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several values of the same thing. One value has no spread: then sd, low and high are None."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    minimum: float
    maximum: float


def wilson(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (Wilson 1927) of the proportion `correct` of `count`.

    It stays inside 0..1 and keeps a width at 0 and at `count`, where the usual normal interval has none.

    >>> low, high = wilson(9_940, 10_000)
    >>> f"{low:.4f} {high:.4f}"
    '0.9923 0.9953'

    Raises:
        ValueError: counts that no experiment can give.
    """
    if count < 1 or not 0 <= correct <= count:
        raise ValueError(f"wilson needs 0 <= correct <= count and count >= 1, found {correct} of {count}.")
    _check_confidence(confidence)
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # 0.7 s: only who asks pays

    interval = binomtest(int(correct), int(count)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Summary:
    """Mean, sample standard deviation (n - 1), extremes, and Student's t interval of the mean.

    >>> found = mean_interval([0.994, 0.995, 0.996])
    >>> f"{found.mean:.4f} {found.sd:.4f} {found.low:.4f} {found.high:.4f}"
    '0.9950 0.0010 0.9925 0.9975'

    Raises:
        ValueError: no values, or one that is not a finite number.
    """
    found = [float(value) for value in values]
    if not found or not all(map(math.isfinite, found)):
        raise ValueError(f"mean_interval needs at least one value, all finite, found {found}.")
    _check_confidence(confidence)
    mean, sd = statistics.fmean(found), _sample_sd(found)
    margin = None if sd is None else _t_quantile(confidence, len(found) - 1) * sd / math.sqrt(len(found))
    return Summary(
        n=len(found),
        mean=mean,
        sd=sd,
        low=None if margin is None else mean - margin,
        high=None if margin is None else mean + margin,
        minimum=min(found),
        maximum=max(found),
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}.")


def _sample_sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """How many standard errors the two-sided interval reaches to each side."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # the same quantile as scipy.stats.t, far lighter

    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))
