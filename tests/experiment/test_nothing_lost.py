"""A training that was finished or saved is never lost, by a kill, a full disk or a database that is away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flyweight import files
from flyweight.errors import DataError, MissingError
from flyweight.execute.seeds import resume_seeds, run_seeds
from flyweight.execute.stacked_executor import Stacked
from flyweight.experiment.events import EpochDone, Event, Started
from flyweight.experiment.run import resume, run
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from flyweight.report.run.page import write_report
from tiny import same, tiny_recipe, weights


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


class Killed(BaseException):
    """In place of a kill: nothing of ours catches it before the row stays open."""


@pytest.mark.parametrize("last", ["write_weights", "write_predictions", "write_end", "tidy"])
def test_a_finished_training_survives_a_kill_at_its_end(tmp_path, store, monkeypatch, last):
    """Whatever was being written: the row is open or closed, and the resumed run has the weights of the whole one."""
    recipe = tiny_recipe(tmp_path)
    whole = run(recipe, seed=0, store=store, threads=1)
    program = f"""
        import os, sys
        from pathlib import Path
        from flyweight.experiment.run import run
        from flyweight.recipe import load
        from flyweight.records.run_folder import RunFolder
        from flyweight.records.store import Store
        RunFolder.{last} = lambda *_given, **_named: os.kill(os.getpid(), 9)
        run(load(sys.argv[2]), seed=0, store=Store.open(home=Path(sys.argv[1])), threads=1)
    """
    path = store.folder(whole.id).file("recipe")

    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program), store.home, path], check=False)

    assert killed.returncode == -signal.SIGKILL
    store.mark_lost()
    record = next(one for one in store.runs() if one.id != whole.id)
    if last == "tidy":
        assert record.status == "finished"
    else:
        assert (record.status, record.epochs_done) == ("lost", 2)
        epochs: list[EpochDone] = []
        watch = lambda event: epochs.append(event) if isinstance(event, EpochDone) else None  # noqa: E731
        record = resume(record.id, store=store, watch=watch)
        assert not epochs
        assert not store.folder(record.id).has("checkpoint")
    assert same(weights(store, record.id), weights(store, whole.id))
    store.folder(record.id).verify()


def test_a_run_that_stopped_early_and_was_killed_does_not_train_on(tmp_path, store, monkeypatch):
    """Its patience had ended it; resumed, it ends again instead of taking another epoch."""
    recipe = tiny_recipe(tmp_path, "train.epochs=9", "train.patience=1", "train.lr=1e-12", "train.keep=last")
    whole = run(recipe, seed=0, store=store, threads=1)
    assert whole.epochs_done < 9

    monkeypatch.setattr(RunFolder, "write_end", lambda *_given: _kill())
    with pytest.raises(Killed):
        run(recipe, seed=0, store=store, threads=1)
    monkeypatch.undo()
    (failed,) = (one for one in store.runs() if one.id != whole.id)
    with store._engine.begin() as connection:  # as if the process had been killed
        connection.exec_driver_sql(
            "UPDATE runs SET status = 'lost', finished_at = started_at WHERE id = ?", (failed.id,)
        )

    assert resume(failed.id, store=store).epochs_done == whole.epochs_done


def _kill() -> None:
    raise Killed


def _mark_lost(store: Store, run_id: str) -> None:
    """As if the process of the run had been killed."""
    with store._engine.begin() as connection:
        lost = "UPDATE runs SET status = 'lost', finished_at = started_at WHERE id = ?"
        connection.exec_driver_sql(lost, (run_id,))


@pytest.mark.parametrize("executor", ["alone", "stacked"])
def test_a_full_disk_leaves_a_run_that_can_be_resumed(tmp_path, store, monkeypatch, executor):
    """One line with what happened and how to go on; afterwards the run ends with the weights of an undisturbed one."""
    recipe = tiny_recipe(tmp_path)
    whole = run(recipe, seed=0, store=store, threads=1)
    write, written = files.write_bytes, iter(range(10**9))

    def full(path: Path, data: bytes) -> None:
        if next(written) > 9:
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    def train() -> None:
        if executor == "alone":
            run(recipe, seed=0, store=store, threads=1)
        else:
            run_seeds(recipe, seeds=[0, 1], store=store, executor=Stacked(device="cpu"))

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(MissingError, match=r"No space left on device.*flyweight train --resume") as caught:
        train()
    monkeypatch.undo()

    assert "\n" not in str(caught.value)
    stopped = [one for one in store.runs() if one.status == "interrupted"]
    assert len(stopped) == (1 if executor == "alone" else 2)
    if executor == "alone":
        assert same(weights(store, resume(stopped[0].id, store=store).id), weights(store, whole.id))
    else:
        ended = resume_seeds(stopped[0].group_id, store=store, executor=Stacked(device="cpu"))
        assert [one.status for one in ended] == ["finished"] * 2


def test_a_database_that_is_back_in_time_is_not_noticed(tmp_path, store, monkeypatch):
    """The run waits and goes on."""
    faults = iter([MissingError("away"), MissingError("away")])
    log = Store.log_epochs.__wrapped__

    def flaky(self: Store, *given: object) -> None:
        for fault in faults:
            raise fault
        log(self, *given)

    monkeypatch.setattr(Store, "log_epochs", _patient(flaky))

    record = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1)

    assert record.status == "finished"
    assert len(store.epochs(record.id)) == 2


def test_a_database_that_stays_away_stops_the_run_and_loses_nothing(tmp_path, store, monkeypatch):
    """After a stated time it gives up; the epoch is saved in the folder, and on record once the run is resumed."""
    recipe = tiny_recipe(tmp_path)
    whole = run(recipe, seed=0, store=store, threads=1)
    monkeypatch.setattr(Store, "PATIENCE_SECONDS", 0.0)

    def away(self: Store, *_given: object) -> None:
        raise MissingError("cannot use the database")

    monkeypatch.setattr(Store, "log_epochs", _patient(away))
    with pytest.raises(MissingError, match=r"cannot use the database.*--resume"):
        run(recipe, seed=0, store=store, threads=1)
    monkeypatch.undo()
    (stopped,) = (one for one in store.runs() if one.id != whole.id)
    with store._engine.begin() as connection:  # its process has ended
        connection.exec_driver_sql(
            "UPDATE runs SET status = 'lost', finished_at = started_at WHERE id = ?", (stopped.id,)
        )

    resumed = resume(stopped.id, store=store)

    assert [epoch.epoch for epoch in store.epochs(resumed.id)] == [1, 2]
    assert same(weights(store, resumed.id), weights(store, whole.id))


def _patient(method):
    from flyweight.records.store import _tried_again

    return _tried_again(method)


def test_an_edited_recipe_is_not_resumed(tmp_path, store):
    """The recipe on record is the truth: a changed file is refused by key, and without a file the run goes on."""
    asked = iter(range(10**9))
    stopped = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1, should_stop=lambda: next(asked) > 3)
    path = store.folder(stopped.id).file("recipe")
    original = path.read_text()
    path.write_text(re.sub("^lr = .*$", "lr = 0.123", original, flags=re.MULTILINE))
    assert path.read_text() != original

    with pytest.raises(DataError, match=r"train\.lr differ"):
        resume(stopped.id, store=store)
    path.unlink()

    assert resume(stopped.id, store=store).status == "finished"
    assert path.read_text() == original


def test_other_kernels_than_at_the_start_are_said(tmp_path, store):
    """A resumed run says what it began with."""
    asked = iter(range(10**9))
    stopped = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1, should_stop=lambda: next(asked) > 3)
    with store._engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE runs SET environment = json_set(environment, '$.kernels', 'others') WHERE id = ?", (stopped.id,)
        )
    events: list[Event] = []

    resume(stopped.id, store=store, watch=events.append)

    (started,) = (event for event in events if isinstance(event, Started))
    assert started.began_with == {"kernels": "others"}
    environment = store.get(stopped.id).environment
    assert environment["began_with"] == {"kernels": "others"}
    assert environment["kernels"] == stopped.environment["kernels"]


def test_leftovers_of_stopped_writers_go_with_the_checkpoint(tmp_path, store):
    """A finished run has no unfinished files."""
    asked = iter(range(10**9))
    stopped = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1, should_stop=lambda: next(asked) > 3)
    (store.folder(stopped.id).path / ".unfinished-0123-weights.safetensors").write_bytes(b"half")

    resume(stopped.id, store=store)

    assert not [name for name in os.listdir(store.folder(stopped.id).path) if name.startswith(".")]


@pytest.mark.parametrize("missing", [("environment",), ("recipe", "environment")])
def test_a_run_that_was_killed_while_its_first_files_were_written_is_resumed(tmp_path, store, missing):
    """Between the recipe and the environment, or before both: the folder is whole in the end."""
    recipe = tiny_recipe(tmp_path)
    stopped = run(recipe, seed=0, store=store, threads=1, should_stop=lambda: True)
    folder = store.folder(stopped.id)
    for which in missing:
        folder.file(which).unlink()

    record = resume(stopped.id, store=store)

    assert record.status == "finished"
    assert folder.environment()["threads"] == 1
    folder.verify()
    write_report(folder)
