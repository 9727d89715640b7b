"""What `execute` takes: requests for runs of a recipe, with their purpose and the figures that each must have."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.recipe import Recipe
from flyweight.records.record import HeldOut, Purpose


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Seeds of a recipe; the runs that are started for it share one `group_id`.

    figures: the splits whose figures are needed. retrain: train every seed even if it is on record. opens_test, study,
    parent_hash, monitor: as for `run`; the monitor is pickled if runs are computed in other processes.
    """

    recipe: Recipe | ResolvedRecipe
    seeds: tuple[int, ...]
    purpose: Purpose = "run"
    figures: tuple[HeldOut, ...] = ("validation", "test")
    retrain: bool = False
    opens_test: bool = True
    study: str | None = None
    parent_hash: str | None = None
    monitor: MakeMonitor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One run to compute: a seed to start, or a stopped run to resume.

    request: its recipe is in canonical form, its seeds are those of the whole group.
    """

    request: TrainingRequest
    seed: int
    group_id: str
    resumed: str | None = None
