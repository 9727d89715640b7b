"""The plan of a search: what it was asked for and what follows from that, as a value that the database keeps whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from flyweight.data.facts import ImageSource
from flyweight.errors import UsageError
from flyweight.model.budget import Budget, Kind
from flyweight.recipe import Recipe, override
from flyweight.search.front import MAX_FRONT
from flyweight.search.known import known_designs
from flyweight.search.space import Bounded, Space, space_of
from flyweight.search.strategy import Strategy, StrategyName, rungs_of

FINALISTS: Final = 3
FIRST_FRESH_SEED: Final = 1001
EMA: Final = 0.99  # averaged weights rank the nets of an early rung better than those of a high learning rate
MAX_EPOCHS: Final = 20
SHARE_OF_FINALS: Final = 0.4  # of the time, for the trainings on fresh seeds
SLOWEST: Final = 4.0  # an epoch may take so many times as long as that of the first trial


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """recipe: what every trial has but its design. epochs: the full length. epoch_seconds: of the first design.

    n_seeds: fresh seeds of each finalist. train_seed: the seed of every trial. code: the version that began it.
    pareto: a cost that is an aim beside accuracy. max_epoch_seconds: a trial whose epochs take longer is stopped.
    """

    name: str
    recipe: Recipe
    budget: Budget
    space: Space
    strategy: StrategyName
    minutes: float
    workers: int
    epochs: int
    n_seeds: int
    epoch_seconds: float
    max_epoch_seconds: float
    train_seed: int
    code: str
    data_hash: str
    max_trials: int | None = None
    pareto: Kind | None = None

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trials are compared."""
        return rungs_of(self.epochs)

    @property
    def n_finalists(self) -> int:
        """How many designs are trained on fresh seeds, without the first one."""
        return FINALISTS if self.pareto is None else MAX_FRONT

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """Seeds that no trial has seen."""
        return tuple(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + self.n_seeds))

    def make_strategy(self, source: ImageSource) -> Strategy:
        """What it tries next. source: the images of the recipe."""
        bounded = bounded_by(source, self.space, self.budget)
        known = tuple(design for design, _ in known_designs(self.recipe, bounded))
        return Strategy(
            name=self.strategy,
            bounded=bounded,
            known=known,
            rungs=self.rungs,
            seed=self.train_seed,
            max_trials=self.max_trials,
            pareto=self.pareto,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {**self.__dict__, "recipe": self.recipe.model_dump(mode="json"), "budget": asdict(self.budget)}
        return {**values, "space": self.space.as_dict()}


def plan_of(values: Mapping[str, Any]) -> SearchPlan:
    """The plan of `SearchPlan.as_dict`."""
    given = {**values, "recipe": Recipe.model_validate(values["recipe"]), "budget": Budget(**values["budget"])}
    return SearchPlan(**{**given, "space": space_of(values["space"])})


def base_recipe(recipe: Recipe, budget: Budget, *, epochs: int | None = None) -> Recipe:
    """What every trial has but its design: the last epoch is kept, since the best one of many flatters.

    Raises:
        UsageError: a recipe whose protocol opens the test images, or that holds nothing out.
    """
    if recipe.protocol != type(recipe.protocol)():
        raise UsageError(f"a search needs a clean evaluation; {recipe.name} has a [protocol], leave it out.")
    if recipe.data.validation == 0:
        raise UsageError(f"a search chooses by validation images; {recipe.name} holds none out (data.validation = 0).")
    limits = {kind: limit for kind, limit in budget.limits().items() if kind not in ("epochs", "seconds")}
    changes = ["train.keep=last", f"train.ema={EMA}", "train.patience=none", "target.stop=false"]
    changes += [f"budget.{kind}={limits.get(kind, 'none')}" for kind in ("params", "macs", "activation", "flash")]
    changes += ["budget.epochs=none", "budget.seconds=none"]
    changes += [] if epochs is None else [f"train.epochs={epochs}"]
    return override(recipe, changes)


def bounded_by(source: ImageSource, space: Space, budget: Budget) -> Bounded:
    """The space within the limits, for these images."""
    sizes = source.sizes
    return Bounded(space=space, shape=sizes.shape, n_classes=sizes.n_classes, budget=budget)


def epochs_for(*, minutes: float, workers: int, epoch_seconds: float, n_seeds: int) -> int:
    """The full length for which the finalists and the first recipe can be trained in their share of the time.

    >>> epochs_for(minutes=30, workers=2, epoch_seconds=6.0, n_seeds=5)
    12
    """
    n_trainings = (FINALISTS + 1) * n_seeds
    return max(1, min(MAX_EPOCHS, int(SHARE_OF_FINALS * minutes * 60 * workers / (n_trainings * epoch_seconds))))
