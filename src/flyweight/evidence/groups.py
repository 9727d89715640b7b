"""The seeds of one recipe as one result: which runs count, and what they reached.

Goes in: records of runs, full ones or figures. Comes out: groups. No run is read here, and nothing is judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flyweight.evidence.stats import Summary, mean_interval
from flyweight.records.record import OVER, HeldOut, RunFigures

Run = TypeVar("Run", bound=RunFigures)

# What makes runs comparable seed by seed: the same recipe on the same images, split the same way.
Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Group(Generic[Run]):
    """A recipe's runs on the same images, in the order of their seeds.

    runs: those that were measured, one a seed: a seed that ran twice counts once, its newest run.
    diverged: those that have no figures because the loss or a weight stopped being a number.
    oldest: the first of all, which says what the result is called, whatever later runs of the same recipe were called.
    n_repeats: runs left out because their seed is there already. n_open: running, stopped, failed or lost ones.
    """

    oldest: Run
    runs: tuple[Run, ...]
    diverged: tuple[Run, ...] = ()
    n_repeats: int = 0
    n_open: int = 0

    @property
    def first(self) -> Run:
        """Any run, for what all of them share."""
        return (*self.runs, *self.diverged)[0]

    @property
    def name(self) -> str:
        return self.oldest.name

    @property
    def n(self) -> int:
        """How many seeds were measured."""
        return len(self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    def accuracies(self, part: HeldOut) -> list[float]:
        """One fraction a seed, of the "validation" or the "test" images."""
        return [found.accuracy for run in self.runs if (found := run.figures(part)) is not None]

    def summary(self, part: HeldOut) -> Summary | None:
        """Mean, spread and interval over the seeds; None if none was measured."""
        accuracies = self.accuracies(part)
        return mean_interval(accuracies) if accuracies else None

    def count(self, part: HeldOut) -> int:
        """On how many images the accuracies stand; 0 if none was measured."""
        found = self.runs[0].figures(part) if self.runs else None
        return found.count if found else 0


def key(run: RunFigures) -> Key:
    """Runs with equal keys are seeds of one result."""
    return run.recipe_hash, run.data_hash, run.split_hash


def groups(runs: Iterable[Run]) -> tuple[Group[Run], ...]:
    """All runs as groups, in the order in which each was begun; a recipe of which nothing is over has none."""
    alike: defaultdict[Key, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.id):
        alike[key(run)].append(run)
    return tuple(group for members in alike.values() if (group := _group(members)) is not None)


def _group(members: list[Run]) -> Group[Run] | None:
    """members: alike, oldest first."""
    over = [run for run in members if run.status in OVER]
    newest = {run.seed: run for run in over}
    if not newest:
        return None
    by_seed = [newest[seed] for seed in sorted(newest)]
    return Group(
        oldest=members[0],
        runs=tuple(run for run in by_seed if run.status == "finished"),
        diverged=tuple(run for run in by_seed if run.status == "diverged"),
        n_repeats=len(over) - len(newest),
        n_open=len(members) - len(over),
    )
