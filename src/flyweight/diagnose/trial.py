"""Trying a remedy: a recipe unchanged and with only the change, the same seeds, side by side, and whether it helped.

Goes in: a recipe and a finding with a remedy. Comes out: a proof, a value that is kept beside a run. What is compared
is always measured honestly, whatever the protocol of the recipe tells; how a remedy was found is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from flyweight.data.facts import SetSizes
from flyweight.diagnose.clean_figures import TwoFigures, tells_otherwise, told_otherwise
from flyweight.doctor.diagnosis import Tried
from flyweight.doctor.finding import Finding, Gain, Remedy
from flyweight.errors import DataError, OverBudgetError, UsageError, require_counts
from flyweight.evidence.paired import Paired, paired
from flyweight.evidence.verdict import LEVEL, p_value, points
from flyweight.execute.execution import execute
from flyweight.execute.executor import Executor
from flyweight.execute.process_executor import PROCESSES
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.events import Event, ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import ResolvedRecipe, data_facts
from flyweight.model.cost import Cost
from flyweight.recipe import ProtocolSection, Recipe, diff, override, value_at
from flyweight.recipe.difference import HONEST
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder, validated
from flyweight.records.store import Store

STUDY: Final = "doctor"

# A short proof shows every run about as many images as MNIST has, over all its epochs together: seconds a seed.
IMAGE_PASSES: Final = 60_000
FEWEST_IMAGES: Final = 1_000  # fewer teach so little that every remedy looks alike

# A cheaper net is as good where it is sure to lose less than this: seeds of one recipe in short runs differ by as much
# (own/8k on 10,000 images, 3 epochs: up to 0.4 points between n = 3).
MOST_LOST: Final = 0.005


@dataclass(frozen=True, kw_only=True)
class Expense:
    """What a recipe's net costs: parameters that run, parameters that it holds, multiplications an image."""

    params: int
    registered_params: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What came of trying a remedy.

    before, after: validation accuracies, one a seed; both empty where the gain is honesty, and told, honest empty
    where it is not: those are figures of the same runs, told as the protocol has it and measured honestly. paired is
    None where no figure could be compared. line: all of it in one line. budget: how long was trained, in words.
    """

    code: str
    gain: Gain
    changes: tuple[str, ...]
    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    told: tuple[float, ...]
    honest: tuple[float, ...]
    cost_before: Expense
    cost_after: Expense
    paired: Paired | None
    has_helped: bool
    line: str
    budget: str
    run_ids: tuple[str, ...]


def prove(
    recipe: Recipe,
    finding: Finding,
    *,
    store: Store,
    seeds: int = 5,
    first_seed: int = 0,
    is_full: bool = False,
    executor: Executor = PROCESSES,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> Proof | None:
    """Try the remedy of a finding; None if it was stopped before every seed was over.

    Runs belong to the study "doctor". Those that are on record already are not trained again, and a stopped proof goes
    on where it stood when it is asked for again. A short proof (the default) trains on fewer images, both sides on the
    same ones; `is_full` runs the recipe as it is. A run that diverged has no answers and counts as guessing, one of
    the classes.

    - accuracy: helps if validation accuracy rises with p < 0.05 over pairs of the same seed.
    - cost: helps if parameters or multiplications fall, and the interval of the change in accuracy ends above
      -0.5 points.
    - honesty: nothing is promised but figures that mean what they say, so only the unchanged recipe runs, and what it
      tells is held against what is honest.

    Raises:
        UsageError: fewer than two seeds, or a finding without a remedy.
        RecipeError, OverBudgetError: a remedy that makes a recipe which cannot be trained; nothing was spent.
    """
    require_counts(seed=first_seed)
    require_seeds(seeds)
    trial = _trial(recipe, finding, range(first_seed, first_seed + seeds), is_full=is_full)
    runs = _train(trial, store=store, executor=executor, watch=watch, should_stop=should_stop)
    if runs is None:
        return None
    return _honesty(trial, runs[0], store) if trial.remedy.gain == "honesty" else _comparison(trial, *runs)


def require_seeds(seeds: int) -> None:
    """Refuse (UsageError) so few seeds that nothing can be proved with them."""
    if seeds < 2:
        raise UsageError(f"a proof needs 2 seeds or more to know their spread, found {seeds}; 5 is the usual number.")
    require_counts(seeds=seeds)


def untried(error: UsageError | OverBudgetError) -> str:
    """Why a remedy cannot be tried, in one line.

    >>> untried(UsageError("no net of\\n  that kind."))
    'cannot be tried: no net of that kind.'
    """
    return f"cannot be tried: {' '.join(str(error).split())}"


def short_limit(epochs: int) -> int:
    """How many images at most train in each epoch of a short proof.

    >>> short_limit(1), short_limit(20), short_limit(500)
    (60000, 3000, 1000)
    """
    return max(FEWEST_IMAGES, IMAGE_PASSES // epochs)


def keep_proofs(folder: RunFolder, proofs: Sequence[Proof]) -> None:
    """Write proofs beside a run; of each code the newest is kept. What was damaged is written anew."""
    known = {proof.code: proof for proof in (*_read_if_whole(folder), *proofs)}
    folder.write_json("trials", [asdict(known[code]) for code in sorted(known)])


def read_proofs(folder: RunFolder) -> tuple[Proof, ...]:
    """The proofs that were kept beside a run; none where there are none.

    Raises:
        DataError: a file that holds something else.
    """

    def parse(value: object) -> tuple[Proof, ...]:
        return validated(tuple[Proof, ...], value)

    return folder.read_json("trials", parse, holds="trials of remedies") or ()


def read_tried(folder: RunFolder) -> tuple[Tried, ...]:
    """What came of the remedies that were tried, for a diagnosis; a damaged file does not stop it."""
    return tuple(
        Tried(code=proof.code, has_helped=proof.has_helped, line=proof.line) for proof in _read_if_whole(folder)
    )


def _read_if_whole(folder: RunFolder) -> tuple[Proof, ...]:
    try:
        return read_proofs(folder)
    except DataError:
        return ()


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What is to be trained. arms: unchanged and changed, as they run; one where the gain is honesty, or none.

    costs: of the unchanged recipe and of the changed one, which the arms have too.
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
        """What the remedy changes."""
        return tuple(change.key for change in diff(self.unchanged, self.changed))


def _trial(recipe: Recipe, finding: Finding, seeds: Sequence[int], *, is_full: bool) -> _Trial:
    if finding.remedy is None:
        raise UsageError(f"{finding.code} has no remedy that can be tried{_advice(finding)}.")
    changed = override(recipe, finding.remedy.changes)
    resolved = plan(recipe).require()
    source = resolved.source
    cost_after = plan(changed, source).require().cost
    whole = (recipe,) if finding.remedy.gain == "honesty" else (honest(recipe), honest(changed))
    short = whole if is_full else shortened(whole, source.sizes)
    is_known = finding.remedy.gain == "honesty" and not tells_otherwise(
        recipe, tuple(change.key for change in diff(recipe, changed))
    )
    return _Trial(
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


def honest(recipe: Recipe) -> Recipe:
    """The recipe measured honestly; a transform that takes the augmentation from training is part of what it does."""
    kept = {"shared_transform": recipe.protocol.shared_transform}
    protocol = ProtocolSection(**kept) if kept["shared_transform"] == "evaluation" else ProtocolSection()
    return recipe.model_copy(update={"protocol": protocol})


def shortened(arms: Sequence[Recipe], sizes: SetSizes) -> tuple[Recipe, ...]:
    """The recipes on so few images that the longest of them sees about IMAGE_PASSES; all have the same limit."""
    limit = short_limit(max(arm.train.epochs for arm in arms))
    return tuple(_limited(arm, limit) if limit < data_facts(arm, sizes).n_train else arm for arm in arms)


def _limited(arm: Recipe, limit: int) -> Recipe:
    return arm.model_copy(update={"data": arm.data.model_copy(update={"train_limit": limit})})


def _renamed(recipe: Recipe) -> Recipe:
    """Under a name of its own, so that no list takes a run of a proof for one of the recipe."""
    return recipe.model_copy(update={"name": f"{recipe.name} ({STUDY})"})


def _budget_words(short: Recipe, arm: Recipe, sizes: SetSizes) -> str:
    epochs = "1 epoch" if arm.train.epochs == 1 else f"{arm.train.epochs} epochs"
    all_images = data_facts(arm, sizes).n_train
    if short == arm:
        return f"in full: {all_images:,} training images, {epochs}"
    return f"short: {data_facts(short, sizes).n_train:,} of {all_images:,} training images, {epochs}"


def _train(
    trial: _Trial,
    *,
    store: Store,
    executor: Executor,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> list[tuple[RunRecord, ...]] | None:
    """The runs of each arm in the order of the seeds, trained where they are not on record; None if it was stopped."""
    requests = {arm.hash: _request(trial, arm) for arm in trial.arms}
    answers = execute(tuple(requests.values()), store=store, executor=executor, watch=watch, should_stop=should_stop)
    if not all(answer.is_whole for answer in answers):
        return None
    records = dict(zip(requests, (answer.records for answer in answers), strict=True))
    return [records[arm.hash] for arm in trial.arms] or [()]


def _request(trial: _Trial, arm: ResolvedRecipe) -> TrainingRequest:
    baseline = trial.arms[0].hash
    return TrainingRequest(
        recipe=arm,
        seeds=trial.seeds,
        purpose="trial",
        figures=("validation", "test") if trial.remedy.gain == "honesty" else ("validation",),
        study=STUDY,
        parent_hash=baseline if arm.hash != baseline else None,
    )


def _comparison(trial: _Trial, before: Sequence[RunRecord], after: Sequence[RunRecord]) -> Proof:
    """The proof of a remedy that promises accuracy, or the same accuracy for less."""
    guess = 1 / trial.n_classes
    was, now = (tuple(_accuracy(run, guess) for run in runs) for runs in (before, after))
    count = next((run.validation_count for run in (*before, *after) if run.validation_count), None)
    found = paired(was, now, resolution=1 / (count or trial.arms[0].data.n_validation))
    costs = trial.costs
    is_cheaper = any(new < old for old, new in zip(_sizes(costs[0]), _sizes(costs[1]), strict=True))
    if trial.remedy.gain == "cost":
        has_helped = is_cheaper and found.low is not None and found.low > -MOST_LOST
    else:
        has_helped = found.effect > 0 and found.p is not None and found.p < LEVEL
    return _proof(
        trial,
        before=was,
        after=now,
        found=found,
        has_helped=has_helped,
        line=(_saved_words(*costs) if trial.remedy.gain == "cost" else "")
        + _accuracy_words(was, now, found)
        + f": {_outcome_words(trial.remedy.gain, found, is_cheaper, has_helped)}"
        + _diverged_words(before, after, guess),
        runs=(*before, *after),
    )


def _accuracy(run: RunRecord, guess: float) -> float:
    """On held-out images; a run that diverged guesses."""
    return guess if run.status == "diverged" or run.validation_accuracy is None else run.validation_accuracy


def _expense(cost: Cost) -> Expense:
    return Expense(params=cost.params, registered_params=cost.registered_params, macs=cost.macs)


def _sizes(expense: Expense) -> tuple[int, ...]:
    return expense.params, expense.registered_params, expense.macs


def _honesty(trial: _Trial, runs: Sequence[RunRecord], store: Store) -> Proof:
    """The proof of a remedy after which figures mean what they say: how far off those were that are told now."""
    finished = [run for run in runs if run.status == "finished"]
    shown = _differing(told_otherwise(trial.unchanged, trial.keys, finished, store)) if finished else ()
    is_left = any(value_at(trial.changed, key) != HONEST[key] for key in trial.keys if key in HONEST)
    return _proof(
        trial,
        told=shown[0].told if shown else (),
        honest=shown[0].honest if shown else (),
        found=_by_how_much(shown[0]) if shown else None,
        has_helped=bool(trial.keys) and not is_left,
        line=_honesty_words(shown, runs, finished),
        runs=runs,
    )


def _proof(
    trial: _Trial,
    *,
    found: Paired | None,
    has_helped: bool,
    line: str,
    runs: Sequence[RunRecord],
    **figures: tuple[float, ...],
) -> Proof:
    values: Mapping[str, tuple[float, ...]] = {"before": (), "after": (), "told": (), "honest": (), **figures}
    return Proof(
        code=trial.finding.code,
        gain=trial.remedy.gain,
        changes=trial.remedy.changes,
        seeds=trial.seeds,
        **values,
        cost_before=trial.costs[0],
        cost_after=trial.costs[1],
        paired=found,
        has_helped=has_helped,
        line=line,
        budget=trial.budget,
        run_ids=tuple(dict.fromkeys(run.id for run in runs)),
    )


def _accuracy_words(before: Sequence[float], after: Sequence[float], found: Paired) -> str:
    was, now = 100 * _mean(before), 100 * _mean(after)
    return f"validation {was:.2f} % → {now:.2f} %, {_effect_words(found)}"


def _effect_words(found: Paired) -> str:
    parts = [points(found.effect)]
    if found.low is not None and found.high is not None:
        parts[0] += f" (95 % interval {_bare(found.low)} to {_bare(found.high)})"
    if found.p is not None:
        parts.append(p_value(found.p))
    return ", ".join([*parts, f"n = {found.n}"])


def _bare(effect: float) -> str:
    return points(effect).removesuffix(" points")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _outcome_words(gain: Gain, found: Paired, is_cheaper: bool, has_helped: bool) -> str:
    lost = f"{100 * MOST_LOST:g} points"
    if gain == "cost":
        if not is_cheaper:
            return "does not help, nothing gets cheaper"
        return f"helps, it loses less than {lost}" if has_helped else f"may lose {lost} or more, so it does not help"
    if has_helped:
        return "helps"
    return "not shown to help" if found.effect > 0 else "does not help"


def _saved_words(before: Expense, after: Expense) -> str:
    """What gets cheaper or dearer, ready to stand before the accuracies."""
    named = zip(("parameters", "registered parameters", "MACs"), _sizes(before), _sizes(after), strict=True)
    told = [f"{was:,} → {now:,} {name}" for name, was, now in named if was != now]
    return f"{', '.join(told)}; " if told else ""


def _diverged_words(before: Sequence[RunRecord], after: Sequence[RunRecord], guess: float) -> str:
    told = [
        f"{n} of {len(runs)} {name} runs"
        for name, runs in (("unchanged", before), ("changed", after))
        if (n := sum(run.status == "diverged" for run in runs))
    ]
    if not told:
        return ""
    return f" ({' and '.join(told)} diverged, which counts as guessing, {100 * guess:.4g} %)"


def _differing(figures: Sequence[TwoFigures]) -> tuple[TwoFigures, ...]:
    """Those that were told otherwise than they are, each thing once."""
    found: dict[str, TwoFigures] = {}
    for figure in figures:
        if figure.do_differ:
            found.setdefault(figure.what, figure)
    return tuple(found.values())


def _by_how_much(figure: TwoFigures) -> Paired:
    return paired(figure.honest, figure.told, resolution=1 / figure.count if figure.count else 0.0)


def _honesty_words(figures: Sequence[TwoFigures], runs: Sequence[RunRecord], finished: Sequence[RunRecord]) -> str:
    if runs and not finished:
        return "every run diverged, so no figure could be compared; the change tells the honest ones"
    if not figures:
        return "no figure need change: nothing was told otherwise; after the change it is measured as it should be"
    told = "; ".join(_figure_words(figure) for figure in figures)
    return f"{told}; the change tells the honest {'one' if len(figures) == 1 else 'ones'}"


def _figure_words(figure: TwoFigures) -> str:
    """What was told, what is honest, and how far they are apart where that is in points."""
    found, told, honestly = _by_how_much(figure), _mean(figure.told), _mean(figure.honest)
    if figure.count is None:
        return f"{figure.what} told as {told:.4g}, honestly {honestly:.4g}, n = {found.n}"
    return f"{figure.what} told as {100 * told:.2f} %, honestly {100 * honestly:.2f} %: off by {_effect_words(found)}"
