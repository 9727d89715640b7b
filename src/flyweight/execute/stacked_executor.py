"""Runs of one recipe as one stacked net on a GPU, in this process; recipe after recipe.

A net that is an `nn.Module` of the user's own cannot be stacked, and a budget in seconds is for one run alone: such
runs train one after another on the same GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyweight.errors import require_counts
from flyweight.execute.request import TrainingJob
from flyweight.experiment.events import Event
from flyweight.experiment.plan import resolve
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.recipe import Recipe
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.train.device import DeviceName


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """at_once: maximum number of runs in one stack; default: as many as the memory of the device can hold."""

    device: DeviceName = "auto"
    at_once: int | None = None

    def __post_init__(self) -> None:
        require_counts(at_once=self.at_once)

    def make_ready(self) -> None:
        """Nothing: the runs train in this process."""

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Train the jobs, those of one recipe together."""
        from flyweight.execute.job import train_job
        from flyweight.experiment.population import can_stack

        errors = list[Exception]()
        for group in _by_recipe(jobs):
            resolved = resolve(group[0].request.recipe)
            if can_stack(resolved):
                parts = [functools.partial(self._train, resolved, group)]
            else:
                parts = [functools.partial(train_job, job, device=self.device) for job in group]
            for train in parts:
                if not should_stop():
                    try:
                        train(store=store, watch=watch, should_stop=should_stop)
                    except Exception as error:
                        errors.append(error)
        if errors:
            raise errors[0]

    def _train(
        self,
        resolved: ResolvedRecipe,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        from flyweight.experiment.population import Member, run_population

        members = [
            Member(
                seed=job.seed,
                resumed=job.resumed,
                group_id=job.group_id,
                group_seeds=job.request.seeds,
                study=job.request.study,
                parent_hash=job.request.parent_hash,
                purpose=job.request.purpose,
                opens_test=job.request.opens_test,
                monitor=job.request.monitor,
            )
            for job in jobs
        ]
        run_population(
            resolved,
            members,
            store=store,
            device=self.device,
            at_once=1 if resolved.recipe.budget.seconds is not None else self.at_once,
            watch=watch,
            should_stop=should_stop,
        )


def _by_recipe(jobs: Sequence[TrainingJob]) -> list[list[TrainingJob]]:
    """Recipes that train alike may still differ, in their names or targets."""
    groups: dict[Recipe, list[TrainingJob]] = {}
    for job in jobs:
        recipe = job.request.recipe
        groups.setdefault(recipe if isinstance(recipe, Recipe) else recipe.recipe, []).append(job)
    return list(groups.values())
