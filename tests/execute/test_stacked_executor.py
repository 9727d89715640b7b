"""Seeds of a recipe as one stacked net through `run_seeds` and `execute`: the records are those of other executors."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flyweight.errors import UsageError
from flyweight.execute import automatic
from flyweight.execute.automatic import Automatic, has_cuda
from flyweight.execute.execution import execute
from flyweight.execute.process_executor import PRELOAD, Processes
from flyweight.execute.processes import METHOD, make_ready
from flyweight.execute.request import TrainingRequest
from flyweight.execute.seeds import resume_seeds, run_seeds
from flyweight.execute.stacked_executor import Stacked
from flyweight.experiment.events import Ended, EpochDone, Event, StackEpochDone, Started
from flyweight.experiment.run import run
from flyweight.recipe import Recipe
from flyweight.records.store import Store
from tiny import same, small_recipe, weights

CPU = Stacked(device="cpu")
CLOSE = 2e-3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return small_recipe(tmp_path_factory.mktemp("images"), "train.keep=last")


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """The weights of seeds 0, 1, 2 that trained together without an interruption."""
    store = Store.open(home=tmp_path_factory.mktemp("whole"))
    return [weights(store, record.id) for record in run_seeds(recipe, seeds=range(3), store=store, executor=CPU)]


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.linalg.norm(a[name] - b[name]) / max(np.linalg.norm(b[name]), 1e-6)) for name in a)


def test_seeds_are_one_group_and_equal_single_runs(recipe, store):
    """In the order of their seeds, with the same weights as alone within rounding, and another fingerprint."""
    seen: list[Event] = []

    records = run_seeds(recipe, seeds=[2, 0, 1], store=store, executor=CPU, study="a study", watch=seen.append)

    assert [(record.seed, record.status) for record in records] == [(seed, "finished") for seed in range(3)]
    assert len({record.group_id for record in records}) == 1
    assert {record.study for record in records} == {"a study"}
    assert {tuple(record.environment["group_seeds"]) for record in records} == {(2, 0, 1)}
    assert {record.environment["stacked"] for record in records} == {3}
    alone = run(recipe, seed=1, store=store, device="cpu")
    assert "stacked" not in alone.environment
    assert distance(weights(store, records[1].id), weights(store, alone.id)) < CLOSE
    counts = [sum(isinstance(event, kind) for event in seen) for kind in (Started, EpochDone, StackEpochDone, Ended)]
    assert counts == [3, 6, 2, 3]


def test_a_stopped_group_is_resumed_to_the_bits_of_an_uninterrupted_one(recipe, whole, store):
    """A stop in mid-epoch saves each run at its step; the same executor completes all of them."""
    asked = iter(range(10**6))

    stopped = run_seeds(recipe, seeds=range(3), store=store, executor=CPU, should_stop=lambda: next(asked) >= 19)
    resumed = resume_seeds(stopped[0].group_id, store=store, executor=CPU)

    assert {record.message for record in stopped} == {"after epoch 2, step 5"}
    assert [record.id for record in resumed] == [record.id for record in stopped]
    assert [record.status for record in resumed] == ["finished"] * 3
    assert all(same(weights(store, record.id), whole[record.seed]) for record in resumed)
    with pytest.raises(UsageError, match="nothing to resume"):
        resume_seeds(stopped[0].group_id, store=store, executor=CPU)


def _train_slowly(recipe: Recipe, home: Path) -> None:
    """In a process of its own: three seeds, saved after each epoch, until it is killed in the third."""
    from flyweight.experiment import population

    population.SECONDS_BETWEEN_SAVES = 0.0  # type: ignore[misc]

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone) and event.metrics.epoch == 3 and event.seed == 1:
            (home / "third epoch").touch()
            time.sleep(600)

    run_seeds(recipe, seeds=range(3), store=Store.open(home=home), executor=CPU, watch=watch)


def test_a_population_that_was_killed_loses_nothing(tmp_path, recipe, store):
    """Killed between two saves of one epoch, runs are at different epochs: all are resumed and end as without it."""
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 4})})
    make_ready(PRELOAD)
    process = multiprocessing.get_context(METHOD).Process(target=_train_slowly, args=(longer, tmp_path / "home"))
    process.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "home" / "third epoch").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert {record.status for record in store.runs()} == {"running"}
    lost = store.mark_lost()
    records, seen = store.runs(), list[Event]()
    resumed = resume_seeds(records[0].group_id, store=store, executor=CPU, watch=seen.append)

    assert len(lost) == 3
    assert {record.status for record in records} == {"lost"}
    starts = {event.seed: event.first_epoch for event in seen if isinstance(event, Started)}
    assert starts == {0: 4, 1: 4, 2: 3}
    assert [record.status for record in resumed] == ["finished"] * 3
    assert sorted(record.id for record in resumed) == sorted(lost)
    expected = run_seeds(longer, seeds=range(3), store=store, executor=CPU)
    for found, other in zip(resumed, expected, strict=True):
        assert found.test_openings == 1
        assert [epoch.epoch for epoch in store.epochs(found.id)] == [1, 2, 3, 4]
        assert distance(weights(store, found.id), weights(store, other.id)) < CLOSE
        store.folder(found.id).verify()


def test_missing_seeds_of_a_group_are_started(recipe, whole, store):
    """Those that were stopped at one step and those that had not begun are two stacks of one group."""
    seen, asked = list[Event](), iter(range(10**6))
    stopped = run_seeds(
        recipe,
        seeds=range(3),
        store=store,
        executor=Stacked(device="cpu", at_once=2),
        should_stop=lambda: next(asked) >= 5,
    )

    records = resume_seeds(stopped[0].group_id, store=store, executor=CPU, watch=seen.append)

    assert [record.status for record in stopped] == ["interrupted"] * 2
    assert {event.seed: event.n_stacked for event in seen if isinstance(event, Started)} == {0: 2, 1: 2, 2: 1}
    assert [record.status for record in records] == ["finished"] * 3
    assert all(distance(weights(store, record.id), whole[record.seed]) < CLOSE for record in records)


def test_each_recipe_is_a_stack_of_its_own_with_its_purpose(recipe, store):
    """Jobs come in turns; the seeds of a recipe train together all the same."""
    other = recipe.model_copy(update={"name": "other", "train": recipe.train.model_copy(update={"epochs": 1})})
    requests = [
        TrainingRequest(recipe=recipe, seeds=(0, 1), purpose="reproduction"),
        TrainingRequest(recipe=other, seeds=(0, 1, 2), purpose="trial"),
    ]
    seen: list[Event] = []

    found = execute(requests, store=store, executor=CPU, watch=seen.append)
    again = execute(requests, store=store, executor=CPU, watch=seen.append)

    sizes = [(event.name, event.n_stacked) for event in seen if isinstance(event, Started)]
    assert sorted(sizes) == [("other", 3)] * 3 + [("tiny", 2)] * 2
    assert [{record.purpose for record in one.records} for one in found] == [{"reproduction"}, {"trial"}]
    assert [one.records for one in again] == [one.records for one in found]


def test_an_error_of_one_recipe_is_raised_after_the_others(recipe, store):
    """The runs of the other recipe are complete."""
    other = recipe.model_copy(update={"name": "other"})

    def watch(event: Event) -> None:
        if isinstance(event, Started) and event.name == "tiny":
            raise RuntimeError("no room for it")

    with pytest.raises(RuntimeError, match="no room"):
        execute(
            [TrainingRequest(recipe=one, seeds=(0, 1)) for one in (recipe, other)],
            store=store,
            executor=CPU,
            watch=watch,
        )

    by_name = {name: {record.status for record in store.runs() if record.name == name} for name in ("tiny", "other")}
    assert by_name == {"tiny": {"failed"}, "other": {"finished"}}


def test_an_own_module_trains_alone_seed_after_seed(tmp_path, store, monkeypatch):
    """A net that cannot be stacked gives the bits of single runs."""
    (tmp_path / "own_module_of_seeds.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(144, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe, seen = small_recipe(tmp_path, "model.net=own_module_of_seeds:Tiny", "train.epochs=1"), list[Event]()

    records = run_seeds(recipe, seeds=range(2), store=store, executor=CPU, trust_code=True, watch=seen.append)

    assert [record.status for record in records] == ["finished"] * 2
    assert [event.n_stacked for event in seen if isinstance(event, Started)] == [1, 1]
    alone = run(recipe, seed=1, store=store, device="cpu", threads=1)
    assert same(weights(store, records[1].id), weights(store, alone.id))


def test_runs_with_a_budget_in_seconds_train_alone(tmp_path, store):
    """A second is for one run: seeds that shared it would have fewer steps."""
    recipe, seen = small_recipe(tmp_path, "budget.seconds=60", "train.epochs=1"), list[Event]()

    records = run_seeds(recipe, seeds=range(2), store=store, executor=CPU, watch=seen.append)

    assert [event.n_stacked for event in seen if isinstance(event, Started)] == [1, 1]
    assert [record.environment["stacked"] for record in records] == [1, 1]
    assert [record.status for record in records] == ["finished"] * 2


@pytest.mark.parametrize("executor", [Stacked, Automatic, Processes])
def test_nobody_trains_less_than_one_at_once(executor):
    """The option is named."""
    with pytest.raises(UsageError, match="at-once"):
        executor(at_once=0)


def test_the_default_executor_follows_the_machine(monkeypatch):
    """A GPU that torch can use means a stack; a device that was given decides; options are passed on."""
    for found in (True, False):
        monkeypatch.setattr(automatic, "has_cuda", lambda found=found: found)
        assert Automatic(at_once=3).chosen == (Stacked(at_once=3) if found else Processes(at_once=3))
        assert Automatic(device="cuda").chosen == (Stacked if found else Processes)(device="cuda")
        assert Automatic(device="cpu").chosen == Processes(device="cpu")


def test_without_a_driver_torch_is_not_loaded_to_look_for_a_gpu(monkeypatch):
    """Where there is no driver the answer is no; a driver without a GPU is not enough."""

    def no_driver(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail

    assert has_cuda() is False
    assert Automatic().chosen == Processes()


@pytest.mark.skipif(has_cuda(), reason="needs a machine without a GPU")
def test_choosing_an_executor_is_cheap_without_a_gpu():
    """In a new process neither torch nor numpy is loaded for it."""
    code = (
        "import sys; from flyweight.execute.automatic import AUTOMATIC; AUTOMATIC.chosen; "
        "print(type(AUTOMATIC.chosen).__name__, 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "Processes False\n"
