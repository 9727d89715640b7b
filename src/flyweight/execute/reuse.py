"""Which runs on record stand for a run that is asked for, and which stopped ones are resumed for it. Pure.

Goes in: a run and what is wanted. Comes out: yes or no. Where runs are looked up is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flyweight.records.record import PURPOSES, RESULTS, Part, Purpose, RunFigures, RunRecord

# By the purpose of a request: the purposes of the runs that may stand for it. A trial, or a run that tries a remedy,
# only serves an answer and may use any run; the other way round it is never shown as a run that somebody asked for.
# A certification is trained anew.
MAY_STAND: Final[Mapping[Purpose, tuple[Purpose, ...]]] = {
    "run": RESULTS,
    "trial": PURPOSES,
    "remedy": PURPOSES,
    "reproduction": RESULTS,
    "certification": (),
}

# Likewise, of the runs that were stopped: one that somebody asked for is not resumed to serve an answer.
MAY_RESUME: Final[Mapping[Purpose, tuple[Purpose, ...]]] = {
    "run": ("run", "reproduction"),
    "trial": ("trial",),
    "remedy": ("remedy",),
    "reproduction": ("run", "reproduction"),
    "certification": (),
}

# What decides the bits of a run: where all of it is equal, so are the weights (docs/architecture.md).
FINGERPRINT: Final = ("torch", "kernels", "precision", "cpu_capability", "threads", "device")


@dataclass(frozen=True, kw_only=True)
class WantedRun:
    """One run that is asked for. figures: the images whose figures are needed."""

    recipe_hash: str
    data_hash: str
    split_hash: str
    seed: int
    purpose: Purpose
    figures: tuple[Part, ...]


def stands_for(run: RunFigures, wanted: WantedRun) -> bool:
    """Whether a run on record is the one that is wanted: it is over, it is the same run, and it holds the figures."""
    return (
        run.status in ("finished", "diverged")
        and run.purpose in MAY_STAND[wanted.purpose]
        and _is_same(run, wanted)
        and _holds(run, wanted.figures)
    )


def can_be_resumed_for(run: RunFigures, wanted: WantedRun) -> bool:
    """Whether a run that was stopped becomes, when it goes on, the one that is wanted."""
    return run.status in ("interrupted", "lost") and run.purpose in MAY_RESUME[wanted.purpose] and _is_same(run, wanted)


def fingerprint(run: RunRecord) -> Mapping[str, object]:
    """What decides the bits of a run, as far as it is on record."""
    return {name: run.environment[name] for name in FINGERPRINT if name in run.environment}


def _is_same(run: RunFigures, wanted: WantedRun) -> bool:
    found = (run.recipe_hash, run.data_hash, run.split_hash, run.seed)
    return found == (wanted.recipe_hash, wanted.data_hash, wanted.split_hash, wanted.seed)


def _holds(run: RunFigures, figures: tuple[Part, ...]) -> bool:
    """Whether the run has the figures; one that diverged has none, and never will."""
    counts: Mapping[Part, int | None] = {"validation": run.validation_count, "test": run.test_count}
    return run.status == "diverged" or all(counts[part] is not None for part in figures)
