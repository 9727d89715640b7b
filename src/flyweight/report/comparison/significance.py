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
                means="Would other seeds of the same recipes differ too? Were the recipes equally good, chance alone "
                f"would part them this far in {_share(effect.p)} of all such comparisons.",
            )
        )
    if permuted is not None:
        found.append(
            Test(
                name="permutation of the seeds",
                p=p_value(permuted.p),
                means="The same question without supposing a bell curve: the results are dealt to the two recipes "
                f"anew, and it is counted how often they part this far. So few seeds can give no p below "
                f"{permuted.smallest_p:.2g}.",
            )
        )
    if images is not None and images.bootstrap is not None:
        resampled = images.bootstrap
        leads = "images" if resampled.images_error > resampled.seeds_error else "seeds"
        more = (
            "more seeds would not settle it, more images would" if leads == "images" else "more seeds make it tighter"
        )
        found.append(
            Test(
                name="bootstrap over images and seeds",
                reach=f"{confidence(comparison.level)} interval {range_in_points(resampled.low, resampled.high)}",
                means="Would it hold for other images as well? Images and seeds are drawn anew, thousands of times. "
                f"Most of this width comes from the {leads}: {more}.",
            )
        )
    if images is not None and images.mcnemar is not None:
        nets = images.mcnemar
        found.append(
            Test(
                name="McNemar's exact test of two nets",
                p=p_value(nets.p),
                means="Only the images on which these two nets disagree can distinguish them: the first alone gets "
                f"{nets.only_a} of them, the second {nets.only_b}. It says nothing about other seeds of the recipes.",
            )
        )
    return found


def _share(p: float) -> str:
    """A probability in words that need no statistics.

    >>> _share(0.5), _share(0.012), _share(0.00001)
    ('about 50%', 'about 1.2%', 'less than 0.1%')
    """
    return "less than 0.1%" if p < 0.001 else f"about {p:.0%}" if p >= 0.1 else f"about {p:.1%}"
