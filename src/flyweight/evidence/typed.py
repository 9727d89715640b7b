"""Numbers of parameters that a person wrote, held against the number that was counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_AT_MOST: Final = ("under", "below", "less than", "fewer than", "at most", "up to", "within", "<", "<=", "≤")
_AT_LEAST: Final = ("over", "above", "more than", "at least", ">", ">=", "≥")
_THOUSANDS: Final = {"": 1, "k": 1_000, "m": 1_000_000}

_TYPED: Final = re.compile(
    rf"(?P<limit>{'|'.join(map(re.escape, sorted((*_AT_MOST, *_AT_LEAST), key=len, reverse=True)))})?\s*"
    r"(?<![\w.,])(?P<number>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)\s?(?P<unit>[kKmM]?)\s*"
    r"(?:trainable |learnable )?(?:parameters|params)\b",
    re.IGNORECASE,
)


def typed_otherwise(text: str, params: int) -> Iterator[str]:
    """The counts of parameters in a text that cannot be `params`; rounded ones and limits are taken as such.

    >>> list(typed_otherwise("19,348 parameters, under 20,000 parameters, 19.4k params", 19_378))
    ['19,348 parameters']
    """
    for match in _TYPED.finditer(text):
        if not _may_be(match, params):
            yield " ".join(match[0].split())


def _may_be(match: re.Match[str], params: int) -> bool:
    digits, unit = match["number"].replace(",", ""), _THOUSANDS[match["unit"].lower()]
    typed = float(digits) * unit
    limit = (match["limit"] or "").lower()
    if limit in _AT_MOST:
        return params <= typed
    if limit in _AT_LEAST:
        return params >= typed
    # The value of the last digit that was written: 19.4k is right for 19,350 to 19,449, and cut off for 19,499 too.
    last_digit = unit / 10 ** len(digits.partition(".")[2])
    return params == typed if last_digit == 1 else abs(params - typed) < last_digit
