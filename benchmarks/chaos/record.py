"""The record of the trials: for each part how many were tried and held, and what did not hold, in words."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from flyweight import __version__, files

MAX_MISSES: Final = 50


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of trial. counts: how often each outcome came; misses: each trial that did not hold, in a sentence."""

    name: str
    promise: str
    tried: int = 0
    held: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    misses: tuple[str, ...] = ()
    skipped: str = ""

    def with_trial(self, outcome: str, miss: str = "") -> Part:
        counts = {**self.counts, outcome: self.counts.get(outcome, 0) + 1}
        misses = (*self.misses, miss)[:MAX_MISSES] if miss else self.misses
        return replace(self, tried=self.tried + 1, held=self.held + (not miss), counts=counts, misses=misses)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """How to make the trials of a part. one: trial `number`, drawn from its generator, gives an outcome and a miss.

    An outcome is a few words; the miss says what did not hold, or is empty.
    """

    name: str
    promise: str
    n: int
    n_small: int
    one: Callable[[int, Random], tuple[str, str]]
    skipped: str = ""


def carry_out(all_trials: Iterator[Trials], path: Path, *, is_small: bool, say: Callable[[str], None]) -> list[Part]:
    """Make the trials that the file at `path` has not; it is written after each, so a stopped command goes on."""
    parts = {part.name: part for part in read(path)}
    for trials in all_trials:
        part = replace(parts.get(trials.name) or Part(name=trials.name, promise=trials.promise), skipped=trials.skipped)
        n = 0 if trials.skipped else trials.n_small if is_small else trials.n
        for number in range(part.tried, n):
            part = part.with_trial(*trials.one(number, Random(f"{trials.name} {number}")))  # noqa: S311
            if number % 100 == 0 or n < 1_000:
                _write(path, {**parts, part.name: part})
        parts[part.name] = part
        _write(path, parts)
        say(f"{part.name}: {part.held:,} of {part.tried:,} held" + (f" ({part.skipped})" if part.skipped else ""))
        for miss in part.misses:
            say(f"  missed: {miss}")
    return list(parts.values())


def read(path: Path) -> tuple[Part, ...]:
    """The parts on record; none without the file."""
    if not path.exists():
        return ()
    found = json.loads(path.read_text(encoding="utf-8"))["parts"]
    return tuple(Part(**{**one, "misses": tuple(one["misses"])}) for one in found)


def _write(path: Path, parts: Mapping[str, Part]) -> None:
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    values = {"flyweight": __version__, "machine": machine, "parts": [asdict(part) for part in parts.values()]}
    files.write_json(path, values)
