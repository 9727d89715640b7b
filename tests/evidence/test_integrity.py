"""What was edited, damaged or cut since a run ended is noticed, wherever it was."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from recorded import record_seeds

from flyweight import files
from flyweight.errors import DataError
from flyweight.evidence.compare import compare
from flyweight.evidence.groups import groups
from flyweight.evidence.integrity import faults_of
from flyweight.experiment.run import run as train
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import NAMES
from flyweight.records.store import Store
from tiny import tiny_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunRecord]:
    """A real run; tests put back what they change."""
    home = tmp_path_factory.mktemp("home")
    store = Store.open(home=home)
    recipe = tiny_recipe(home, "protocol.test_every_epoch=true")
    return store, train(recipe, store=store, device="cpu", threads=1)


EDITS = {
    "test_correct": "test_correct - 1",
    "test_count": "test_count + 1",
    "test_loss": "test_loss / 2",
    "validation_correct": "validation_correct - 1",
    "train_correct": "train_correct - 1",
    "best_epoch": "3 - best_epoch",
    "params": "params - 1",
    "macs": "macs + 1",
    "seed": "seed + 1",
    "name": "'other'",
    "epochs_done": "epochs_done + 1",
    "status": "'diverged'",
    "recipe": "json_set(recipe, '$.train.lr', 0.06)",
}


def edit(store: Store, statement: str) -> None:
    with sqlite3.connect(store.home / "flyweight.db") as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


def test_a_run_as_it_was_recorded_has_no_fault(trained):
    store, record = trained

    assert faults_of(record, store) == ()


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_column_of_the_row_is_noticed(trained, column):
    """Whatever the folder knows too: figures, costs, name, seed, status and recipe."""
    store, record = trained
    before = (store.home / "flyweight.db").read_bytes()
    try:
        edit(store, f"UPDATE runs SET {column} = {EDITS[column]} WHERE id = '{record.id}'")
        faults = faults_of(store.get(record.id), store)
    finally:
        for side in ("-wal", "-shm"):
            (store.home / f"flyweight.db{side}").unlink(missing_ok=True)
        (store.home / "flyweight.db").write_bytes(before)

    assert faults
    assert column == "recipe" or column.partition("_")[0] in " ".join(faults)
    assert faults_of(store.get(record.id), store) == ()


def test_an_edited_or_deleted_epoch_is_noticed(trained):
    store, record = trained
    edit(store, f"UPDATE epochs SET validation_accuracy = 0.999 WHERE run_id = '{record.id}' AND epoch = 2")
    edited = faults_of(record, store)
    edit(store, f"DELETE FROM epochs WHERE run_id = '{record.id}' AND epoch = 2")
    deleted = faults_of(record, store)
    (last,) = [line for line in store.folder(record.id).history() if line.epoch == 2]
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")
    values = {name: getattr(last, name) for name in names} | {"seconds": 1.0}
    with sqlite3.connect(store.home / "flyweight.db") as connection:
        columns = ", ".join(["run_id", "epoch", *values])
        marks = ", ".join("?" * (2 + len(values)))
        connection.execute(f"INSERT INTO epochs ({columns}) VALUES ({marks})", (record.id, 2, *values.values()))
    connection.close()

    assert len(edited) == len(deleted) == 1
    assert faults_of(record, store) == ()


COVERED = ("recipe", "environment", "history", "reported", "result", "weights", "predictions", "misread", "checksums")


@pytest.mark.parametrize("which", COVERED)
@pytest.mark.parametrize("change", ["a flipped bit", "truncated", "empty", "missing"])
def test_a_damaged_file_is_noticed(trained, which, change):
    store, record = trained
    path = store.folder(record.id).path / NAMES[which]
    before = path.read_bytes()
    middle = len(before) // 2
    damaged = {
        "a flipped bit": before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :],
        "truncated": before[:middle],
        "empty": b"",
        "missing": None,
    }[change]
    try:
        path.unlink() if damaged is None else path.write_bytes(damaged)
        faults = faults_of(record, store)
    finally:
        files.write_bytes(path, before)

    assert faults
    assert faults_of(record, store) == ()


def test_figures_edited_in_the_row_and_the_folder_are_counted_again(trained):
    """Also where the checksum was made anew: the predictions say how many were right."""
    store, record = trained
    folder = store.folder(record.id)
    kept = {which: folder.file(which).read_bytes() for which in ("result", "checksums")}
    result = json.loads(kept["result"])
    result["test"]["correct"] += 1
    try:
        files.write_json(folder.file("result"), result)
        folder.write_checksums()
        forged = RunRecord(**{**vars(record), "test_correct": record.test_correct + 1})
        faults = faults_of(forged, store)
    finally:
        for which, content in kept.items():
            files.write_bytes(folder.file(which), content)

    assert len(faults) == 1
    assert "predictions" in faults[0]


def test_equal_probabilities_are_not_a_fault(tmp_path):
    """Two classes can be equally probable once their logits are rounded to probabilities: both counts are right."""
    store = Store.open(home=tmp_path)
    (record,) = record_seeds(store, [980])
    folder = store.folder(record.id)
    found = folder.predictions("test")
    found.probabilities[0] = 0.1
    folder.write_predictions(validation=folder.predictions("validation"), test=found, validation_indices=np.arange(1))
    folder.write_checksums()

    assert faults_of(record, store) == ()


def test_a_comparison_refuses_edited_figures_and_names_damaged_files(tmp_path):
    store = Store.open(home=tmp_path)
    sides = [record_seeds(store, (970, 972)), record_seeds(store, (980, 985), "train.lr=0.05")]
    file = store.folder(sides[0][0].id).file("result")
    file.write_bytes(file.read_bytes() + b" ")
    base, changed = (groups(side)[0] for side in sides)

    assert any("result.json has changed" in caveat for caveat in compare(store, base, changed).caveats)

    edit(store, f"UPDATE runs SET test_correct = 999 WHERE id = '{sides[1][0].id}'")
    (edited,) = groups([store.get(run.id) for run in sides[1]])
    with pytest.raises(DataError, match="999 of 1000"):
        compare(store, base, edited)


@pytest.mark.parametrize("purpose", ["run", "all"])
def test_the_list_of_runs_is_verified_on_the_command_line(tmp_path: Path, capsys, purpose):
    """A line for each disagreement and exit code 6; 0 where there is none."""
    from flyweight.cli.app import run

    store = Store.open(home=tmp_path)
    (good, bad, _) = (*record_seeds(store, (970, 972)), *record_seeds(store, (0,), status="interrupted"))
    command = ("runs", "--verify", "--purpose", purpose, "--home", str(tmp_path), "--json")
    assert run(command) == 0
    assert "2 runs checked, 0 not as recorded; 1 run without a result left out" in capsys.readouterr().err

    edit(store, f"UPDATE runs SET test_correct = 1000 WHERE id = '{bad.id}'")
    assert run(command) == 6
    out = capsys.readouterr().out
    assert bad.id in out
    assert good.id not in out
