"""Two accuracies as shares of images: how sure it is that they differ, and how large a difference so many images show.

For figures alone. Which images each run got right is not known here; where it is, `evidence.effect.mcnemar` says more.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Final

DIFFERENCES_KEPT: Final = 100_000
_HALVINGS: Final = 60  # of an interval of at most 1: beyond the precision of a float


def p_of_difference(right_a: int, n_a: int, right_b: int, n_b: int) -> float:
    """The two-sided p of `right_a` of `n_a` against `right_b` of `n_b`, the images being different ones.

    The chi-squared test with N - 1 (E. Pearson 1947), and Fisher's with Irwin's rule (1935) where a cell is expected to
    hold less than one: the choice that Campbell (2007) found to keep its level and most of the power.

    >>> f"{p_of_difference(9917, 10_000, 9946, 10_000):.4f}"
    '0.0129'
    """
    total, right = n_a + n_b, right_a + right_b
    wrong = total - right
    if not right or not wrong:
        return 1.0
    if min(right, wrong) * min(n_a, n_b) < total:
        # The rarer of the two has the fewer splits.
        return _exact_p(right_b, right, n_b, total) if right < wrong else _exact_p(n_b - right_b, wrong, n_b, total)
    # In whole numbers until the last division.
    crossed = right_a * (n_b - right_b) - right_b * (n_a - right_a)
    chi_squared = (total - 1) * crossed**2 / (n_a * n_b * right * wrong)
    return math.erfc(math.sqrt(chi_squared / 2))


def _exact_p(found: int, of_kind: int, drawn: int, total: int) -> float:
    """The sum of the chances of all splits that are no likelier than `found` of a kind among those drawn."""
    least, most = max(0, drawn - (total - of_kind)), min(of_kind, drawn)
    chances = {
        k: math.exp(_log_choose(of_kind, k) + _log_choose(total - of_kind, drawn - k) - _log_choose(total, drawn))
        for k in range(least, most + 1)
    }
    # Equal chances differ in the last digits of their logarithms.
    return min(1.0, math.fsum(chance for chance in chances.values() if chance <= chances[found] * (1 + 1e-7)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@lru_cache(maxsize=DIFFERENCES_KEPT)
def shown_difference(
    share: float, n_a: int, n_b: int, *, is_rise: bool, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest true difference from `share` that n_a and n_b images show at p <= alpha in `power` of the cases.

    Fleiss, Levin and Paik (2003), section 4.2, without their correction for continuity, which the test above has not.
    None where not even all images right, or none, would do.

    >>> f"{shown_difference(0.99, 10_000, 10_000, is_rise=True):.4f}"
    '0.0036'
    """
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)

    def is_shown(difference: float) -> bool:
        other = share + difference if is_rise else share - difference
        pooled = (n_a * share + n_b * other) / (n_a + n_b)
        alike = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
        apart = share * (1 - share) / n_a + other * (1 - other) / n_b
        return difference >= z_alpha * math.sqrt(max(0.0, alike)) + z_power * math.sqrt(max(0.0, apart))

    low, high = 0.0, 1 - share if is_rise else share
    if high <= 0 or not is_shown(high):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high
