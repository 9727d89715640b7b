"""The finals: the best three designs and the first one in full on fresh seeds, with the test images closed.

The winner is chosen by validation. Only then do the winner and the recipe that the user began with open the test
images, once a seed, and are compared. What validation lost from the search to the fresh seeds is shown: the best of
many was partly lucky (the winner's curse).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flyweight.data.facts import ImageSource
from flyweight.errors import FlyweightError
from flyweight.evidence.compare import Comparison, compare
from flyweight.evidence.groups import Group, groups
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import ignore
from flyweight.experiment.open_test import open_test
from flyweight.experiment.plan import plan as make_plan
from flyweight.recipe import Recipe, dumps
from flyweight.records.record import RunRecord
from flyweight.records.search_record import TrialRecord
from flyweight.records.store import Store
from flyweight.search.design import design_of
from flyweight.search.events import PhaseBegan, SearchEvent
from flyweight.search.front import cost_of, layers, spread_out
from flyweight.search.plan import SearchPlan
from flyweight.search.result import Difference, Finalist, SearchResult


def run_finals(
    plan: SearchPlan,
    trials: Sequence[TrialRecord],
    *,
    source: ImageSource,
    store: Store,
    executor: Executor,
    watch: Callable[[SearchEvent], None],
    should_stop: Callable[[], bool],
) -> SearchResult | None:
    """The result of a search whose trials are over; None if it was stopped. Runs on record are used again.

    Raises:
        FlyweightError: no trial has a result.
    """
    measured = [trial for trial in trials if trial.rung and trial.status in ("finished", "paused", "halved")]
    if not measured:
        epochs = plan.rungs[0] + plan.epochs * (plan.n_finalists + 1) * plan.n_seeds / plan.workers
        minutes = max(plan.minutes + 1, 2 * epochs * plan.epoch_seconds / 60)
        raise FlyweightError(
            f"search {plan.name!r}: no net was trained within {plan.minutes:g} minutes, since an epoch takes about "
            f"{plan.epoch_seconds:.0f} s here; give it --minutes {minutes:.0f} or more, or fewer "
            "images with --set data.train_limit=5000."
        )
    best = _finalists(plan, measured)
    first = trials[0]
    sides = list(dict.fromkeys([trial.number for trial in (*best, first)]))
    recipes = {number: final_recipe(plan, trials[number - 1]) for number in sides}
    requests = [
        TrainingRequest(
            recipe=make_plan(recipes[number], source).require(),
            seeds=plan.fresh_seeds,
            figures=("validation",),
            opens_test=False,
            study=plan.name,
        )
        for number in sides
    ]
    executed = execute(requests, store=store, executor=executor, watch=ignore, should_stop=should_stop)
    if should_stop() or not all(one.is_complete for one in executed):
        return None
    records = {number: one.records for number, one in zip(sides, executed, strict=True)}
    finalists = {number: _measured(trials[number - 1], records[number], plan) for number in sides}
    among = [finalists[trial.number] for trial in best if finalists[trial.number].mean is not None]
    if not among:
        raise FlyweightError(f"search {plan.name!r}: every seed of the finalists diverged; see: flyweight runs")
    winner = max(among, key=lambda one: one.mean or 0.0)
    watch(PhaseBegan(phase="test", plan=plan))
    for number in dict.fromkeys((winner.trial, first.number)):
        records[number] = _opened(records[number], store)
    return SearchResult(
        name=plan.name,
        winner=winner.trial,
        finalists=tuple(finalists[trial.number] for trial in best),
        first=finalists[first.number],
        differences=_differences(records[first.number], records[winner.trial], store),
        recipe=dumps(recipes[winner.trial], only_changes=True),
        test=tuple(run.test_accuracy for run in records[winner.trial] if run.test_accuracy is not None),
        n_trials=len(trials),
        is_front=plan.pareto is not None,
        seconds=sum(trial.seconds for trial in trials),
    )


def _finalists(plan: SearchPlan, measured: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best trials, or those on the front of cost and accuracy that have come furthest."""
    if plan.pareto is not None:
        kind, furthest = plan.pareto, max(trial.rung for trial in measured)
        far = [trial for trial in measured if trial.rung == furthest]
        front = layers(far, lambda trial: cost_of(trial, kind), lambda trial: trial.accuracy or 0.0)[0]
        return spread_out(front[::-1], plan.n_finalists)
    ordered = sorted(measured, key=lambda trial: (trial.rung, trial.accuracy or 0.0, -trial.number))
    return ordered[::-1][: plan.n_finalists]


def final_recipe(plan: SearchPlan, trial: TrialRecord) -> Recipe:
    """The recipe of a finalist, a child of nothing."""
    name = f"{plan.name}-start" if trial.number == 1 else f"{plan.name}-{trial.number}"
    what = "where the search began" if trial.number == 1 else f"trial {trial.number}"
    return design_of(trial.design).recipe(
        plan.recipe, name=name, description=f"Found by flyweight search ({plan.name}, {what}) for {plan.budget}."
    )


def _measured(trial: TrialRecord, records: Sequence[RunRecord], plan: SearchPlan) -> Finalist:
    design = design_of(trial.design)
    is_full = trial.rung == len(plan.rungs)
    return Finalist(
        trial=trial.number,
        net=design.net,
        settings=dict(design.settings),
        params=trial.params,
        in_search=trial.accuracy if is_full else None,
        accuracies=tuple(run.validation_accuracy for run in records if run.validation_accuracy is not None),
        recipe_hash=records[0].recipe_hash,
    )


def _opened(records: Sequence[RunRecord], store: Store) -> tuple[RunRecord, ...]:
    """The runs with their test figures; a run that was used again may have one."""
    return tuple(
        open_test(run.id, store=store) if run.status == "finished" and run.test_count is None else run
        for run in records
    )


def _differences(first: Sequence[RunRecord], winner: Sequence[RunRecord], store: Store) -> tuple[Difference, ...]:
    sides = [_group(first), _group(winner)]
    if first[0].recipe_hash == winner[0].recipe_hash or None in sides:
        return ()
    ours, theirs = (side for side in sides if side is not None)
    return tuple(_difference(compare(store, ours, theirs, part=part)) for part in ("validation", "test"))


def _group(records: Sequence[RunRecord]) -> Group[RunRecord] | None:
    found = groups(records)
    return found[0] if found and found[0].n else None


def _difference(found: Comparison) -> Difference:
    effect = found.effect
    return Difference(
        part=found.part,
        winner=tuple(found.changed.accuracies(found.part)),
        first=tuple(found.baseline.accuracies(found.part)),
        difference=0.0 if effect is None else effect.effect,
        low=None if effect is None else effect.low,
        high=None if effect is None else effect.high,
        p=None if effect is None else effect.p,
        verdict=found.verdict.sentence,
    )
