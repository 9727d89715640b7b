"""Results on record, made without training: rows in a real store, and the files of their folders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from flyweight.recipe import loads, override, recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.results import Figures, Predictions
from flyweight.records.store import Store
from made_results import made_result

N_TEST, N_VALIDATION, N_CLASSES = 1_000, 200, 10
BASE = loads('name = "base"\n[model]\nnet = "c8 bn r m2 c16 bn r gap flat fc10"\n[data]\nvalidation = 5000')


def record_seeds(
    store: Store,
    right: Iterable[int],
    *changes: str,
    first_seed: int = 0,
    status: str = "finished",
    with_files: bool = True,
    **columns: Any,
) -> tuple[RunRecord, ...]:
    """A seed for each number of rightly answered test images, of the base recipe with `changes` laid over it."""
    recipe = override(BASE, changes)
    known = {
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(recipe),
        "params": 1_554,
        "registered_params": 1_554,
        "macs": 188_224,
        "data_name": "mnist",
        "data_hash": "d" * 64,
        "split_hash": "5" * 64,
        "environment": {"threads": 1, "torch": "2.13.0", "code": "c" * 64},
        "epochs_planned": recipe.train.epochs,
        **columns,
    }
    found = []
    for seed, correct in enumerate(right, start=first_seed):
        run = store.start(seed=seed, **known)
        for epoch in range(1, recipe.train.epochs + 1):
            accuracy = 0.9 + 0.01 * epoch
            store.log_epoch(
                run.id, epoch, {"validation_accuracy": accuracy, "validation_loss": 1 - accuracy, "lr": 0.1}
            )
        if status == "finished":
            found.append(_finished(store, run, correct, with_files=with_files))
        elif status == "running":
            found.append(run)
        else:
            found.append(store.finish(run.id, status, message="so it was"))
    return tuple(found)


def hash_of(*changes: str) -> str:
    """The hash of the base recipe with changes."""
    return recipe_hash(override(BASE, changes))


def rights(correct: int, count: int, seed: int) -> np.ndarray:
    """(count,) bool: the wrong answers lie among the last images, other ones for each seed, the hardest in all."""
    wrong = count - correct
    right = np.ones(count, bool)
    right[count - (wrong + 1) // 2 :] = False
    others = np.random.default_rng(seed).choice(count // 2, wrong // 2, replace=False)
    right[others] = False
    return right


def _finished(store: Store, run: RunRecord, correct: int, *, with_files: bool) -> RunRecord:
    if with_files:
        write_files(store, run, correct)
    store.open_test(run.id, "final figure of the run")
    return store.finish(
        run.id,
        "finished",
        best_epoch=1,
        epochs_done=run.epochs_planned,
        test_correct=correct,
        test_count=N_TEST,
        test_loss=0.1,
        validation_correct=correct * N_VALIDATION // N_TEST,
        validation_count=N_VALIDATION,
        validation_loss=0.2,
        train_seconds=10.0 + run.seed,
    )


def write_files(store: Store, run: RunRecord, correct: int) -> None:
    """Predictions and figures, as a run leaves them."""
    folder = store.folder(run.id)
    predictions = {}
    for part, count in (("test", N_TEST), ("validation", N_VALIDATION)):
        labels = np.arange(count) % N_CLASSES
        right = rights(correct * count // N_TEST, count, run.seed)
        answers = np.where(right, labels, (labels + 1) % N_CLASSES)
        predictions[part] = Predictions(labels=labels, probabilities=np.eye(N_CLASSES, dtype=np.float32)[answers])
    folder.write_predictions(**predictions, validation_indices=np.arange(N_VALIDATION))
    costs = {"flash_bytes": 6_304, "activation_bytes": 24_832, "peak_memory_bytes": 600_000_000}
    row = {name: getattr(run, name) for name in ("name", "seed", "params", "registered_params", "macs")}
    figures = {
        "train": None,
        "validation": Figures(correct=correct * N_VALIDATION // N_TEST, count=N_VALIDATION, loss=0.2),
        "test": Figures(correct=correct, count=N_TEST, loss=0.1),
    }
    folder.write_end(made_result(run=run.id, **row, **costs, **figures, epochs=run.epochs_planned, best_epoch=1), ())
