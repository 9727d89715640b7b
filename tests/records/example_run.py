"""A run to start, for the tests and the processes they spawn."""

from __future__ import annotations

from typing import Any


def asked(**changed: Any) -> dict[str, Any]:
    """All that a run is started with."""
    return {
        "name": "own/20k-fast",
        "seed": 0,
        "recipe": {"name": "own/20k-fast", "train": {"epochs": 5, "lr": 0.1}},
        "recipe_hash": "ab" * 32,
        "params": 19_348,
        "macs": 1_234_567,
        "registered_params": 21_700,
        "data_name": "mnist",
        "data_hash": "cd" * 32,
        "split_hash": "ef" * 32,
        "environment": {"torch": "2.13.0", "threads": 2},
        "epochs_planned": 5,
        **changed,
    }
