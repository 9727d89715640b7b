"""Which seeds of a request are on record, which were stopped, and which must be started. Nothing is trained here.

In: requests and a store. Out: for each request its runs on record and the seeds that remain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flyweight.data.facts import ImageSource
from flyweight.errors import require_counts
from flyweight.execute.request import TrainingRequest
from flyweight.execute.reuse import WantedRun, is_resumable_for, is_reusable_for
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import ResolvedRecipe, source_of
from flyweight.experiment.splits import split_of
from flyweight.model.cost import Cost
from flyweight.model.own_code import hash_of
from flyweight.recipe import Recipe
from flyweight.records.record import RunRecord
from flyweight.records.store import Store


@dataclass(frozen=True, kw_only=True)
class OnRecord:
    """A request with its runs on record, by seed: those that are reused and the stopped ones, which are resumed.

    recipe: in canonical form. source: its images, shared by all requests of a named set.
    """

    request: TrainingRequest
    recipe: Recipe
    cost: Cost
    source: ImageSource
    reused: Mapping[int, RunRecord] = field(default_factory=dict)
    stopped: Mapping[int, RunRecord] = field(default_factory=dict)

    @property
    def new_seeds(self) -> tuple[int, ...]:
        """The seeds that must be started."""
        return tuple(seed for seed in self.request.seeds if seed not in self.reused and seed not in self.stopped)

    @property
    def n_remaining(self) -> int:
        """How many runs must be started or resumed."""
        return len(self.new_seeds) + len(self.stopped)

    @property
    def work(self) -> float:
        """The cost of one run in MACs times epochs: enough for a progress bar over several recipes."""
        return float(self.cost.macs * self.recipe.train.epochs)


def look_up(requests: Sequence[TrainingRequest | OnRecord], store: Store) -> tuple[OnRecord, ...]:
    """What is on record for each request, and which seeds remain; a request looked up before is returned unchanged.

    Raises:
        RecipeError, OverBudgetError: a recipe that cannot be trained; nothing was spent.
    """
    named: list[ImageSource] = []
    return tuple(one if isinstance(one, OnRecord) else _look_up(one, store, named) for one in requests)


def _look_up(request: TrainingRequest, store: Store, named: list[ImageSource]) -> OnRecord:
    require_counts(seeds=len(request.seeds))
    resolved = _resolved(request.recipe, named)
    candidates = () if request.retrain else store.runs(recipe_hash=resolved.hash, purpose="all")
    candidates = tuple(run for run in reversed(candidates) if run.seed in request.seeds)
    if candidates and (code := hash_of(resolved.recipe.model.net)):  # another code is another net
        candidates = tuple(run for run in candidates if store.get(run.id).own_code == code)
    wanted = _wanted(request, resolved) if candidates else {}
    reused = {run.seed: run for run in candidates if is_reusable_for(run, wanted[run.seed])}
    others = [run for run in candidates if run.seed not in reused]
    return OnRecord(
        request=request,
        recipe=resolved.recipe,
        cost=resolved.cost,
        source=resolved.source if resolved.source.is_named else source_of(resolved.recipe),
        reused=reused,
        stopped={run.seed: run for run in others if is_resumable_for(run, wanted[run.seed])},
    )


def _resolved(recipe: Recipe | ResolvedRecipe, named: list[ImageSource]) -> ResolvedRecipe:
    """Recipes of a named set share its images, which are read once; keeping many custom sets would fill the memory."""
    if isinstance(recipe, ResolvedRecipe):
        return recipe
    source = source_of(recipe)
    source = next((one for one in named if one.is_same(source)), source)
    if source.is_named and source not in named:
        named.append(source)
    return plan(recipe, source).require()


def _wanted(request: TrainingRequest, resolved: ResolvedRecipe) -> dict[int, WantedRun]:
    """The requested runs, by seed."""
    recipe, images = resolved.recipe, resolved.images
    measures = ("test",) if recipe.data.validation == 0 else ("validation", "test")
    shared = None if recipe.protocol.seed_after_split else split_of(recipe, images, request.seeds[0]).hash
    return {
        seed: WantedRun(
            recipe_hash=resolved.hash,
            data_hash=images.fingerprint,
            split_hash=shared or split_of(recipe, images, seed).hash,
            seed=seed,
            purpose=request.purpose,
            figures=tuple(part for part in request.figures if part in measures),
        )
        for seed in request.seeds
    }
