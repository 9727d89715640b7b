"""Runs in words: every figure shown follows from the files, and nothing claims a spread that is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from flyweight.report.summary import confusions, group_summary, run_rows, run_summary, short_run_rows


@dataclass(frozen=True)
class Record:
    id: str = "1m7yk00000000000000a"
    name: str = "own/25k-one-epoch"
    seed: int = 0
    status: str = "interrupted"
    params: int = 21982
    epochs_done: int = 20
    validation_accuracy: float | None = 0.9925
    test_accuracy: float | None = None
    train_seconds: float | None = 123.4
    started_at: datetime = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    group_id: str | None = None
    data_name: str = "mnist"
    study: str | None = None
    recipe_hash: str = "ab"


def result(seed: int = 0, **changed: object) -> dict[str, object]:
    part = {"correct": 9940 + seed, "count": 10000, "loss": 0.02}
    return {
        "run": f"run{seed}",
        "name": "own/20k-fast",
        "seed": seed,
        "status": "finished",
        "message": "",
        "params": 19330,
        "registered_params": 19330,
        "macs": 1_200_000,
        "flash_bytes": 78_000,
        "budget": {"params": 20_000},
        "epochs": 5,
        "best_epoch": 4,
        "kept": "last",
        "train": part,
        "validation": part,
        "test": part,
        "test_openings": 1,
        "train_seconds": 50.0,
        "total_seconds": 60.0,
        "images_per_second": 5500.0,
        "peak_memory_bytes": 600e6,
        "class_names": ["zero", "one", "two"],
        **changed,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder in which "one" is read as "two" three times, "zero" as "one" once."""
    (tmp_path / "result.json").write_text(json.dumps(result()))
    labels, answers = np.array([0, 0, 1, 1, 1, 1, 2]), np.array([0, 1, 2, 2, 2, 1, 2])
    np.savez(tmp_path / "predictions.npz", test_labels=labels, test_probabilities=np.eye(3)[answers])
    return tmp_path


def test_a_run_is_told_with_budget_interval_and_place(folder):
    """Parameters against the budget, the kept epoch, the Wilson interval, confusions, and where it lies."""
    text = run_summary(result(), folder)

    for expected in ("19,330 of 20,000", "epoch 5 kept", "epoch 4 was best", "99.40%", "99.23 to 99.53%", str(folder)):
        assert expected in text
    assert "one read as two (3)" in text
    assert "zero read as one" not in text
    assert all(len(line) <= 80 for line in text.splitlines() if str(folder) not in line)


def test_confusions_are_counted_from_the_predictions(folder):
    """Only what was mistaken more than once, the most frequent first."""
    assert confusions(folder) == [("one", "two", 3)]


def test_several_seeds_are_a_mean_with_its_spread():
    """Mean, sample s.d., extremes and t interval over seeds; a seed that did not finish is told, not averaged."""
    text = group_summary([result(0), result(10), result(20), result(3, status="diverged", test=None, validation=None)])

    assert "3 of 4 seeds finished" in text
    assert "99.50 ± 0.10% (n=3), min 99.40, max 99.60, 95% CI 99.25 to 99.75%" in text
    assert "diverged" in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_seed_never_has_a_spread():
    """n = 1 shows its value and says that there is no spread."""
    text = group_summary([result(0)])

    assert "±" not in text
    assert "n=1: no spread" in text


def test_a_diverged_run_is_told_without_figures(folder):
    """What was not measured is not shown."""
    text = run_summary(
        result(
            status="diverged", message="loss nan at epoch 1", best_epoch=None, test=None, train=None, validation=None
        ),
        folder,
    )

    assert "diverged" in text
    assert "loss nan at epoch 1" in text
    assert "%" not in text


def test_the_list_is_short_for_people_and_whole_for_programs():
    """People see the beginning of the id and percent, programs the id and fractions; what is unknown is empty."""
    records = [Record(), Record(seed=1, test_accuracy=0.9931, status="finished")]

    short, whole = short_run_rows(records), run_rows(records)

    assert [row["id"] for row in whole] == [Record().id] * 2
    assert [row["test_accuracy"] for row in whole] == [None, 0.9931]
    assert all(Record().id.startswith(row["run"]) for row in short)
    assert [row["test %"] for row in short] == ["", "99.31"]
