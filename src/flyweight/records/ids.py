"""Ids of runs: 20 characters that sort by time, need no coordination, and are valid folder names.

Nine characters of milliseconds since 1970 and eleven of randomness, in Crockford's base 32 (no i, l, o, u), lowercase.
Two processes that start a run in the same millisecond collide once in 2^55 tries.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TIME_LENGTH = 9  # 45 bits of milliseconds: until the year 3084
RANDOM_LENGTH = 11
LENGTH = TIME_LENGTH + RANDOM_LENGTH
SHORT_ID = 12  # characters of an id in texts; every command takes them. JSON, CSV and folders have the whole id.

_RANDOM_BITS = 5 * RANDOM_LENGTH
_MISREADINGS = str.maketrans("ilo", "110")


class RunIds:
    """Creates increasing ids, even if the clock stops or is set back."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = -1
        self._pid = os.getpid()

    def new(self) -> str:
        """The next id."""
        with self._lock:
            drawn = (self._clock() // 1_000_000 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
            # A forked child must not continue from the last id of its parent, which would collide.
            if self._pid != os.getpid():
                self._pid, self._last = os.getpid(), -1
            self._last = max(drawn, self._last + 1)
            return encode(self._last, LENGTH)


new_run_id = RunIds().new


def encode(number: int, length: int) -> str:
    """A number as `length` characters of base 32, most significant first.

    >>> encode(33, 4)
    '0011'
    """
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def normalised(text: str) -> str:
    """Typed text as an id: lowercase, with o read as 0, i and l as 1.

    >>> normalised(" 1O4L")
    '1041'
    """
    return text.strip().lower().translate(_MISREADINGS)


def is_run_id(text: str) -> bool:
    """Whether the text is a whole run id."""
    return len(text) == LENGTH and all(character in ALPHABET for character in text)
