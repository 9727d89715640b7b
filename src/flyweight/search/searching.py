"""A search from its plan to its winner: trials until the time of the finals, then the finals on fresh seeds.

Each of a few threads claims a trial, has it trained by the executor, and finishes it; the database is the truth, so
that a search that was stopped or killed goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from flyweight.data.facts import ImageSource
from flyweight.errors import DataError, FlyweightError, MissingError, UsageError, require_counts
from flyweight.execute.automatic import AUTOMATIC
from flyweight.execute.executor import Executor
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import EpochDone, Event, Stepped, ignore, never
from flyweight.experiment.plan import plan as make_plan
from flyweight.experiment.resolved import canonical, data_facts, source_of
from flyweight.model.budget import Budget
from flyweight.model.notation import is_own_module
from flyweight.recipe import Recipe, load, override
from flyweight.records.ids import new_run_id
from flyweight.records.search_record import SearchRecord, TrialFigures, TrialRecord
from flyweight.records.store import Store
from flyweight.search.events import PhaseBegan, SearchEvent, TrialBegan, TrialEnded
from flyweight.search.finals import run_finals
from flyweight.search.front import parse_aims
from flyweight.search.known import known_designs
from flyweight.search.plan import SLOWEST, SearchPlan, base_recipe, bounded_by, epochs_for, plan_of
from flyweight.search.result import SearchResult
from flyweight.search.rung import RungResult, forget_files, require_runnable, train_rung
from flyweight.search.space import Space
from flyweight.search.strategy import Strategy, StrategyName, hopeless

OPTIONS: Final = {"n_seeds": "seeds", "workers": "at-once", "max_trials": "trials"}
MAX_MINUTES: Final = 1_000_000
MOST: Final = {"epochs": 10_000, "n_seeds": 1_000, "workers": 256}
START: Final = "own/8k"
CALIBRATION_IMAGES: Final = 2_000
CALIBRATION_EPOCHS: Final = 3
MAX_ATTEMPTS: Final = 6  # each promotion is one more
MAX_WEIGHTS: Final = 20
SECONDS_BETWEEN_RENEWALS: Final = 20.0
SECONDS_BETWEEN_SAVES: Final = 5.0
SECONDS_OF_A_START: Final = 3.0
MARGIN_OF_FINALS: Final = 1.2


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What a person asks for. recipe: where it begins; its net is scaled to the budget. minutes: of the whole search.

    epochs, n_seeds, workers: by default from the time, the speed and the cores of this machine. max_trials: the finals
    begin after so many, if there is time left. pareto: two aims, as "params,accuracy"; the front is then in the finals.
    """

    budget: Budget
    minutes: float
    recipe: str | Path = START
    overrides: tuple[str, ...] = ()
    name: str | None = None
    space: Space = field(default_factory=Space)
    strategy: StrategyName = "evolution"
    epochs: int | None = None
    n_seeds: int | None = None
    workers: int | None = None
    max_trials: int | None = None
    pareto: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("minutes", "epochs", "n_seeds", "workers", "max_trials"):
            value = getattr(self, name)
            most = MOST.get(name, MAX_MINUTES)
            if value is not None and not 0 < value <= most:
                raise UsageError(f"--{OPTIONS.get(name, name)} must be above 0 and at most {most:,}, found {value}.")
        require_counts(seed=self.seed)


def search(
    request: SearchRequest,
    *,
    store: Store,
    executor: Executor = AUTOMATIC,
    watch: Callable[[SearchEvent], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> SearchResult | None:
    """The best net of the request's budget and time, with what was tried; None if it was stopped before its end.

    A script that calls this needs the usual `if __name__ == "__main__":`, because each process imports the script.

    Raises:
        UsageError: an empty space, a budget that nothing fits, a name that is taken.
        FlyweightError: what would meet every trial, such as a full disk; the search can be resumed.
    """
    began = time.monotonic()
    recipe = base_recipe(load(request.recipe, overrides=request.overrides), request.budget)
    if is_own_module(recipe.model.net):
        raise UsageError("a search changes nets in notation, and the recipe has a module of your own; name another.")
    source = source_of(recipe)
    recipe = canonical(recipe, source)
    bounded = bounded_by(source, request.space, request.budget)
    bounded.require_feasible()
    pareto = None if request.pareto is None else parse_aims(request.pareto, request.budget)
    name = request.name or _new_name(store)
    store.searches_folder(name)  # a name that is none is an error of its own
    executor.make_ready()
    if source.is_named:
        source.images  # noqa: B018  # downloads happen once, and before any run starts
    watch(PhaseBegan(phase="calibration"))
    workers = request.workers or _usable_cores()
    first = next((design for design, _ in known_designs(recipe, bounded)), None)
    measured = first.recipe(recipe) if first is not None else override(recipe, ["model.net=flat fc10"])
    seconds = _epoch_seconds(measured, source, workers, store=store, executor=executor, should_stop=should_stop)
    if seconds is None:
        return None
    n_seeds = request.n_seeds or (5 if request.minutes >= 20 else 3)
    epochs = request.epochs or epochs_for(
        minutes=request.minutes, workers=workers, epoch_seconds=seconds, n_seeds=n_seeds
    )
    limit = request.budget.seconds
    plan = SearchPlan(
        name=name,
        recipe=override(recipe, [f"train.epochs={epochs}"]),
        budget=request.budget,
        space=request.space,
        strategy=request.strategy,
        minutes=request.minutes,
        workers=workers,
        epochs=epochs,
        n_seeds=n_seeds,
        epoch_seconds=seconds,
        max_epoch_seconds=SLOWEST * seconds if limit is None else limit / epochs,
        train_seed=request.seed,
        code=_code(),
        data_hash=source.images.fingerprint,
        max_trials=request.max_trials,
        pareto=pareto,
    )
    store.searches.start(name, plan.as_dict())
    return _Search(plan, source, store, executor, watch, should_stop, spent=time.monotonic() - began).run()


def resume_search(
    name: str,
    *,
    store: Store,
    minutes: float | None = None,
    executor: Executor = AUTOMATIC,
    watch: Callable[[SearchEvent], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> SearchResult | None:
    """Go on with a search that was stopped or killed. minutes: a new limit for the whole of it.

    Raises:
        UsageError: a search that is finished or under way, or that another version of the code began.
        DataError: images that have changed since, or are gone.
    """
    record = store.searches.get(name)
    plan = _plan_on_record(record)
    source = source_of(plan.recipe)
    if source.images.fingerprint != plan.data_hash:
        raise DataError(
            f"search {name!r}: the images of {plan.recipe.data.name} have changed since it began (hash "
            f"{plan.data_hash[:12]}, now {source.images.fingerprint[:12]}); restore them, or begin a new search."
        )
    if plan.code != _code():
        raise UsageError(
            f"search {name!r} was begun by another version of flyweight's code, whose trials may not be comparable; "
            "use that version, or begin a new search."
        )
    record = store.searches.resume(name)
    if minutes is not None:
        plan = replace(plan, minutes=minutes)
    executor.make_ready()
    return _Search(plan, source, store, executor, watch, should_stop, spent=record.seconds).run()


def remove_search(name: str, *, store: Store) -> int:
    """Remove a search with its trials and their files; returns how many runs there were. The finals stay, as runs."""
    import shutil

    removed = store.searches.remove(name)
    for run_id in removed:
        store.folder(run_id).remove()
    shutil.rmtree(store.searches_folder(name), ignore_errors=True)
    return len(removed)


class _Search:
    """The state of a search under way in this process. spent: seconds before."""

    def __init__(
        self,
        plan: SearchPlan,
        source: ImageSource,
        store: Store,
        executor: Executor,
        watch: Callable[[SearchEvent], None],
        should_stop: Callable[[], bool],
        *,
        spent: float,
    ) -> None:
        self.plan, self.source, self.store, self.executor = plan, source, store, executor
        self.strategy: Strategy = plan.make_strategy(source)
        self._watch, self._should_stop = watch, should_stop
        self._spent, self._began, self._saved = spent, time.monotonic(), 0.0
        self._lock = threading.Lock()
        self._errors: list[FlyweightError] = []
        self._is_used_up = False

    def run(self) -> SearchResult | None:
        name, searches = self.plan.name, self.store.searches
        try:
            self._watch(PhaseBegan(phase="trials", plan=self.plan))
            self._trials()
            if self._errors:
                raise self._errors[0]
            if self._should_stop():
                return None
            trials = searches.trials(name)
            self._watch(PhaseBegan(phase="finals", plan=self.plan))
            result = run_finals(
                self.plan,
                trials,
                source=self.source,
                store=self.store,
                executor=self.executor,
                watch=self._watch,
                should_stop=self._should_stop,
            )
            if result is None:
                return None
            searches.save(name, "finished", seconds=self.seconds, result=result.as_dict())
            self._tidy(is_over=True)
            self._watch(PhaseBegan(phase="done", plan=self.plan))
            return result
        finally:
            if searches.get(name).status != "finished":
                searches.save(name, "stopped", seconds=self.seconds)

    @property
    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._began

    def seconds_left(self) -> float:
        """Before the finals must begin."""
        return self.plan.minutes * 60 - self.seconds - self._seconds_of_finals()

    def _seconds_of_finals(self) -> float:
        n_trainings = (self.plan.n_finalists + 1) * self.plan.n_seeds
        one = self._slowest_epoch * self.plan.epochs + SECONDS_OF_A_START
        return MARGIN_OF_FINALS * n_trainings * one / self.plan.workers

    _slowest_epoch = 0.0

    def _trials(self) -> None:
        self._slowest_epoch = self.plan.epoch_seconds
        self._tidy(is_over=False)
        with ThreadPoolExecutor(self.plan.workers, thread_name_prefix="trial") as pool:
            threads = [pool.submit(self._work) for _ in range(self.plan.workers)]
            # The main thread waits in short steps, so that it sees signals.
            while wait(threads, timeout=0.2).not_done:
                if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
                    self._saved = time.monotonic()
                    self.store.searches.save(self.plan.name, "running", seconds=self.seconds)
            for thread in threads:
                thread.result()

    def _is_over(self) -> bool:
        return bool(self._errors) or self._should_stop() or self.seconds_left() <= 0

    def _work(self) -> None:
        """Claim, train and finish trials until the time is over."""
        while not self._is_over():
            trial = self.store.searches.claim(self.plan.name, self.strategy.choose)
            if trial is None:
                return
            self._tell(TrialBegan(trial=trial))
            try:
                result = train_rung(
                    self.plan,
                    trial,
                    source=self.source,
                    store=self.store,
                    executor=self.executor,
                    watch=self._renewing(trial),
                    should_stop=self._is_over,
                )
            except FlyweightError as error:
                self._failed(trial, error)
            except BaseException:
                self.store.searches.release(self.plan.name, trial)
                raise
            else:
                self._finish(trial, result)

    def _finish(self, trial: TrialRecord, result: RungResult) -> None:
        searches, name = self.store.searches, self.plan.name
        if result.status is None:
            searches.release(name, trial)
            return
        is_stored = searches.finish(
            name,
            trial,
            result.status,
            accuracies=result.accuracies,
            seconds=result.seconds,
            message=result.message,
        )
        if not is_stored:  # another process has taken it up since
            return
        self._tidy(is_over=False)
        figures = searches.figures(name)
        now = next(one for one in figures if one.number == trial.number)
        best = max(figures, key=lambda one: one.rank)
        if now.number == best.number and now.rung:
            self._slowest_epoch = max(now.seconds / self.plan.rungs[now.rung - 1], 0.5 * self.plan.epoch_seconds)
        self._tell(
            TrialEnded(
                trial=now,
                net=str(trial.design["net"]),
                is_best=best.number == now.number,
                seconds_left=max(0.0, self.seconds_left()),
            )
        )

    def _failed(self, trial: TrialRecord, error: FlyweightError) -> None:
        """A killed process is tried again; what would meet every trial ends the search."""
        name = self.plan.name
        try:
            require_runnable(error)
        except FlyweightError as fatal:
            with self._lock:
                self._errors.append(fatal)
            try:
                self.store.searches.release(name, trial)
            except MissingError:  # the database is away; the trial will be found to be abandoned
                return
            return
        if trial.attempt - trial.rung < MAX_ATTEMPTS:
            self.store.searches.release(name, trial)
        else:
            self.store.searches.finish(
                name, trial, "failed", accuracies=trial.accuracies, seconds=trial.seconds, message=str(error)
            )

    def _tidy(self, *, is_over: bool) -> None:
        """Files live while a trial can be promoted; the weights of the best stay."""
        searches, name = self.store.searches, self.plan.name
        figures = searches.figures(name)
        if is_over:  # those under way were given back when the time of the trials was over
            groups = searches.halve(name, [one.number for one in figures], of=("paused", "running"))
        else:
            groups = searches.halve(name, hopeless(figures, len(self.plan.rungs), self.plan.pareto))
        finished = sorted((one for one in figures if one.status == "finished"), key=lambda one: one.rank)
        groups += tuple(one.group_id for one in finished[:-MAX_WEIGHTS])
        for group in groups:
            forget_files(group, self.store)

    def _renewing(self, trial: TrialFigures) -> Callable[[Event], None]:
        renewed = time.monotonic()

        def watch(event: Event) -> None:
            nonlocal renewed
            if isinstance(event, Stepped | EpochDone) and time.monotonic() - renewed > SECONDS_BETWEEN_RENEWALS:
                renewed = time.monotonic()
                self.store.searches.renew(self.plan.name, trial)

        return watch

    def _tell(self, event: SearchEvent) -> None:
        with self._lock:
            self._watch(event)


def _epoch_seconds(
    recipe: Recipe,
    source: ImageSource,
    workers: int,
    *,
    store: Store,
    executor: Executor,
    should_stop: Callable[[], bool],
) -> float | None:
    """Seconds of an epoch of the first design while all workers train; None if it was stopped. Its runs are removed."""
    facts = data_facts(recipe, source.sizes)
    n_images = min(CALIBRATION_IMAGES, facts.n_train)
    short = override(recipe, [f"train.epochs={CALIBRATION_EPOCHS}", f"data.train_limit={n_images}", "name=calibration"])
    request = TrainingRequest(
        recipe=make_plan(short, source).require(),
        seeds=tuple(range(workers)),
        purpose="search",
        figures=("validation",),
        retrain=True,
        opens_test=False,
    )
    group = new_run_id()
    jobs = [TrainingJob(request=request, seed=seed, group_id=group) for seed in request.seeds]
    executor.train(jobs, store=store, watch=ignore, should_stop=should_stop)
    found = store.runs(group_id=group, purpose="search")
    # The first epoch of a process is slower: it asks the system for memory.
    epochs = [[one.seconds for one in store.epochs(run.id) if one.seconds] for run in found]
    seconds = [min(of_run) for of_run in epochs if of_run]
    for run in found:
        store.forget(run.id)
    return None if not seconds else max(seconds) * facts.n_train / n_images


def _plan_on_record(record: SearchRecord) -> SearchPlan:
    try:
        return plan_of(record.plan)
    except (KeyError, TypeError, UsageError) as error:
        found = " ".join(str(error).split())
        raise UsageError(f"search {record.name!r} was begun by another version of flyweight ({found}).") from error


def _new_name(store: Store) -> str:
    taken = set(store.searches.names())
    return next(name for number in range(1, len(taken) + 2) if (name := f"search-{number}") not in taken)


def _usable_cores() -> int:
    from flyweight.train.device import usable_cores

    return usable_cores()


def _code() -> str:
    from flyweight.experiment.setup import code_fingerprint

    return code_fingerprint()
