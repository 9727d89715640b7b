"""Runs in words: every figure shown follows from the files, and nothing claims a spread that is not there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flyweight.recipe.protocol import SENTENCES
from flyweight.records.results import (
    Figures,
    Predictions,
    ReportedEpoch,
    ReportedFigures,
    ReportedTraining,
    RunResult,
)
from flyweight.records.run_folder import RunFolder
from flyweight.report.run.listing import run_rows, short_run_rows
from flyweight.report.run.summary import class_rows, confusions, group_summary, run_summary
from flyweight.report.wording import INDENT, margin
from made_results import made_result


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
    purpose: str = "run"
    recipe_hash: str = "ab"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    train_count: int | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)


def result(seed: int = 0, **changed: Any) -> RunResult:
    figures = Figures(correct=9940 + seed, count=10000, loss=0.02)
    values: dict[str, Any] = {
        "run": f"1m7yk0000000000000{seed:02}",
        "seed": seed,
        "params": 19330,
        "registered_params": 19330,
        "macs": 1_200_000,
        "budget": {"params": 20_000},
        "epochs": 5,
        "best_epoch": 4,
        **dict.fromkeys(("train", "validation", "test"), figures),
        "train_seconds": 50.0,
        "class_names": ("zero", "one", "two"),
    }
    return made_result(**{**values, **changed})


def reported(seed: int = 0) -> ReportedEpoch:
    return ReportedEpoch(
        epoch=5,
        train=ReportedTraining(accuracy=0.9166, loss=0.1287, loss_error=0.02, count=32),
        test=ReportedFigures(correct=9568 + seed, count=10000, loss=0.0049, loss_error=0.0001),
    )


def with_protocol(seed: int = 0, *, judged_on: str = "test", **changed: Any) -> RunResult:
    """A run with a protocol, and what that reports beside the clean evaluation."""
    asked = {("evaluate_on", judged_on), ("last_batch_loss", True)}
    words = tuple(sentence for switch, sentence in SENTENCES.items() if switch in asked)
    return result(seed, **{"judged_on": judged_on, "protocol": words, "reported": reported(seed), **changed})


def lines_of(text: str, label: str) -> str:
    """What stands beside a label, over all its lines."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"  {label} "))
    more = itertools.takewhile(lambda line: line.startswith(margin("")), lines[first + 1 :])
    return " ".join(line[INDENT:] for line in (lines[first], *more))


PREDICTIONS = Predictions(
    labels=np.array([0, 0, 1, 1, 1, 1, 2]), probabilities=np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 2, 1, 2]]
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder in which "one" is read as "two" three times, "zero" as "one" once."""
    found = RunFolder(path=tmp_path)
    found.write_predictions(validation=PREDICTIONS, test=PREDICTIONS, validation_indices=np.arange(7))
    found.write_end(result(), ())
    return found


def test_a_run_is_told_with_budget_interval_and_place(folder):
    """Parameters against the budget, the kept epoch, the Wilson interval, confusions, and where it lies."""
    text = run_summary(result(), folder)

    for expected in (
        "19,330 of 20,000",
        "epoch 5 kept",
        "epoch 4 was best",
        "99.40%",
        "99.23 to 99.53%",
        str(folder.path),
    ):
        assert expected in text
    assert "one read as two (3)" in text
    assert "zero read as one" not in text
    assert all(len(line) <= 80 for line in text.splitlines() if str(folder.path) not in line)


def test_a_summary_fits_a_narrow_terminal(folder, monkeypatch):
    """Figures and labels are wrapped at 60 columns; only a path is longer."""
    monkeypatch.setenv("COLUMNS", "60")

    text = run_summary(result(), folder, title="own/20k-fast + lr 0.05, epochs 3, fashion-mnist 3,000 images")

    assert all(len(line) <= 60 for line in text.splitlines() if str(folder.path) not in line)


def test_confusions_are_counted_from_the_predictions():
    """Only what was mistaken more than once, the most frequent first."""
    assert confusions(PREDICTIONS, ["zero", "one", "two"]) == [("one", "two", 3)]


def test_every_class_has_its_precision_and_recall(folder):
    """Counted by hand; a class that no image is of, or that none is read as, has none."""
    never = result(class_names=("zero", "one", "two", "three"))
    folder.write_predictions(
        validation=PREDICTIONS,
        test=Predictions(labels=PREDICTIONS.labels, probabilities=np.pad(PREDICTIONS.probabilities, ((0, 0), (0, 1)))),
        validation_indices=np.arange(7),
    )

    rows = {row.pop("class"): row for row in class_rows(folder, never)}

    assert rows == {
        "zero": {"images": 2, "recall": 1 / 2, "precision": 1.0},
        "one": {"images": 4, "recall": 1 / 4, "precision": 1 / 2},
        "two": {"images": 1, "recall": 1.0, "precision": 1 / 4},
        "three": {"images": 0, "recall": None, "precision": None},
    }


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

    short, whole = short_run_rows(records, {Record().id: "own/25k + lr 0.1"}), run_rows(records)

    assert [row["id"] for row in whole] == [Record().id] * 2
    assert [row["test_accuracy"] for row in whole] == [None, 0.9931]
    assert all(Record().id.startswith(row["run"]) for row in short)
    assert [row["test %"] for row in short] == ["", "99.31"]
    assert [row["recipe and images"] for row in short] == ["own/25k + lr 0.1"] * 2


@pytest.mark.parametrize(("judged_on", "called"), [("test", "test images"), ("train", "training images")])
def test_a_run_with_a_protocol_says_so_beside_its_figures(folder, judged_on, called):
    """How it was measured otherwise, what it told, and nothing that is called validation and was not held out."""
    text = run_summary(with_protocol(judged_on=judged_on, kept="best"), folder)

    assert lines_of(text, "measured").startswith(f"otherwise: epochs are evaluated on the {called}; nothing")
    assert "of the last batch of an epoch" in lines_of(text, "measured")
    reported = lines_of(text, "reported")
    assert reported.startswith("epoch 5: train 91.66%, loss 0.1287 of the last batch; ")
    assert "95.68% of 10,000, loss 0.0049 (the clean figures are above)" in reported
    assert ("training images again 95.68%" in reported) == (judged_on == "train")
    assert f"(the best by {called})" in text
    assert "validation" not in text
    assert "99.40%" in lines_of(text, "test")
    assert max(len(line) for line in text.splitlines() if str(folder.path) not in line) <= 80


def test_a_protocol_that_holds_images_out_keeps_the_line_of_validation(folder):
    """Its validation images are unseen, so their clean figure is shown as ever, and the reported one beside it."""
    epoch = ReportedEpoch(
        epoch=20,
        train=ReportedTraining(accuracy=0.99, loss=0.03),
        validation=ReportedFigures(correct=9800, count=10000, loss=0.0612),
        test=ReportedFigures(correct=9940, count=10000, loss=None),
    )
    words = (SENTENCES["shared_transform", "training"],)

    text = run_summary(with_protocol(judged_on="validation", protocol=words, reported=epoch), folder)

    assert lines_of(text, "validation").startswith("99.40%")
    assert lines_of(text, "reported") == (
        "epoch 20: train 99.00%, loss 0.0300; validation 98.00% of 10,000, loss 0.0612; test 99.40% of 10,000, "
        "loss nan (the clean figures are above)"
    )


def test_a_diverged_run_with_a_protocol_tells_its_last_epoch(folder):
    """There is something reported, and no clean figure above it."""
    nothing = {"best_epoch": None, "train": None, "validation": None, "test": None}

    text = run_summary(with_protocol(status="diverged", **nothing), folder)

    assert lines_of(text, "reported").endswith("(there are no clean figures)")
    assert "otherwise" in text


@pytest.mark.parametrize(("judged_on", "called"), [("test", "test images"), ("train", "training images")])
def test_seeds_with_a_protocol_are_told_and_measured(judged_on, called):
    """The spread of what was reported stands beside the clean one; no seed has a validation figure."""
    text = group_summary([with_protocol(seed, judged_on=judged_on) for seed in (0, 10, 20)])

    assert lines_of(text, "test").startswith("99.50 ± 0.10% (n=3)")
    assert "95.78 ± 0.10% (n=3)" in lines_of(text, "reported")
    assert f"evaluated on the {called}" in lines_of(text, "measured")
    assert f"(best by {called})" in text
    assert "validation" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_list_shows_no_validation_accuracy_where_nothing_was_held_out():
    """People see an empty cell, programs the images that the figure is of."""
    records = [Record(), *(Record(recipe={"protocol": {"evaluate_on": part}}) for part in ("validation", "test"))]

    short, whole = short_run_rows(records, {Record().id: "own/25k + lr 0.1"}), run_rows(records)

    assert [row["val %"] for row in short] == ["99.25", "99.25", ""]
    assert [row["evaluate_on"] for row in whole] == ["validation", "validation", "test"]
