"""Runs put on record without any training, for the tests of what is made from records."""

from __future__ import annotations

from typing import Any

from flyweight.records.record import RunRecord
from flyweight.records.store import Store

RECIPE = {
    "name": "own/20k-fast",
    "description": "",
    "model": {"net": "c8 bn r m2 flat fc10"},
    "data": {"name": "mnist", "flip": False, "train_limit": None},
    "train": {"epochs": 3, "lr": 0.1, "schedule": "one-cycle"},
}
EPOCHS = (
    {"train_loss": 0.31, "train_accuracy": 0.91, "validation_loss": 0.2, "validation_accuracy": 0.9412, "lr": 0.05},
    {"train_loss": 0.12, "train_accuracy": 0.96, "validation_loss": 0.1, "validation_accuracy": 0.9703, "lr": 0.1},
    {"train_loss": 0.07, "train_accuracy": 0.98, "validation_loss": 0.08, "validation_accuracy": 0.9762, "lr": 1e-7},
)
RESULT: dict[str, Any] = {
    "epochs_done": 3,
    "best_epoch": 3,
    "train_correct": 54_000,
    "train_count": 55_000,
    "train_loss": 0.06,
    "validation_correct": 4_881,
    "validation_count": 5_000,
    "validation_loss": 0.08,
    "test_correct": 9_777,
    "test_count": 10_000,
    "test_loss": 0.075,
    "train_seconds": 12.75,
}


def begin(store: Store, **changed: Any) -> RunRecord:
    """A run that has its row and folder."""
    return store.start(
        **{
            "name": "own/20k-fast",
            "seed": 7,
            "recipe": RECIPE,
            "recipe_hash": "ab" * 32,
            "params": 19_348,
            "macs": 1_234_567,
            "registered_params": 21_700,
            "data_name": "mnist",
            "data_hash": "cd" * 32,
            "split_hash": "ef" * 32,
            "environment": {"torch": "2.13.0", "python": "3.11.2", "threads": 1, "device": "cpu", "group_seeds": [7]},
            "epochs_planned": 3,
            "group_id": "g1",
            **changed,
        }
    )


def log(store: Store, run: RunRecord, *numbers: int) -> None:
    """Keep the epochs of these numbers."""
    for number in numbers:
        store.log_epoch(run.id, number, {**EPOCHS[number - 1], "seconds": 4.25})


def complete(store: Store, **changed: Any) -> RunRecord:
    """A run of three epochs that is finished."""
    run = begin(store, **changed)
    log(store, run, 1, 2, 3)
    store.open_test(run.id, "the result")
    return store.finish(run.id, "finished", **RESULT)
