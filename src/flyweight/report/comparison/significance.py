"""The tests of a comparison as a table for its page: each with its result and what it means."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.evidence.compare import Comparison
from flyweight.evidence.verdict import interval, p_value
from flyweight.report.comparison.text import confidence, range_in_points


@dataclass(frozen=True, kw_only=True)
class Test:
    """One way to ask whether the difference is more than chance, with its result and what it means."""

    name: str
    means: str
    reach: str = ""
    p: str = ""


def tests_of(comparison: Comparison) -> list[Test]:
    """Every test that could be made, the one of the verdict first."""
    effect, permuted, images = comparison.effect, comparison.permutation, comparison.images
    found = []
    if effect is not None and effect.p is not None:
        found.append(
            Test(
                name="Welch's t test over seeds",
                reach=interval(effect, level=comparison.level),
                p=p_value(effect.p),
                means="Would other seeds of the same recipes differ too? If both recipes were equally good, chance "
                f"alone would give a difference this large in {_share(effect.p)} of such comparisons.",
            )
        )
    if permuted is not None:
        found.append(
            Test(
                name="permutation of the seeds",
                p=p_value(permuted.p),
                means="The same question without assuming a normal distribution: the results are shuffled between "
                "the two recipes, and p says how often the difference is then this large. The smallest p that so few "
                f"seeds can give is {permuted.smallest_p:.2g}.",
            )
        )
    if images is not None and images.bootstrap is not None:
        resampled = images.bootstrap
        leads = "images" if resampled.images_error > resampled.seeds_error else "seeds"
        more = "more test images would make it narrower" if leads == "images" else "more seeds make it narrower"
        found.append(
            Test(
                name="bootstrap over images and seeds",
                reach=f"{confidence(comparison.level)} interval {range_in_points(resampled.low, resampled.high)}",
                means="Would other test images give the same? Images and seeds are drawn again, thousands of times. "
                f"Most of the width of the interval comes from the {leads}: {more}.",
            )
        )
    if images is not None and images.mcnemar is not None:
        nets = images.mcnemar
        found.append(
            Test(
                name="McNemar's exact test of two nets",
                p=p_value(nets.p),
                means=f"Uses only the images on which these two nets disagree: {nets.only_a} are correct with the "
                f"first net only, {nets.only_b} with the second only. It says nothing about other seeds.",
            )
        )
    return found


def _share(p: float) -> str:
    """A probability in words that need no statistics.

    >>> _share(0.5), _share(0.012), _share(0.00001)
    ('about 50%', 'about 1.2%', 'less than 0.1%')
    """
    return "less than 0.1%" if p < 0.001 else f"about {p:.0%}" if p >= 0.1 else f"about {p:.1%}"
