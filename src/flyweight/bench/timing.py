"""Contenders take turns, so that other load of the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def alternate(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each contender per round; they run in turn, after `warm_up` rounds that do not count.

    >>> found = alternate({"a": lambda: None, "b": lambda: None}, rounds=3)
    >>> [len(seconds) for seconds in found.values()]
    [3, 3]
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        for name, work in contenders.items():
            taken = seconds_of(work)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
