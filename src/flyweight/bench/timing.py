"""Contenders take turns, so that whatever else the machine does meets all of them; medians, quartiles, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one contender over several rounds."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between them lies the middle half of the rounds; with one round both are its seconds."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def alternate(contenders: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Let each contender work once per round, in turn, after `warm_up` rounds that do not count.

    >>> found = alternate({"a": lambda: None, "b": lambda: None}, rounds=3)
    >>> [len(timing.seconds) for timing in found.values()]
    [3, 3]
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(name=name, seconds=tuple(taken)) for name, taken in seconds.items()}
