"""All that the rules may look at: a recipe and what it costs, and as much of a run as there is.

Values only, of plain numbers. Who reads them from a run folder is `reading.py`; who makes the probes is
`diagnose/probes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal, TypeAlias

from flyweight.data.facts import DataFacts
from flyweight.doctor.probes import ImageProbe, ReadProbe, StartProbe, TrainedProbe
from flyweight.model.cost import Cost
from flyweight.recipe import Recipe
from flyweight.records.results import EpochLine, Figures

# What a rule may need; the recipe, the cost of its net and the sizes of its data are always there.
Need: TypeAlias = Literal[
    "history", "ending", "predictions", "reported", "claims", "parent", "images", "reads", "start", "trained"
]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended: what result.json says. Figures are of the kept net; None where nothing was measured."""

    status: str
    message: str
    best_epoch: int | None
    train: Figures | None
    validation: Figures | None
    test: Figures | None


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """How often each class was predicted, and how often it would have been right, over the images of a split."""

    split: str
    predicted: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A figure that somebody wrote of the run, and what the record has. where: in which words it stands."""

    what: str
    said: str
    found: str
    where: str
    is_contradicted: bool


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The result that a run was changed from. factors: what differs, in words. correct of count: its test images."""

    name: str
    factors: tuple[str, ...]
    correct: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A recipe, and whatever is known of a run of it; what is None has not happened or cannot be had.

    lr_curve: the learning rate at 0, 1, ... 100 % of the steps. reported: what its protocol reported; empty where the
    recipe has none. why_missing: for a need that is None, the reason.
    """

    recipe: Recipe
    cost: Cost
    data: DataFacts
    lr_curve: tuple[float, ...]
    history: tuple[EpochLine, ...] | None = None
    ending: Ending | None = None
    predictions: Predictions | None = None
    reported: Mapping[str, Any] | None = None
    claims: tuple[Claim, ...] | None = None
    parent: Parent | None = None
    images: ImageProbe | None = None
    reads: ReadProbe | None = None
    start: StartProbe | None = None
    trained: TrainedProbe | None = None
    why_missing: Mapping[Need, str] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return ceil(self.data.n_train / self.recipe.train.batch_size)

    @property
    def steps(self) -> int:
        """Updates of the weights that the recipe asks for."""
        return self.recipe.train.epochs * self.steps_per_epoch
