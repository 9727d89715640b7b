"""Accuracies that a person wrote, held against those that were measured.

Goes in: a text and figures. Comes out: what of the text cannot be one of them. A percentage that may be something else
than an accuracy of the result, a goal, a difference, a figure of some epoch, is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flyweight.records.results import Split

_ABOVE: Final = ("over", "above", "more than", ">")
_AT_LEAST: Final = ("at least", ">=", "≥")
_BELOW: Final = ("under", "below", "less than", "<")
_AT_MOST: Final = ("at most", "up to", "<=", "≤")
_ABOUT: Final = ("about", "around", "roughly", "nearly", "almost", "approximately", "some", "~", "≈")
_SENSES: Final = sorted((*_ABOVE, *_AT_LEAST, *_BELOW, *_AT_MOST, *_ABOUT), key=len, reverse=True)

_FIGURE: Final = re.compile(
    rf"(?P<sense>{'|'.join(map(re.escape, _SENSES))})?\s*"
    r"(?<![\w.,+-])(?P<digits>\d{1,3}(?:\.\d+)?)\s?(?:%|percent\b)",
    re.IGNORECASE,
)
# Where one thought ends and the next begins; not the point in 99.4.
_CLAUSES: Final = re.compile(r"[;()\n]|[.,!?:](?=\s|$)")
_SPLITS: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "held-out": "validation",
    "test": "test",
}
# A clause with a word that is not among these says more than how good the result is.
# fmt: off
_PLAIN: Final = frozenset((
    "a", "accuracy", "an", "and", "at", "final", "got", "gave", "gives", "has", "have", "images", "is", "it", "its",
    "made", "makes", "net", "now", "of", "on", "our", "reached", "reaches", "result", "right", "set", "the", "this",
    "was", "we", "with",
))
# fmt: on


def typed_otherwise(text: str, accuracies: Mapping[Split, Sequence[float]]) -> Iterator[str]:
    """The accuracies in a text that none of the measured ones, fractions by split, can be.

    A figure of no named split may be of the validation or the test images.

    >>> measured = {"test": [0.9938], "validation": [0.9924]}
    >>> list(typed_otherwise("Test accuracy 99.5 %, at least 99 %, on the way to 99.9 %.", measured))
    ['99.5 %']
    """
    for clause in _CLAUSES.split(text):
        figures = list(_FIGURE.finditer(clause))
        if len(figures) != 1:
            continue
        splits = _splits_meant(_FIGURE.sub(" ", clause))
        measured = [value for split in splits for value in accuracies.get(split, ())]
        if measured and not any(_may_be(figures[0], value) for value in measured):
            yield " ".join(figures[0][0].split())


def _splits_meant(words: str) -> tuple[Split, ...]:
    """The splits that a clause speaks of; none where it says something else as well."""
    found = words.lower().split()
    if any(word not in _PLAIN and word not in _SPLITS for word in found):
        return ()
    return tuple(_SPLITS[word] for word in found if word in _SPLITS) or ("validation", "test")


def _may_be(figure: re.Match[str], accuracy: float) -> bool:
    """Right when rounded or cut off where the digits end, or on the side that the words say."""
    typed, unit = float(figure["digits"]), 10.0 ** -len(figure["digits"].partition(".")[2])
    percent, slack = 100 * accuracy, 1e-9
    match (figure["sense"] or "").lower():
        case sense if sense in _ABOVE:
            return percent > typed - slack
        case sense if sense in _AT_LEAST:
            return percent >= typed - slack
        case sense if sense in _BELOW or sense in _AT_MOST:
            return percent <= typed + slack
        case sense if sense in _ABOUT:
            return abs(percent - typed) <= unit + slack
    return typed - unit / 2 - slack <= percent < typed + unit
