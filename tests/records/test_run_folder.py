"""The run folder: what is written comes back; what is missing or damaged is one line with the next step."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flyweight
from flyweight.errors import DataError
from flyweight.files import write_bytes, write_json, write_text
from flyweight.records.results import (
    EpochLine,
    Misread,
    Predictions,
    Reported,
    ReportedEpoch,
    ReportedFigures,
    ReportedTraining,
)
from flyweight.records.run_folder import NAMES, File, RunFolder, validated
from flyweight.records.weights import Weights
from flyweight.train.metrics import EpochMetrics
from made_results import made_result

RUN = "1m7yk00000000000000a"
LINE = EpochMetrics(
    epoch=1,
    train_loss=math.nan,
    train_accuracy=0.5,
    validation_loss=2.25,
    validation_accuracy=0.75,
    lr=0.1,
    seconds=1.5,
    images_per_second=100.0,
)
REPORTED = Reported(
    epochs=(
        ReportedEpoch(epoch=1, train=ReportedTraining(accuracy=0.5, loss=None)),
        ReportedEpoch(
            epoch=2,
            train=ReportedTraining(accuracy=0.75, loss=0.5, loss_error=0.125, count=32),
            validation=ReportedFigures(correct=3, count=4, loss=0.25, loss_error=0.5),
            test=ReportedFigures(correct=1, count=2, loss=None),
        ),
    ),
    class_counts={"test": (1, 1), "validation": (2, 2)},
)
PREDICTIONS = Predictions(labels=np.array([0, 1, 1]), probabilities=np.eye(2, dtype=np.float32)[[0, 1, 0]])
MISREAD = Misread(
    images=np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4),
    labels=np.array([1]),
    predicted=np.array([0]),
    probabilities=np.array([[1.0, 0.0]], np.float32),
    indices=np.array([2]),
)
WEIGHTS = Weights(
    tensors={
        "conv1.weight": np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3),
        "bn1.num_batches_tracked": np.array(7, np.int64),
    },
    net="c1 bn r gap flat fc2",
    input_shape=(1, 28, 28),
    mean=(0.1,),
    std=(1 / 3,),
    class_names=("zero", "eins ü"),
    data="mnist",
    ground=255,
    fit="pad",
)


def whole(path: Path) -> RunFolder:
    """A folder with every file."""
    folder = RunFolder(path=path / RUN)
    folder.write_recipe('name = "x"\n')
    folder.write_environment({"threads": 1})
    folder.write_reported(REPORTED)
    folder.write_weights(WEIGHTS)
    folder.write_predictions(validation=PREDICTIONS, test=PREDICTIONS, validation_indices=np.arange(3))
    folder.write_misread(MISREAD)
    folder.write_end(made_result(run=RUN, reported=REPORTED.epochs[-1]), [LINE])
    folder.write_report("<p>", {"curves": b"png"})
    folder.write_json("probes", {"n": 1})
    folder.write_json("trials", [1])
    folder.write_checkpoint(b"state")
    return folder


READ = {
    "recipe": RunFolder.recipe_text,
    "environment": RunFolder.environment,
    "history": RunFolder.history,
    "reported": RunFolder.reported,
    "result": RunFolder.result,
    "weights": RunFolder.weights,
    "predictions": lambda folder: folder.predictions("test"),
    "misread": RunFolder.misread,
    "checksums": RunFolder.verify,
    "probes": lambda folder: folder.read_json("probes", lambda value: validated(dict[str, int], value), holds="n"),
    "trials": lambda folder: folder.read_json("trials", lambda value: validated(list[int], value), holds="n"),
}


def plain(value: Any) -> Any:
    """Arrays as lists, so that values with arrays can be compared."""
    fields = {name: getattr(value, name) for name in vars(value)}
    return {name: one.tolist() if isinstance(one, np.ndarray) else one for name, one in fields.items()}


def test_what_is_written_comes_back(tmp_path):
    """Each file as the value that it was made of; a loss that is not a number is None."""
    folder = whole(tmp_path)

    assert folder.run_id == RUN
    assert folder.recipe_text() == 'name = "x"\n'
    assert folder.environment() == {"threads": 1}
    (line,) = folder.history()
    assert line == EpochLine(
        epoch=1, train_loss=None, train_accuracy=0.5, validation_loss=2.25, validation_accuracy=0.75, lr=0.1
    )
    assert folder.reported() == REPORTED
    assert folder.result() == made_result(run=RUN, reported=REPORTED.epochs[-1])
    assert plain(folder.predictions("validation")) == plain(PREDICTIONS)
    assert plain(folder.misread()) == plain(MISREAD)
    assert folder.checkpoint() == b"state"
    found = folder.weights()
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
        name: tensor.tolist() for name, tensor in WEIGHTS.tensors.items()
    }
    assert {**plain(found), "tensors": 0} == {**plain(WEIGHTS), "tensors": 0}
    folder.verify()


def test_every_file_has_a_name_and_a_folder_has_every_file(tmp_path):
    """Names are unique, and a whole folder has each; only pictures of the report stand beside them."""
    assert set(NAMES) == set(get_args(File))
    assert len(set(NAMES.values())) == len(NAMES) == 13

    found = {path.name for path in whole(tmp_path).path.iterdir()}

    assert found == {*NAMES.values(), "curves.png"}


def test_weights_are_the_same_to_the_byte_each_time():
    """Facts and tensors come in one order, and any reader of safetensors takes the file."""
    from safetensors.numpy import load

    written = {WEIGHTS.as_bytes() for _ in range(8)}

    assert len(written) == 1
    assert load(written.pop()).keys() == WEIGHTS.tensors.keys()


def test_a_result_of_before_there_were_protocols_is_read(tmp_path):
    """Keys that came later are filled in as what was done then."""
    folder = whole(tmp_path)
    table = json.loads(folder.file("result").read_text())
    for name in ("judged_on", "protocol", "told", "peak_memory_bytes"):
        del table[name]
    write_json(folder.file("result"), table)

    found = folder.result()

    assert (found.judged_on, found.protocol, found.reported, found.peak_memory_bytes) == ("validation", (), None, None)


def test_a_run_without_a_protocol_has_no_reported_metrics(tmp_path):
    assert RunFolder(path=tmp_path).reported() == Reported()


def test_confusion_counts_rows_by_class_and_columns_by_prediction():
    assert PREDICTIONS.confusion().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("which", [name for name in READ if name not in ("recipe", "environment", "reported")])
def test_a_file_of_an_unfinished_run_is_missing_with_the_next_step(tmp_path, which):
    """The line names the command that goes on; what the doctor keeps may be missing."""
    folder = RunFolder(path=tmp_path / RUN)
    folder.write_recipe("")

    if which in ("probes", "trials"):
        assert READ[which](folder) is None
        return
    with pytest.raises(DataError) as caught:
        READ[which](folder)

    assert f"run {RUN[:12]} is unfinished" in str(caught.value)
    assert str(caught.value).endswith(f"flyweight train --resume {RUN[:12]}")


@pytest.mark.parametrize("which", ["weights", "predictions", "misread"])
def test_what_a_diverged_run_lacks_is_explained(tmp_path, which):
    folder = RunFolder(path=tmp_path / RUN)
    folder.write_end(made_result(status="diverged", test=None), ())

    with pytest.raises(DataError, match=f"run {RUN[:12]} diverged, so it has no {which}"):
        READ[which](folder)


def test_a_folder_that_is_elsewhere_is_told_as_such(tmp_path):
    with pytest.raises(DataError, match="is missing: it was deleted, or the run was made on another machine"):
        RunFolder(path=tmp_path / RUN).result()


DAMAGE = (b"", b"{", b"[]", b"3", b"null", b'"words"', b"PK\x03\x04", b"\xff\xfe\x00", b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
@pytest.mark.parametrize("which", [name for name in READ if name not in ("recipe", "history")])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, which, content):
    """Whatever it holds instead; a list of trials may be empty."""
    folder = whole(tmp_path)
    folder.file(which).write_bytes(content)
    if (which, content) == ("trials", b"[]"):
        assert READ[which](folder) == []
        return

    with pytest.raises(DataError) as caught:
        READ[which](folder)

    assert f"{NAMES[which]} must hold " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("delete it" in str(caught.value)) == (which in ("probes", "trials"))


@pytest.mark.parametrize("which", ["weights", "predictions", "misread", "result", "reported"])
def test_no_beginning_of_a_file_passes_for_all_of_it(tmp_path, which):
    """As a full disk or a broken copy leaves it."""
    folder = whole(tmp_path)
    content = folder.file(which).read_bytes()
    cuts = range(0, len(content.rstrip()), max(1, len(content) // 60))

    for size in cuts:
        folder.file(which).write_bytes(content[:size])
        with pytest.raises(DataError, match="must hold"):
            READ[which](folder)

    assert len(cuts) >= 50


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    folder = whole(tmp_path)
    np.savez(folder.file("predictions"), test_labels=np.array([{}], dtype=object), test_probabilities=np.eye(1))

    with pytest.raises(DataError, match="must hold a row of probabilities"):
        folder.predictions("test")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with three files and their sums."""
    write_json(tmp_path / "result.json", {"run": "x"})
    write_bytes(tmp_path / "weights.safetensors", bytes(range(256)))
    write_text(tmp_path / "metrics.csv", "epoch,lr\n1,0.1\n")
    found = RunFolder(path=tmp_path)
    found.write_checksums()
    return found


def test_an_untouched_folder_passes(folder: RunFolder) -> None:
    """Files added later, as the report's pictures are, do no harm."""
    write_bytes(folder.path / "curves.png", b"later")

    folder.verify()

    assert set(json.loads(folder.file("checksums").read_text())) == {
        "result.json",
        "weights.safetensors",
        "metrics.csv",
    }


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=8 * 256 - 1))
def test_one_changed_bit_is_noticed_and_the_file_named(folder: RunFolder, bit: int) -> None:
    whole = bytearray(range(256))
    whole[bit // 8] ^= 1 << bit % 8
    folder.file("weights").write_bytes(whole)

    with pytest.raises(DataError, match=r"weights\.safetensors has changed"):
        folder.verify()


def test_all_faults_are_told_at_once(folder: RunFolder) -> None:
    folder.file("weights").unlink()
    folder.file("history").write_text("epoch,lr\n1,0.2\n")

    with pytest.raises(DataError) as caught:
        folder.verify()

    assert "weights.safetensors is missing" in str(caught.value)
    assert "metrics.csv has changed" in str(caught.value)
    assert "result.json" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "is unfinished"),
        ("{", "must hold checksums"),
        ("[]", "must hold checksums"),
        ('{"a": 1}', "must hold checksums"),
        ("\udc80", "must hold checksums"),
    ],
)
def test_sums_that_are_no_sums_are_refused(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / "checksums.json").write_text(text, errors="surrogateescape")

    with pytest.raises(DataError, match=complaint):
        RunFolder(path=tmp_path).verify()


def test_no_other_module_names_the_files_of_a_run_folder():
    """Nor builds such a name: constants of every module are searched, docstrings left out."""
    package = Path(flyweight.__file__).parent
    modules = [path for path in sorted(package.rglob("*.py")) if path.name != "run_folder.py"]

    found = {
        str(path.relative_to(package)): named
        for path in modules
        if (named := sorted(name for text in constants(path) for name in NAMES.values() if name in text))
    }

    assert found == {}
    assert len(modules) > 200
    assert sorted(NAMES.values()) == sorted(
        name for text in constants(package / "records" / "run_folder.py") for name in NAMES.values() if name == text
    )


def constants(path: Path) -> list[str]:
    """The texts in a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, holders) and is_text(node.body)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in texts if id(node) not in docstrings]


def is_text(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
