"""What a run folder tells the doctor: what stands in the files, None for what is not there, one line for what is not
what it must be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.doctor.reading import read_ending, read_history, read_predictions, read_reported
from flyweight.doctor.subject import Ending, Predictions
from flyweight.errors import DataError
from flyweight.records.results import EpochLine, Figures
from flyweight.records.run_folder import RunFolder
from made_results import made_result

METRICS = """epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,lr,seconds,images_per_second
1,0.5,0.8,0.25,0.9,0.1,3.5,100
2,inf,0.7,nan,0.1,0.05,3.5,100
"""
RESULT = made_result().as_dict() | {
    "status": "finished",
    "message": "target reached in epoch 2",
    "best_epoch": 1,
    "train": {"correct": 190, "count": 200, "loss": 0.25},
    "validation": {"correct": 36, "count": 40, "loss": None},
    "test": None,
}
REPORTED = {"epochs": [{"epoch": 1, "train": {"accuracy": 0.8, "loss": 0.5}}], "class_counts": {"test": (1, 2)}}
FILES: dict[str, Callable[[Path], Any]] = {
    "metrics.csv": lambda path: read_history(RunFolder(path=path)),
    "result.json": lambda path: read_ending(RunFolder(path=path)),
    "predictions.npz": lambda path: read_predictions(RunFolder(path=path)),
    "told.json": lambda path: read_reported(RunFolder(path=path)),
}


def write_predictions(folder: Path, labels: Any, probabilities: Any) -> None:
    np.savez_compressed(folder / "predictions.npz", validation_labels=labels, validation_probabilities=probabilities)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metrics.csv").write_text(METRICS)
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    (tmp_path / "told.json").write_text(json.dumps(REPORTED))
    write_predictions(tmp_path, np.array([0, 2, 2]), np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.2, 0.2, 0.6]]))
    return tmp_path


def test_each_file_is_read_as_it_stands(folder):
    """Lines, figures, predictions by class and reported figures; a loss that was no number is None."""
    history, ending, predictions, reported = (read(folder) for read in FILES.values())

    second = EpochLine(
        epoch=2, train_loss=None, train_accuracy=0.7, validation_loss=None, validation_accuracy=0.1, lr=0.05
    )
    assert [line.epoch for line in history] == [1, 2]
    assert history[1] == second
    assert ending == Ending(
        status="finished",
        message="target reached in epoch 2",
        best_epoch=1,
        train=Figures(correct=190, count=200, loss=0.25),
        validation=Figures(correct=36, count=40, loss=None),
        test=None,
    )
    assert predictions == Predictions(split="validation", predicted=(2, 0, 1), labels=(1, 0, 2))
    assert reported == REPORTED


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_predictions_are_counted_by_class(tmp_path_factory, pairs):
    """Every answer and every label is counted once, for any number of each."""
    folder = tmp_path_factory.mktemp("run")
    labels, answers = (np.array(column) for column in zip(*pairs, strict=True))
    write_predictions(folder, labels, np.eye(5)[answers])

    found = read_predictions(RunFolder(path=folder), split="test")

    assert found is not None
    assert found.split == "test"
    assert found.labels == tuple(list(labels).count(label) for label in range(5))
    assert found.predicted == tuple(list(answers).count(label) for label in range(5))


def test_a_run_that_finished_no_epoch_has_a_history_without_lines(folder):
    """The header alone is no damage."""
    (folder / "metrics.csv").write_text(METRICS.splitlines()[0] + "\n")

    assert read_history(RunFolder(path=folder)) == ()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_none(folder, name):
    """So too where the complete folder is gone."""
    (folder / name).unlink()

    assert FILES[name](folder) is None
    assert FILES[name](folder / "gone") is None


DAMAGED: dict[str, tuple[bytes, ...]] = {
    "metrics.csv": (
        b"epoch,lr\n1,0.1\n",
        METRICS.replace("0.8", "much").encode(),
        METRICS.replace("0.8", "nan").encode(),
        METRICS.replace(",0.1,3.5,100\n2", "\n2").encode(),
        b"\xff\xfe\x00",
    ),
    "result.json": (b"", b"{", b"[]", b"null", b"{}", json.dumps({**RESULT, "train": [1]}).encode(), b"\xff\xfe\x00"),
    "predictions.npz": (b"", b"PK\x03\x04", b"not a zip", b"\x93NUMPY"),
    "told.json": (b"", b"{", b"[]", b"{}", b'{"epochs": 3}', b"\xff\xfe\x00"),
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in FILES for content in DAMAGED[name]])
def test_a_damaged_file_is_reported_in_one_line(folder, name, content):
    """Anything else than what belongs there is a DataError that names the file and what must be in it."""
    (folder / name).write_bytes(content)

    with pytest.raises(DataError) as shown:
        FILES[name](folder)

    assert f"{name} must hold " in str(shown.value)
    assert "\n" not in str(shown.value)


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (np.arange(3), np.zeros((2, 3))),
        (np.arange(3), np.zeros(3)),
        (np.zeros((3, 1), int), np.zeros((3, 3))),
        (np.array([0.5, 1.5]), np.zeros((2, 3))),
        (np.array([-1, 0]), np.zeros((2, 3))),
        (np.array([object()]), np.zeros((1, 3))),
    ],
)
def test_predictions_that_do_not_fit_their_labels_are_refused(folder, labels, probabilities):
    """Other numbers, other shapes, labels that are no classes, and objects, which are never unpickled."""
    write_predictions(folder, labels, probabilities)

    with pytest.raises(DataError, match=r"predictions\.npz must hold"):
        read_predictions(RunFolder(path=folder))


@pytest.mark.parametrize("name", FILES)
def test_half_a_file_is_none_of_ours(folder, name):
    """Every beginning of a file is either damage, reported as such, or still reads as a shorter one."""
    whole = (folder / name).read_bytes()
    refused = 0
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        (folder / name).write_bytes(whole[:size])
        try:
            FILES[name](folder)
        except DataError:
            refused += 1

    assert refused > 5


def test_a_folder_in_place_of_a_file_is_reported(folder):
    """What cannot be opened is a DataError, too."""
    assert len(FILES) == 4
    for name, read in FILES.items():
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(DataError, match="must be a file, found a folder"):
            read(folder)
