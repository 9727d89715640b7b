"""How sure a change is that was tried seed by seed: value i before and value i after belong to the same seed.

Goes in: plain numbers. Comes out: after - before as a fraction with its interval and p. A seed has the same first
weights, order and augmentation before and after, so what it brings to both falls out of their difference; where
nothing is shared by a pair, `effect.difference` is the test.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from flyweight.evidence.stats import check_fraction, finite_values, mean_and_variance, t_test


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of after - before over `n` pairs, with Student's interval and two-sided p.

    low, high and p are None where no spread is known: one pair, or pairs that all differ alike and no resolution to go
    by. sd: of the differences.
    """

    effect: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    sd: float | None


def paired(
    before: Sequence[float], after: Sequence[float], *, resolution: float = 0.0, confidence: float = 0.95
) -> Paired:
    """The effect mean(after - before) by the t test for pairs (Student 1908).

    Args:
        resolution: one image of those measured on, 1 / count. Both values of a pair are rounded to it, so differences
            cannot spread less than two roundings do (variance 2 resolution² / 12), and equal ones keep an interval.

    >>> found = paired([0.980, 0.982, 0.981], [0.990, 0.991, 0.993])
    >>> f"{found.effect:.4f} [{found.low:.4f}, {found.high:.4f}] p = {found.p:.3f}"
    '0.0103 [0.0065, 0.0141] p = 0.007'

    Raises:
        ValueError: no pairs, values without a partner, or one that is not a finite number.
    """
    found_before, found_after = finite_values(before, "paired"), finite_values(after, "paired")
    if len(found_before) != len(found_after):
        raise ValueError(f"paired needs as many values after as before, found {len(after)} and {len(before)}.")
    check_fraction(confidence, "confidence")
    if not 0 <= resolution < 1:
        raise ValueError(f"resolution must be one image of those measured on, 1 / count, found {resolution}.")
    n = len(found_before)
    effect, variance = mean_and_variance([b - a for a, b in zip(found_before, found_after, strict=True)])
    if variance is not None:
        # 0.9 - 0.8 is not quite 0.3 - 0.2: what differs by rounding alone does not differ.
        rounding = 4 * sys.float_info.epsilon * max(map(abs, (*found_before, *found_after)))
        variance = max(variance if variance > rounding**2 else 0.0, resolution**2 / 6)
    test = t_test(effect, math.sqrt(variance / n), n - 1, confidence=confidence) if variance else (None, None, None)
    low, high, p = test
    return Paired(effect=effect, low=low, high=high, p=p, n=n, sd=None if variance is None else math.sqrt(variance))


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much the share of right answers changes on the same images, with its interval.

    gained, lost: images that only the second, or only the first, gets right.
    """

    difference: float
    low: float
    high: float
    gained: int
    lost: int
    count: int


def paired_difference(gained: int, lost: int, count: int) -> PairedDifference:
    """The change and its 95 % interval by the adjusted Wald method of Agresti and Min (2005), which adds half an image
    to each cell of the table and so keeps a width where no image differs.

    >>> found = paired_difference(1, 3, 10_000)
    >>> f"{found.difference:.4%} [{found.low:.3%}, {found.high:.3%}]"
    '-0.0200% [-0.064%, 0.024%]'

    Raises:
        ValueError: counts that no comparison can give.
    """
    if count < 1 or min(gained, lost) < 0 or gained + lost > count:
        raise ValueError(f"paired_difference needs gained + lost <= count, found {gained}, {lost} and {count}.")
    up, down, n = gained + 0.5, lost + 0.5, count + 2
    middle = (up - down) / n
    margin = 1.959964 * math.sqrt(up + down - (up - down) ** 2 / n) / n
    return PairedDifference(
        difference=(gained - lost) / count,
        low=middle - margin,
        high=middle + margin,
        gained=gained,
        lost=lost,
        count=count,
    )
