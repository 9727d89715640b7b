"""The figures of a run that is over, made without training."""

from __future__ import annotations

from typing import Any

from flyweight.records.results import Figures, RunResult


def made_result(**changed: Any) -> RunResult:
    """A finished run of a net with 19,348 parameters; what a test does not care about is filled in."""
    values: dict[str, Any] = {
        "run": "0" * 20,
        "name": "own/20k-fast",
        "seed": 0,
        "status": "finished",
        "net": "c8 r gap flat fc10",
        "params": 19_348,
        "registered_params": 19_348,
        "macs": 1_234_567,
        "activation_bytes": 24_832,
        "flash_bytes": 77_392,
        "int8_bytes": 20_000,
        "epochs": 3,
        "best_epoch": 3,
        "kept": "last",
        "data": "mnist",
        "class_names": tuple("0123456789"),
        "layers": (),
        "train": Figures(correct=9_900, count=10_000, loss=0.03),
        "validation": Figures(correct=990, count=1_000, loss=0.04),
        "test": Figures(correct=9_940, count=10_000, loss=0.02),
        "train_seconds": 10.0,
        "total_seconds": 12.0,
        "images_per_second": 3_000.0,
        "test_openings": 1,
        "peak_memory_bytes": 600_000_000,
    }
    return RunResult(**{**values, **changed})
