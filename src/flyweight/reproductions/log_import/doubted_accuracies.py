"""Accuracies that cannot be: of no whole number of images, or of a net that gives one class to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final

from flyweight.reproductions.document import Claim
from flyweight.tables import counted

# 9,949 of 10,000 is printed as 0.9948999881744385 by programs that divide in float32.
_FLOAT32_ERROR: Final = Fraction(1, 2**24)
SHARES_KEPT: Final = 100_000
_HUNDREDTH: Final = Fraction(1, 10_000)  # of a percent: the second decimal


def impossible(claim: Claim, images: int) -> str | None:
    """That a figure is neither rounded nor cut from any share of so many images, or not the one given beside it."""
    count = claim.images or images
    share, unit = exact(claim)
    if claim.correct is not None:
        of_images = Fraction(claim.correct, count)
        if _prints_as(of_images, share, unit):
            return None
        return f"{claim.reported} is not {claim.correct:,} of {count:,}, which is {_percent(of_images, unit)}"
    below = share * count // 1
    if any(_prints_as(Fraction(correct, count), share, unit) for correct in (below, below + 1)):
        return None
    nearest_two = " and ".join(
        f"{correct:,} ({_percent(Fraction(correct, count), unit)})" for correct in (below, below + 1)
    )
    right = f"{float(share * count):,.4f}".rstrip("0").rstrip(".")
    predictions = f"{counted(count, 'image')} is {right} correct prediction{'' if right == '1' else 's'}"
    return f"{claim.reported} of {predictions}; the nearest possible are {nearest_two}"


def exact(claim: Claim) -> tuple[Fraction, Fraction]:
    """The figure of an exact claim and one of its last digit, as shares."""
    digits = claim.reported.removesuffix(" %")
    return Fraction(digits) / 100, Fraction(1, 100 * 10 ** len(digits.partition(".")[2]))


def _prints_as(share: Fraction, printed: Fraction, unit: Fraction) -> bool:
    """Whether a share is printed like that: rounded or cut off at its last digit, divided in float32 or better."""
    return printed - unit / 2 - _FLOAT32_ERROR <= share and (
        share < printed + unit or share <= printed + _FLOAT32_ERROR
    )


def _percent(share: Fraction, unit: Fraction) -> str:
    """A share with one digit more than was printed, as far as it needs it."""
    decimals = len(str(unit.denominator)) - 2
    text = f"{float(100 * share):.{min(decimals, 12)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def constant(claim: Claim, known: Sequence[tuple[str, tuple[int, ...]]]) -> str | None:
    """That an accuracy is, to two decimals, the share of a class: what its name gives for every image gets."""
    share, unit = exact(claim)
    if unit > _HUNDREDTH:
        return None
    found = _classes_with(share, claim.images, tuple(known))
    if not found:
        return None
    return f"{claim.reported} is what a net gets that predicts one class for every image: {', '.join(found)}"


@lru_cache(maxsize=SHARES_KEPT)
def _classes_with(
    share: Fraction, n_images: int | None, known: tuple[tuple[str, tuple[int, ...]], ...]
) -> tuple[str, ...]:
    """The classes whose share is that, in words."""
    return tuple(
        f"always {label} is right for {count:,} of {images.format(sum(counts))}"
        for images, counts in known
        for label, count in enumerate(counts)
        if n_images in (None, sum(counts)) and _is_same_to_two_decimals(share, Fraction(count, sum(counts)))
    )


def _is_same_to_two_decimals(share: Fraction, other: Fraction) -> bool:
    return abs(share - other) <= _HUNDREDTH / 2
