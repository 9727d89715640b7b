"""What is asked of `execute`: runs of a recipe, what they are for, and what must be known of each when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.recipe import Recipe
from flyweight.records.record import Part, Purpose


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Seeds of a recipe; those that are trained for it share one `group_id`.

    figures: the images whose figures are needed. is_anew: train every seed, whatever is on record. study, parent_hash,
    monitor: those of `run`; the monitor is pickled where runs are computed in other processes.
    """

    recipe: Recipe | ResolvedRecipe
    seeds: tuple[int, ...]
    purpose: Purpose = "run"
    figures: tuple[Part, ...] = ("validation", "test")
    is_anew: bool = False
    study: str | None = None
    parent_hash: str | None = None
    monitor: MakeMonitor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One run to compute: a seed to begin, or a stopped run to resume. group_seeds: all that the group is to have."""

    recipe: Recipe
    seed: int
    group_id: str
    group_seeds: tuple[int, ...]
    purpose: Purpose = "run"
    resumed: str | None = None
    study: str | None = None
    parent_hash: str | None = None
    monitor: MakeMonitor | None = None
