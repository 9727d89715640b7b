"""Which of the seeds that are asked for are on record, which were stopped, and which are still to begin: here alone.

Goes in: requests and a store. Comes out: for each what there is and what is left. Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flyweight.data.facts import ImageSource
from flyweight.errors import require_counts
from flyweight.execute.request import TrainingRequest
from flyweight.execute.reuse import WantedRun, can_be_resumed_for, stands_for
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import ResolvedRecipe, source_of
from flyweight.experiment.splits import parts_of
from flyweight.model.cost import Cost
from flyweight.recipe import Recipe
from flyweight.records.record import RunRecord
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class OnRecord:
    """A request and, by seed, the runs that stand for it and the stopped ones that will.

    recipe: in canonical form. source: its images, shared by all requests of a named set.
    """

    request: TrainingRequest
    recipe: Recipe
    cost: Cost
    source: ImageSource
    over: Mapping[int, RunRecord] = field(default_factory=dict)
    stopped: Mapping[int, RunRecord] = field(default_factory=dict)

    @property
    def fresh(self) -> tuple[int, ...]:
        """The seeds that are to begin."""
        return tuple(seed for seed in self.request.seeds if seed not in self.over and seed not in self.stopped)

    @property
    def n_left(self) -> int:
        """How many runs are to be trained, those that go on included."""
        return len(self.fresh) + len(self.stopped)

    @property
    def work(self) -> float:
        """What one run costs, in multiplications of its training: enough to say how far all of them are."""
        return float(self.cost.macs * self.recipe.train.epochs)


def look_up(requests: Sequence[TrainingRequest], store: Store) -> tuple[OnRecord, ...]:
    """What is on record of each request, and what is left of it.

    Raises:
        RecipeError, OverBudgetError: a recipe that cannot be trained; nothing was spent.
    """
    named: list[ImageSource] = []
    return tuple(_look_up(request, store, named) for request in requests)


def _look_up(request: TrainingRequest, store: Store, named: list[ImageSource]) -> OnRecord:
    require_counts(seeds=len(request.seeds))
    resolved = _resolved(request.recipe, named)
    candidates = () if request.is_anew else store.runs(recipe_hash=resolved.hash, purpose="all")
    candidates = tuple(run for run in reversed(candidates) if run.seed in request.seeds)
    wanted = _wanted(request, resolved) if candidates else {}
    over = {run.seed: run for run in candidates if stands_for(run, wanted[run.seed])}
    left = [run for run in candidates if run.seed not in over]
    return OnRecord(
        request=request,
        recipe=resolved.recipe,
        cost=resolved.cost,
        source=resolved.source if resolved.source.is_named else source_of(resolved.recipe),
        over=over,
        stopped={run.seed: run for run in left if can_be_resumed_for(run, wanted[run.seed])},
    )


def _resolved(recipe: Recipe | ResolvedRecipe, named: list[ImageSource]) -> ResolvedRecipe:
    """Recipes of a named set share its images, so that they are read once; many own sets would fill the memory."""
    if isinstance(recipe, ResolvedRecipe):
        return recipe
    source = source_of(recipe)
    source = next((one for one in named if one.is_same(source)), source)
    if source.is_named and source not in named:
        named.append(source)
    return plan(recipe, source).require()


def _wanted(request: TrainingRequest, resolved: ResolvedRecipe) -> dict[int, WantedRun]:
    """The runs that are asked for, by seed."""
    recipe, images = resolved.recipe, resolved.images
    shared = None if recipe.protocol.seed_after_split else parts_of(recipe, images, request.seeds[0]).hash
    return {
        seed: WantedRun(
            recipe_hash=resolved.hash,
            data_hash=images.fingerprint,
            split_hash=shared or parts_of(recipe, images, seed).hash,
            seed=seed,
            purpose=request.purpose,
            figures=request.figures,
        )
        for seed in request.seeds
    }
