"""A search from its request to its winner, on real trainings of tiny nets: what it opens, keeps, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from flyweight.cli.app import run as command
from flyweight.errors import FlyweightError, MissingError, UsageError
from flyweight.execute.job import train_job
from flyweight.execute.process_executor import Processes
from flyweight.execute.request import TrainingJob
from flyweight.experiment.events import Event, Started
from flyweight.experiment.run import run
from flyweight.model.budget import Budget
from flyweight.recipe import load, override
from flyweight.records.database import reading
from flyweight.records.store import Store
from flyweight.records.tables import test_openings as openings
from flyweight.search.design import design_of
from flyweight.search.events import PhaseBegan, SearchEvent, TrialEnded
from flyweight.search.plan import plan_of
from flyweight.search.result import SearchResult, result_of
from flyweight.search.rung import forget_files
from flyweight.search.searching import SearchRequest, remove_search, resume_search, search
from tiny import same, weights, write_images

OVERRIDES = ("data.validation=40",)


class Here:
    """Trains in this process, one job after another."""

    def __init__(self, *, fails: Sequence[Exception] = ()) -> None:
        self.n_jobs, self._fails = 0, list(fails)

    def make_ready(self) -> None:
        pass

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        for job in jobs:
            self.n_jobs += 1
            if self.n_jobs > 1 and self._fails:  # the first jobs measure the speed
                raise self._fails.pop(0)
            if not should_stop():
                train_job(job, store=store, device="cpu", watch=watch, should_stop=should_stop)


def request(folder: Path, **changes: Any) -> SearchRequest:
    """Five trials of two epochs of nets below 600 parameters, and finals on one seed."""
    overrides = (*OVERRIDES, f"data.name={write_images(folder, is_small=True)}")
    values: dict[str, Any] = {"budget": Budget(params=600), "minutes": 60.0, "overrides": overrides, "name": "s"}
    return SearchRequest(**values | {"epochs": 4, "n_seeds": 2, "workers": 1, "max_trials": 6} | changes)


def opened(store: Store) -> list[str]:
    with reading(store._engine) as connection:
        return list(connection.scalars(select(openings.c.run_id)))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SearchResult, list[SearchEvent], list[int]]:
    """A search that ran to its end, its events, and how often the test images were opened at each phase."""
    folder = tmp_path_factory.mktemp("search")
    store = Store.open(home=folder / "home")
    events, n_opened = list[SearchEvent](), list[int]()

    def watch(event: SearchEvent) -> None:
        events.append(event)
        if isinstance(event, PhaseBegan):
            n_opened.append(len(opened(store)))

    result = search(request(folder), store=store, executor=Here(), watch=watch)
    assert result is not None
    return store, result, events, n_opened


def test_trials_and_finals_leave_the_test_images_closed(searched: Any) -> None:
    """Only the winner and the first design open them, once a seed, after the winner was chosen."""
    store, result, events, n_opened = searched

    assert [event.phase for event in events if isinstance(event, PhaseBegan)] == [
        "calibration",
        "trials",
        "finals",
        "test",
        "done",
    ]
    assert n_opened[:4] == [0, 0, 0, 0]
    tested = {one.recipe_hash for one in (result.best, result.first)}
    by_id = {run.id: run for run in store.runs(purpose="all")}
    assert sorted(opened(store)) == sorted({*opened(store)}), "once a run"
    assert {by_id[run_id].recipe_hash for run_id in opened(store)} == tested
    assert len(opened(store)) == 2 * len(tested)
    assert all(run.test_count is None for run in by_id.values() if run.purpose == "search")


def test_every_trial_is_within_the_limits_and_comes_once(searched: Any) -> None:
    store, result, events, _ = searched
    trials = store.searches.trials("s")

    assert len(trials) == result.n_trials == 6
    assert all(trial.params <= 600 for trial in trials)
    assert len({trial.design_hash for trial in trials}) == 6
    assert trials[0].status == "finished", "the first design is trained in full"
    assert {trial.status for trial in trials} <= {"finished", "halved", "diverged"}
    assert any(isinstance(event, TrialEnded) and event.is_best for event in events)
    assert not [run for run in store.runs(purpose="search") if run.name == "calibration"]


def test_the_winner_has_the_best_validation_on_fresh_seeds(searched: Any) -> None:
    _, result, _, _ = searched
    means = [one.mean for one in result.finalists if one.mean is not None]

    assert 1 <= len(result.finalists) <= 3
    assert result.best.mean == max(means)
    assert all(len(one.accuracies) == 2 for one in result.finalists)
    assert len(result.test) == 2
    assert result_of(json.loads(json.dumps(result.as_dict()))) == result
    assert {one.part for one in result.differences} == (
        set() if result.winner == result.first.trial else {"validation", "test"}
    )


def test_anyone_can_train_the_recipe_of_the_winner(searched: Any, tmp_path: Path) -> None:
    """It extends nothing, and a fresh seed of it is the run of the finals, to the bit."""
    store, result, _, _ = searched
    path = tmp_path / "winner.toml"
    path.write_text(result.recipe)
    assert "extends" not in result.recipe
    final = next(one for one in store.runs(study="s") if one.recipe_hash == result.best.recipe_hash)

    again = run(load(path), seed=final.seed, store=store, device="cpu")

    assert again.recipe_hash == final.recipe_hash
    assert same(weights(store, again.id), weights(store, final.id))


def test_a_promoted_trial_is_a_run_without_a_stop(searched: Any) -> None:
    """It was stopped at each rung and resumed; its weights are equal to the bit."""
    store, _, _, _ = searched
    plan = plan_of(store.searches.get("s").plan)
    trial = store.searches.trials("s")[0]
    (promoted,) = store.runs(group_id=trial.group_id, purpose="search")
    assert len(plan.rungs) == 2
    assert trial.rung == 2

    alone = run(design_of(trial.design).recipe(plan.recipe), seed=plan.train_seed, store=store, device="cpu")

    assert same(weights(store, promoted.id), weights(store, alone.id))
    assert trial.accuracies[-1] == alone.validation_accuracy


def test_files_stay_for_trials_in_full_only(searched: Any) -> None:
    store, _, _, _ = searched
    for trial in store.searches.trials("s"):
        (found,) = store.runs(group_id=trial.group_id, purpose="search")
        assert store.folder(found.id).path.exists() == (trial.status in ("finished", "diverged"))
        assert store.epochs(found.id) or trial.status == "diverged"


def test_show_lists_a_search(searched: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store, result, _, _ = searched
    home = str(store.home)

    assert command(["search", "show", "--home", home]) == 0
    assert "finished" in capsys.readouterr().out
    assert command(["search", "show", "s", "--home", home]) == 0
    text = capsys.readouterr().out
    assert result.best.net.split()[0] in text
    assert "0 twice" in text
    lines = [line for line in text.splitlines() if not line.startswith("page ")]
    assert max(map(len, lines)) <= 80
    page = Path(text.splitlines()[-1].removeprefix("page  "))
    assert page.read_text().count("<svg") == 4
    assert f"trial {result.winner}" in page.read_text()
    assert len((page.parent / "trials.csv").read_text().splitlines()) == 7
    assert command(["search", "show", "s", "--csv", "--home", home]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert command(["search", "show", "s", "--json", "--home", home]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 6
    assert command(["search", "show", "other", "--home", home]) == 2


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path) -> None:
    """Trials that ended are not trained again, the one under way goes on from its step, and the result is there."""
    store, ended = Store.open(home=tmp_path / "home"), list[int]()
    asked = request(tmp_path, n_seeds=1)

    def watch(event: SearchEvent) -> None:
        if isinstance(event, TrialEnded):
            ended.append(event.trial.number)

    found = search(asked, store=store, executor=Here(), watch=watch, should_stop=lambda: len(ended) >= 3)

    assert found is None
    before = store.searches.trials("s")
    assert store.searches.get("s").status == "stopped"
    assert len(ended) == 3
    result = resume_search("s", store=store, executor=Here(), watch=watch)
    assert result is not None
    after = store.searches.trials("s")
    assert [one.design_hash for one in after[: len(before)]] == [one.design_hash for one in before]
    assert len(after) == 6
    assert len(store.runs(purpose="search")) == 6, "a run for each trial, none twice"
    with pytest.raises(UsageError, match="is finished"):
        resume_search("s", store=store, executor=Here())
    assert remove_search("s", store=store) == 6
    assert store.runs(purpose="search") == ()
    assert len(store.runs(study="s")) >= 1, "what was trained on fresh seeds stays"


def test_a_killed_trial_is_taken_up_again_and_a_full_disk_ends_the_search(tmp_path: Path) -> None:
    killed = FlyweightError("its process was killed")
    store = Store.open(home=tmp_path / "home")
    asked = request(tmp_path, n_seeds=1, max_trials=2, epochs=1)

    result = search(asked, store=store, executor=Here(fails=[killed, killed]))

    assert result is not None
    assert [one.attempt for one in store.searches.trials("s")] == [3, 1]
    with pytest.raises(MissingError, match="no space left"):
        search(
            request(tmp_path, name="full", max_trials=2, epochs=1),
            store=store,
            executor=Here(fails=[MissingError("no space left on the disk")]),
        )
    assert store.searches.get("full").status == "stopped"
    assert resume_search("full", store=store, executor=Here()) is not None


def test_a_search_of_other_images_or_another_code_does_not_go_on(tmp_path: Path) -> None:
    store = Store.open(home=tmp_path / "home")
    asked = request(tmp_path, epochs=1)
    assert search(asked, store=store, executor=Here(), should_stop=lambda: bool(store.searches.names())) is None
    plan = store.searches.get("s").plan
    store.searches.start("other-code", plan | {"code": "of before"})

    with pytest.raises(UsageError, match="another version of flyweight's code"):
        resume_search("other-code", store=store, executor=Here())
    (tmp_path / "digits.npz").unlink()
    with pytest.raises(FlyweightError, match=r"digits\.npz"):
        resume_search("s", store=store, executor=Here())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": Budget(params=10)}, "no net of the space fits the budget"),
        ({"budget": Budget()}, "needs a limit"),
        ({"overrides": ("protocol.evaluate_on=test",)}, "needs a clean evaluation"),
        ({"overrides": ("data.validation=0",)}, "holds none out"),
        ({"name": "../up"}, "the name of a search has letters"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_spent(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    store, executor = Store.open(home=tmp_path / "home"), Here()

    with pytest.raises(UsageError, match=message):
        search(request(tmp_path, **changes), store=store, executor=executor)

    assert executor.n_jobs == 0
    assert store.searches.names() == ()


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="--at-once must be above 0 and at most 256"):
        SearchRequest(budget=Budget(params=1_000), minutes=1, workers=0)


def test_a_trial_whose_process_is_killed_every_time_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    store = Store.open(home=tmp_path / "home")
    killed = [FlyweightError("its process was killed") for _ in range(6)]

    result = search(request(tmp_path, n_seeds=1, max_trials=3, epochs=1), store=store, executor=Here(fails=killed))

    assert result is not None
    trials = store.searches.trials("s")
    assert [one.status for one in trials] == ["failed", "finished", "finished"]
    assert (trials[0].attempt, trials[0].message) == (6, "its process was killed")


@pytest.mark.slow
def test_killed_workers_lose_no_trial_and_count_none_twice(tmp_path: Path) -> None:
    """Processes of trainings are killed while they train; every trial has one run and one result."""
    store, n_killed = Store.open(home=tmp_path / "home"), 0

    class Killing(Processes):
        def train(self, jobs: Any, *, store: Store, watch: Any, should_stop: Any) -> None:
            def killing(event: Event) -> None:
                nonlocal n_killed
                if isinstance(event, Started) and n_killed < 20 and event.name.startswith("s-"):
                    n_killed += 1
                    os.kill(store.get(event.run_id).pid, signal.SIGKILL)
                watch(event)

            super().train(jobs, store=store, watch=killing, should_stop=should_stop)

    asked = request(tmp_path, n_seeds=1, workers=2, max_trials=12)
    result = search(asked, store=store, executor=Killing(device="cpu", at_once=1))

    assert result is not None
    assert n_killed == 20
    trials = store.searches.trials("s")
    assert len(trials) == 12
    assert len(store.runs(purpose="search")) <= 12 + n_killed
    assert all(one.accuracies for one in trials if one.status not in ("diverged", "failed"))


def test_forgetting_files_keeps_the_row(tmp_path: Path) -> None:
    store = Store.open(home=tmp_path / "home")
    recipe = override(load("own/8k"), [*OVERRIDES, f"data.name={write_images(tmp_path)}", "train.epochs=1"])
    record = run(recipe, store=store, device="cpu", purpose="search", group_id="g", opens_test=False)

    forget_files("g", store)

    assert not store.folder(record.id).path.exists()
    assert store.get(record.id) == record
