"""What runs are called beside others: each variant of a recipe by its change, its images and what computed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flyweight.experiment.resolved import canonical
from flyweight.recipe import dumps, load, recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from flyweight.records.weights import Weights
from flyweight.report.run.summary import run_summary
from flyweight.report.run.variant import computed, equal_run, titles
from made_results import made_result

NET = "c8nb bn r m2 c8nb bn r gap flat fc10"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path)


def on_record(store: Store, *changes: str, seed: int = 0, precision: str = "float32", value: float = 0.5) -> RunRecord:
    """A finished run of own/20k-fast with changes, as if trained."""
    recipe = canonical(load("own/20k-fast", overrides=changes))
    run = store.start(
        name=recipe.name,
        seed=seed,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe_hash(recipe),
        params=100,
        macs=10_000,
        registered_params=100,
        data_name=recipe.data.name,
        data_hash="cd" * 32,
        split_hash="ef" * 32,
        environment={"precision": precision, "threads": 2, "device": "cpu", "kernels": "3f2a"},
        epochs_planned=1,
    )
    folder = store.folder(run.id)
    folder.write_recipe(dumps(recipe))
    folder.write_environment(run.environment)
    weights = Weights(
        tensors={"weight": np.full(3, value, np.float32)},
        net=NET,
        input_shape=(1, 28, 28),
        mean=(0.1,),
        std=(0.3,),
        class_names=tuple("0123456789"),
        data="mnist",
    )
    folder.write_weights(weights)
    return store.finish(run.id, "finished", train_correct=50, train_count=recipe.data.train_limit or 55_000)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), "own/20k-fast, mnist 55,000 images"),
        (("train.lr=0.05",), "own/20k-fast + lr 0.05, mnist 55,000 images"),
        (("data.train_limit=3000",), "own/20k-fast, mnist 3,000 images"),
        (("data.name=fashion-mnist",), "own/20k-fast, fashion-mnist 55,000 images"),
        (("augment.rotate=7", "train.epochs=4"), "own/20k-fast + rotate 7 degrees, epochs 4, mnist 55,000 images"),
        (("budget.params=30k",), "own/20k-fast, mnist 55,000 images"),
    ],
)
def test_a_changed_recipe_is_called_by_its_change(store, changes, expected):
    """With the image set and the number of images; what has no effect is left out."""
    run = on_record(store, *changes, precision=load("own/20k-fast").train.precision)

    assert titles([run], store) == {run.id: expected}


def test_runs_of_different_recipes_never_share_a_title(store):
    """Nor do those that were computed otherwise than the recipe has it."""
    runs = [on_record(store, "train.precision=bfloat16", precision=ran) for ran in ("bfloat16", "float32")] + [
        on_record(store, f"train.lr={lr}") for lr in (0.2, 0.01)
    ]

    assert len(set(titles(runs, store).values())) == len(runs)


def test_a_summary_says_what_really_ran(store):
    """The precision of the machine beside the one of the recipe, device, threads and kernels."""
    run = on_record(store, "train.precision=bfloat16", precision="float32")
    folder = store.folder(run.id)

    assert computed(folder) == (
        "in float32, not bfloat16 as the recipe has it: this device cannot; cpu, 2 threads, kernels 3f2a"
    )
    text = run_summary(
        made_result(run=run.id, test=None), folder, title="own/20k-fast + lr 0.05", equal_run="1m7yk00000000000000a"
    )
    assert text.startswith("own/20k-fast + lr 0.05, seed 0")
    assert "in float32, not bfloat16" in text
    assert "run 1m7yk0000000" in text
    assert max(len(line) for line in text.splitlines() if str(folder.path) not in line) <= 80


def test_a_folder_without_environment_says_nothing(tmp_path):
    assert computed(RunFolder(path=tmp_path)) is None


def test_a_run_that_repeats_another_to_the_bit_is_known(store):
    """The same recipe, images and seed, and equal weights; other seeds and other bits do not count."""
    first, other_seed, other_bits, again = (
        on_record(store),
        on_record(store, seed=1),
        on_record(store, value=0.25),
        on_record(store),
    )

    assert equal_run(again, store) == first.id
    assert [equal_run(run, store) for run in (first, other_seed, other_bits)] == [None, None, None]
