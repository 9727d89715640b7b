"""A run from the recipe to the record: everything is kept, and nothing is spent on what cannot work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from flyweight.errors import DataError, OverBudgetError, RecipeError, UsageError
from flyweight.experiment.events import Ended, EpochDone, Event, Started, Stepped
from flyweight.experiment.plan import examine, plan
from flyweight.experiment.run import resume, run
from flyweight.recipe import load
from flyweight.records.store import Store
from tiny import TEST, TRAIN, same, tiny_recipe, weights


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def stop_after(n: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= n


def test_a_run_leaves_all_that_is_needed_to_judge_and_repeat_it(tmp_path, store):
    """Record, resolved recipe, metrics, weights, predictions and figures agree with each other."""
    recipe = tiny_recipe(tmp_path)

    record = run(recipe, seed=3, store=store, threads=1)

    folder = store.folder(record.id)
    assert record.status == "finished"
    assert load(folder.file("recipe")) == recipe
    history, result, predictions = folder.history(), folder.result(), folder.predictions("test")
    assert [line.epoch for line in history] == [1, 2]
    assert [epoch.validation_loss for epoch in store.epochs(record.id)] == pytest.approx(
        [line.validation_loss for line in history]
    )
    test_correct = int((predictions.predicted == predictions.labels).sum())
    assert len(predictions.labels) == TEST
    assert len(folder.predictions("validation").labels) == 40
    assert record.test_correct == result.test.correct == test_correct
    assert record.train_count == TRAIN - 40
    assert result.test_openings == record.test_openings == 1
    assert result.params == sum(row["params"] for row in result.layers) == record.params
    trainable = [tensor for name, tensor in weights(store, record.id).items() if name.endswith((".weight", ".bias"))]
    assert sum(tensor.size for tensor in trainable) == record.params
    misread = folder.misread()
    assert len(misread.labels) == TEST - test_correct
    assert (misread.labels != misread.predicted).all()
    assert not folder.has("checkpoint")
    folder.verify()


def test_two_runs_of_one_seed_are_equal_bit_for_bit(tmp_path, store):
    """The same recipe and seed give the same weights; another seed gives others."""
    recipe = tiny_recipe(tmp_path)

    first, second, other = (run(recipe, seed=seed, store=store, threads=1) for seed in (0, 0, 1))

    assert same(weights(store, first.id), weights(store, second.id))
    assert not same(weights(store, first.id), weights(store, other.id))


@pytest.mark.parametrize("steps", [1, 7, 13, 20])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, store, steps):
    """Stopped in the middle of an epoch or at its end, it goes on to the same weights and figures."""
    recipe = tiny_recipe(tmp_path, "train.ema=0.9", "train.keep=last")
    whole = run(recipe, seed=0, store=store, threads=1)

    stopped = run(recipe, seed=0, store=store, threads=1, should_stop=stop_after(steps))
    resumed = resume(stopped.id, store=store)

    assert stopped.status == "interrupted"
    assert resumed.status == "finished"
    assert resumed.id == stopped.id
    assert same(weights(store, whole.id), weights(store, resumed.id))
    figures = [(r.test_correct, r.test_loss, r.validation_loss, r.train_loss, r.best_epoch) for r in (whole, resumed)]
    assert figures[0] == figures[1]


def test_what_cannot_be_resumed_says_why(tmp_path, store):
    """A finished run, other images, and a damaged checkpoint are refused, and the run can still go on afterwards."""
    recipe = tiny_recipe(tmp_path)
    finished = run(recipe, seed=0, store=store, threads=1)
    with pytest.raises(UsageError):
        resume(finished.id, store=store)

    stopped = run(recipe, seed=0, store=store, threads=1, should_stop=stop_after(3))
    images = tmp_path / "digits.npz"
    original = images.read_bytes()
    with np.load(images) as arrays:
        changed = dict(arrays)
    changed["x_train"][0] += 1
    np.savez(images, **changed)
    with pytest.raises(DataError, match=r"images of .* have changed since it started"):
        resume(stopped.id, store=store)
    images.write_bytes(original)

    checkpoint = store.folder(stopped.id).file("checkpoint")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-10])
    with pytest.raises(DataError, match="checkpoint"):
        resume(stopped.id, store=store)
    assert store.get(stopped.id).status == "interrupted"
    checkpoint.write_bytes(whole)
    assert resume(stopped.id, store=store).status == "finished"


def test_a_diverged_run_is_a_result(tmp_path, store):
    """It ends as `diverged` with the place, keeps its figures, and never opens the test set."""
    record = run(tiny_recipe(tmp_path, "train.lr=1e30"), seed=0, store=store, threads=1)

    assert record.status == "diverged"
    assert "epoch 1, step" in record.message
    assert record.test_openings == 0
    result = store.folder(record.id).result()
    assert result.status == "diverged"
    assert result.test is None


def test_a_run_that_breaks_closes_its_row(tmp_path, store):
    """An error in the middle is recorded as `failed` with its words, and still raised."""

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise RuntimeError("the watcher fell over")

    with pytest.raises(RuntimeError):
        run(tiny_recipe(tmp_path), seed=0, store=store, threads=1, watch=watch)

    record = store.get("@latest")
    assert record.status == "failed"
    assert "the watcher fell over" in record.message


def test_a_monitor_that_cannot_be_made_closes_the_row_too(tmp_path, store):
    """Whatever fails once the row is written is recorded as `failed`, and still raised."""

    def monitor(_recipe: object, _history: object) -> NoReturn:
        raise RuntimeError("no doctor at hand")

    with pytest.raises(RuntimeError):
        run(tiny_recipe(tmp_path), store=store, threads=1, monitor=monitor)

    (record,) = store.runs()
    assert (record.status, record.message) == ("failed", "RuntimeError: no doctor at hand")


def test_whoever_watches_sees_a_start_looks_epochs_and_an_end(tmp_path, store):
    """Events come in order and name the run."""
    seen: list[Event] = []

    record = run(tiny_recipe(tmp_path), seed=4, store=store, threads=1, watch=seen.append)

    kinds = [type(event) for event in seen]
    assert kinds[0] is Started
    assert kinds[-1] is Ended
    assert kinds.count(EpochDone) == 2
    assert Stepped in kinds
    assert {(event.run_id, event.seed) for event in seen} == {(record.id, 4)}


def test_nothing_is_spent_on_a_recipe_over_budget(tmp_path, store):
    """It is refused before the images are opened and before there is a record."""
    recipe = tiny_recipe(tmp_path, "budget.params=500", "data.name=mnist")
    with pytest.raises(OverBudgetError, match="the budget is 500"):
        run(recipe, seed=0, store=store)

    assert store.runs() == ()


def test_a_budget_is_inclusive(tmp_path):
    """A net of exactly the budget passes; one parameter less is refused, with the three best edits."""
    params = plan(tiny_recipe(tmp_path)).require().cost.params

    plan(tiny_recipe(tmp_path, f"budget.params={params}")).require()
    with pytest.raises(OverBudgetError) as refused:
        plan(tiny_recipe(tmp_path, f"budget.params={params - 1}")).require()

    assert refused.value.exit_code == 3
    assert str(refused.value).count("Try:") == 3


def test_a_run_goes_on_from_another_folder(tmp_path, store, monkeypatch):
    """Images named by a path from here are stored by their whole path, and the number held out as a number."""
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, "data.name=digits.npz", "data.validation=none")
    stopped = run(recipe, seed=0, store=store, should_stop=stop_after(3))
    monkeypatch.chdir("/")

    assert resume(stopped.id, store=store).status == "finished"

    stored = load(store.folder(stopped.id).file("recipe"))
    assert Path(stored.data.name) == tmp_path / "digits.npz"
    assert stored.data.validation == TRAIN // 6


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 2**40}, {"threads": 0}])
def test_numbers_that_cannot_be_are_refused_by_name(tmp_path, store, wrong):
    """Before anything is spent."""
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} must be"):
        run(tiny_recipe(tmp_path), store=store, **wrong)

    assert store.runs() == ()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.net=c6 q7 fc10", "model.net"),
        ("model.net=c6 r gap flat fc9", "must have 10 outputs"),
        ("data.name=mnits", "Did you mean 'mnist'"),
        ("model.net=c6 r gap flat fc9", "End it with fc10"),
    ],
)
def test_a_plan_names_what_cannot_work(tmp_path, override, expected):
    """Nets that do not parse or do not answer, and unknown data, are faults of the recipe."""
    with pytest.raises(RecipeError, match=expected):
        plan(tiny_recipe(tmp_path, override)).require()


def test_examine_lists_all_faults(tmp_path):
    """Wrong keys, wrong values and a wrong net are in one list."""
    found = examine(
        "own/20k-fast",
        overrides=["train.lrr=1", "train.epochs=zero", "model.net=c8 r gmp flat fc9", "augment.rotate=500"],
    )

    assert len(found.faults) == 4
    faults = " ".join(found.faults)
    assert all(word in faults for word in ("lrr", "epochs", "rotate", "10 outputs"))


def test_an_own_module_is_counted_and_trained(tmp_path, store, monkeypatch):
    """A recipe may name a file and a class instead of a net; the seed decides its weights too."""
    (tmp_path / "own_module_of_a_run.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 10)\n"
        "        super().__init__(*layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tmp_path, "model.net=own_module_of_a_run:Tiny", "train.epochs=1")

    first, second = (run(recipe, seed=0, store=store, threads=1, trust_code=True) for _ in range(2))

    assert first.params == 4 * 9 + 4 + 4 * 10 + 10
    assert same(weights(store, first.id), weights(store, second.id))


def test_a_time_budget_ends_a_run_in_good_order(tmp_path, store):
    """The epoch in hand is measured and the run is finished, with the reason."""
    record = run(tiny_recipe(tmp_path, "budget.seconds=0.001", "train.epochs=500"), seed=0, store=store, threads=1)

    assert record.status == "finished"
    assert "time budget of 0.001 s in epoch 1 of 500, after 1 of 13 steps" in record.message
    result = store.folder(record.id).result()
    assert result.images_per_second == pytest.approx(16 / result.train_seconds, rel=0.01)
    assert record.epochs_done == 1
    assert record.test_correct is not None
