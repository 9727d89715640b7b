"""Trials of remedies: train a recipe with and without a change, with the same seeds, and decide whether it helps.

In: a recipe and a finding with a remedy. Out: a `Trial`. Accuracies are always from a clean evaluation, whatever the
protocol of the recipe reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flyweight.data.facts import SetSizes
from flyweight.diagnose.clean_figures import reported_otherwise, reports_otherwise
from flyweight.diagnose.trial_record import Expense, Trial
from flyweight.diagnose.trial_text import accuracy_words, diverged_words, evaluation_line, outcome_words, saved_words
from flyweight.doctor.finding import Finding, Remedy
from flyweight.errors import OverBudgetError, UsageError, in_one_line, require_counts
from flyweight.evidence.paired import Paired, paired
from flyweight.evidence.verdict import LEVEL
from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import ResolvedRecipe, data_facts
from flyweight.model.cost import Cost
from flyweight.recipe import ProtocolSection, Recipe, diff, override, value_at
from flyweight.recipe.difference import CLEAN
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

STUDY: Final = "doctor"

# Images that a run of a short trial sees, all epochs together: about as many as MNIST has, seconds per seed.
IMAGE_PASSES: Final = 60_000
MIN_IMAGES: Final = 1_000  # with fewer, nets learn too little to show differences

# A cheaper net counts as equally good if the interval of its loss of accuracy is below this; seeds of one recipe in
# short runs differ by as much (own/8k on 10,000 images, 3 epochs: up to 0.4 points, n = 3).
MAX_LOSS: Final = 0.005


@in_one_line
def try_remedy(
    recipe: Recipe,
    finding: Finding,
    *,
    store: Store,
    seeds: int = 5,
    first_seed: int = 0,
    is_full: bool = False,
    executor: Executor = AUTOMATIC,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> Trial | None:
    """Try the remedy of a finding; None if stopped before the end of every seed.

    Runs belong to the study "doctor". Runs on record are not trained again, so a stopped trial continues when called
    again. A short trial (the default) trains on fewer images, the same for both recipes; `is_full` uses all images of
    the recipe. A diverged run counts with the accuracy of guessing.

    - accuracy: helps if validation accuracy rises with p < 0.05 over pairs of the same seed.
    - cost: helps if parameters or multiplications fall, and the interval of the change in accuracy ends above
      -0.5 points.
    - honesty: the change only makes the reported figures clean, so only the unchanged recipe runs; its reported
      figures are compared with a clean evaluation.

    Raises:
        UsageError: fewer than two seeds, or a finding without a remedy.
        RecipeError, OverBudgetError: the changed recipe cannot be trained; nothing was trained.
    """
    require_counts(seed=first_seed)
    require_seeds(seeds)
    setup = _setup(recipe, finding, range(first_seed, first_seed + seeds), is_full=is_full)
    runs = _train(setup, store=store, executor=executor, watch=watch, should_stop=should_stop)
    if runs is None:
        return None
    return _clean_evaluation(setup, runs[0], store) if setup.remedy.gain == "honesty" else _comparison(setup, *runs)


def require_seeds(seeds: int) -> None:
    """Raise UsageError for fewer than two seeds."""
    if seeds < 2:
        raise UsageError(f"a trial needs 2 seeds or more to measure their spread, found {seeds}; usual: 5.")
    require_counts(seeds=seeds)


def untried(error: UsageError | OverBudgetError) -> str:
    """Why a remedy cannot be tried, in one line.

    >>> untried(UsageError("no net of\\n  that kind."))
    'cannot be tried: no net of that kind.'
    """
    return f"cannot be tried: {' '.join(str(error).split())}"


def short_limit(epochs: int) -> int:
    """The maximum number of training images in each epoch of a short trial.

    >>> short_limit(1), short_limit(20), short_limit(500)
    (60000, 3000, 1000)
    """
    return max(MIN_IMAGES, IMAGE_PASSES // epochs)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """What is trained. arms: the unchanged and the changed recipe as they run; one or none if the gain is honesty.

    costs: of the unchanged and the changed recipe.
    """

    finding: Finding
    remedy: Remedy
    seeds: tuple[int, ...]
    unchanged: Recipe
    changed: Recipe
    arms: tuple[ResolvedRecipe, ...]
    costs: tuple[Expense, Expense]
    n_classes: int
    budget: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the remedy changes."""
        return tuple(change.key for change in diff(self.unchanged, self.changed))


def _setup(recipe: Recipe, finding: Finding, seeds: Sequence[int], *, is_full: bool) -> _Setup:
    if finding.remedy is None:
        raise UsageError(f"{finding.code} has no remedy that can be tried{_advice(finding)}.")
    changed = override(recipe, finding.remedy.changes)
    resolved = plan(recipe).require()
    source = resolved.source
    cost_after = plan(changed, source).require().cost
    whole = (recipe,) if finding.remedy.gain == "honesty" else (cleanly_evaluated(recipe), cleanly_evaluated(changed))
    short = whole if is_full else shortened(whole, source.sizes)
    is_known = finding.remedy.gain == "honesty" and not reports_otherwise(
        recipe, tuple(change.key for change in diff(recipe, changed))
    )
    return _Setup(
        finding=finding,
        remedy=finding.remedy,
        seeds=tuple(seeds),
        unchanged=recipe,
        changed=changed,
        arms=() if is_known else tuple(plan(_renamed(arm), source).require() for arm in short),
        costs=(_expense(resolved.cost), _expense(cost_after)),
        n_classes=source.sizes.n_classes,
        budget="nothing had to be trained" if is_known else _budget_words(short[0], whole[0], source.sizes),
    )


def _advice(finding: Finding) -> str:
    return f"; it advises: {finding.advice}" if finding.advice else ""


def cleanly_evaluated(recipe: Recipe) -> Recipe:
    """The recipe with a clean evaluation on held-out images; a shared transform that disables augmentation in training
    is kept."""
    kept = {"shared_transform": recipe.protocol.shared_transform}
    protocol = ProtocolSection(**kept) if kept["shared_transform"] == "evaluation" else ProtocolSection()
    data = recipe.data.model_copy(update={"validation": recipe.data.validation or None})
    return recipe.model_copy(update={"protocol": protocol, "data": data})


def shortened(arms: Sequence[Recipe], sizes: SetSizes) -> tuple[Recipe, ...]:
    """The recipes limited to the same number of images, so that the longest run sees about IMAGE_PASSES."""
    limit = short_limit(max(arm.train.epochs for arm in arms))
    return tuple(_limited(arm, limit) if limit < data_facts(arm, sizes).n_train else arm for arm in arms)


def _limited(arm: Recipe, limit: int) -> Recipe:
    return arm.model_copy(update={"data": arm.data.model_copy(update={"train_limit": limit})})


def _renamed(recipe: Recipe) -> Recipe:
    """With a name that distinguishes runs of a trial from runs of the recipe."""
    return recipe.model_copy(update={"name": f"{recipe.name} ({STUDY})"})


def _budget_words(short: Recipe, arm: Recipe, sizes: SetSizes) -> str:
    epochs = "1 epoch" if arm.train.epochs == 1 else f"{arm.train.epochs} epochs"
    all_images = data_facts(arm, sizes).n_train
    if short == arm:
        return f"in full: {all_images:,} training images, {epochs}"
    return f"short: {data_facts(short, sizes).n_train:,} of {all_images:,} training images, {epochs}"


def _train(
    setup: _Setup,
    *,
    store: Store,
    executor: Executor,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> list[tuple[RunRecord, ...]] | None:
    """The runs of each arm by seed; those not on record are trained. None if stopped."""
    requests = {arm.hash: _request(setup, arm) for arm in setup.arms}
    executed = execute(tuple(requests.values()), store=store, executor=executor, watch=watch, should_stop=should_stop)
    if not all(one.is_complete for one in executed):
        return None
    records = dict(zip(requests, (one.records for one in executed), strict=True))
    return [records[arm.hash] for arm in setup.arms] or [()]


def _request(setup: _Setup, arm: ResolvedRecipe) -> TrainingRequest:
    baseline = setup.arms[0].hash
    return TrainingRequest(
        recipe=arm,
        seeds=setup.seeds,
        purpose="trial",
        figures=("validation", "test") if setup.remedy.gain == "honesty" else ("validation",),
        study=STUDY,
        parent_hash=baseline if arm.hash != baseline else None,
    )


def _comparison(setup: _Setup, before: Sequence[RunRecord], after: Sequence[RunRecord]) -> Trial:
    """The trial of a remedy for accuracy or cost."""
    guess = 1 / setup.n_classes
    was, now = (tuple(_accuracy(run, guess) for run in runs) for runs in (before, after))
    count = next((run.validation_count for run in (*before, *after) if run.validation_count), None)
    found = paired(was, now, resolution=1 / (count or setup.arms[0].data.n_validation))
    costs = setup.costs
    is_cheaper = any(new < old for old, new in zip(_sizes(costs[0]), _sizes(costs[1]), strict=True))
    if setup.remedy.gain == "cost":
        has_helped = is_cheaper and found.low is not None and found.low > -MAX_LOSS
    else:
        has_helped = found.effect > 0 and found.p is not None and found.p < LEVEL
    outcome = outcome_words(setup.remedy.gain, found, is_cheaper=is_cheaper, has_helped=has_helped, max_loss=MAX_LOSS)
    return _trial_of(
        setup,
        before=was,
        after=now,
        found=found,
        has_helped=has_helped,
        line=(saved_words(*costs) if setup.remedy.gain == "cost" else "")
        + accuracy_words(was, now, found)
        + f": {outcome}"
        + diverged_words(before, after, guess),
        runs=(*before, *after),
    )


def _accuracy(run: RunRecord, guess: float) -> float:
    """Validation accuracy; that of guessing for a diverged run."""
    return guess if run.status == "diverged" or run.validation_accuracy is None else run.validation_accuracy


def _expense(cost: Cost) -> Expense:
    return Expense(params=cost.params, registered_params=cost.registered_params, macs=cost.macs)


def _sizes(expense: Expense) -> tuple[int, ...]:
    return expense.params, expense.registered_params, expense.macs


def _clean_evaluation(setup: _Setup, runs: Sequence[RunRecord], store: Store) -> Trial:
    """The trial of a remedy for a clean evaluation: how much the reported figures are off."""
    finished = [run for run in runs if run.status == "finished"]
    shown = reported_otherwise(setup.unchanged, setup.keys, finished, store) if finished else ()
    is_left = any(value_at(setup.changed, key) != CLEAN[key] for key in setup.keys if key in CLEAN)
    return _trial_of(
        setup,
        reported=shown[0].reported if shown else (),
        clean=shown[0].clean if shown else (),
        found=shown[0].difference() if shown else None,
        has_helped=bool(setup.keys) and not is_left,
        line=evaluation_line(shown, runs, finished),
        runs=runs,
    )


def _trial_of(
    setup: _Setup,
    *,
    found: Paired | None,
    has_helped: bool,
    line: str,
    runs: Sequence[RunRecord],
    **figures: tuple[float, ...],
) -> Trial:
    return Trial(
        code=setup.finding.code,
        gain=setup.remedy.gain,
        changes=setup.remedy.changes,
        seeds=setup.seeds,
        **figures,
        cost_before=setup.costs[0],
        cost_after=setup.costs[1],
        paired=found,
        has_helped=has_helped,
        line=line,
        budget=setup.budget,
        run_ids=tuple(dict.fromkeys(run.id for run in runs)),
    )
