"""Which runs on record can be used for a request, and which stopped runs can be resumed for it: pure functions.

In: a run and the requested run. Out: yes or no. This module does not look up runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flyweight.records.record import OVER, RESULTS, STOPPED, HeldOut, Purpose, RunFigures

# By the purpose of a request: the purposes of the runs that can be used for it. A trial or a remedy can use any run,
# but a user's request never gets a run of a trial or a remedy. A certification is always trained.
# A search keeps few of its files, so its trials are used for nothing else, and always trained.
_KEPT: Final[tuple[Purpose, ...]] = (*RESULTS, "trial", "remedy")

REUSABLE: Final[Mapping[Purpose, tuple[Purpose, ...]]] = {
    "run": RESULTS,
    "trial": _KEPT,
    "remedy": _KEPT,
    "reproduction": RESULTS,
    "certification": (),
    "search": (),
}

# The same for stopped runs: a trial or a remedy does not resume a user's run.
RESUMABLE: Final[Mapping[Purpose, tuple[Purpose, ...]]] = {
    "run": ("run", "reproduction"),
    "trial": ("trial",),
    "remedy": ("remedy",),
    "reproduction": ("run", "reproduction"),
    "certification": (),
    "search": ("search",),
}


@dataclass(frozen=True, kw_only=True)
class WantedRun:
    """One requested run. figures: the splits whose figures it must have."""

    recipe_hash: str
    data_hash: str
    split_hash: str
    seed: int
    purpose: Purpose
    figures: tuple[HeldOut, ...]


def is_reusable_for(run: RunFigures, wanted: WantedRun) -> bool:
    """Whether a run on record can be used: it has ended, recipe, images and seed are the same, it has the figures."""
    return (
        run.status in OVER
        and run.purpose in REUSABLE[wanted.purpose]
        and _is_same(run, wanted)
        and _has(run, wanted.figures)
    )


def is_resumable_for(run: RunFigures, wanted: WantedRun) -> bool:
    """Whether a stopped run, once it is resumed, is the requested one."""
    return run.status in STOPPED and run.purpose in RESUMABLE[wanted.purpose] and _is_same(run, wanted)


def _is_same(run: RunFigures, wanted: WantedRun) -> bool:
    found = (run.recipe_hash, run.data_hash, run.split_hash, run.seed)
    return found == (wanted.recipe_hash, wanted.data_hash, wanted.split_hash, wanted.seed)


def _has(run: RunFigures, figures: tuple[HeldOut, ...]) -> bool:
    """Whether the run has the figures; a diverged run needs none, since training it again gives none."""
    counts: Mapping[HeldOut, int | None] = {"validation": run.validation_count, "test": run.test_count}
    return run.status == "diverged" or all(counts[part] is not None for part in figures)
