"""The contract of a tracker, held by every adapter with the real library: what it shows is what is on record."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from reading_back import Shown, mlflow_runs, tensorboard_runs, wandb_runs
from recorded_runs import EPOCHS, RESULT, begin, complete, log

from flyweight.errors import MissingError, UsageError
from flyweight.records.record import ENDINGS, EpochRecord, RunRecord
from flyweight.records.store import Store
from flyweight.trackers.trackers import TRACKERS, Tracker, open_tracker, require_installed

pytestmark = [
    # MLflow's own tables, under SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]

READERS: dict[str, Callable[[Path, str], list[Shown]]] = {
    "mlflow": mlflow_runs,
    "tensorboard": tensorboard_runs,
    "wandb": wandb_runs,
}
FAILED = {"mlflow": "FAILED", "tensorboard": "STATUS_FAILURE", "wandb": "failed"}
STOPPED = {"mlflow": "KILLED", "tensorboard": "STATUS_UNKNOWN", "wandb": "failed"}
STATUSES = {
    "running": {"mlflow": "RUNNING", "tensorboard": "STATUS_RUNNING", "wandb": "running"},
    "finished": {"mlflow": "FINISHED", "tensorboard": "STATUS_SUCCESS", "wandb": "finished"},
    "diverged": FAILED,
    "failed": FAILED,
    "interrupted": STOPPED,
    "lost": STOPPED,
}
SETTINGS = {
    "name": "own/20k-fast",
    "description": "",
    "model.net": "c8 bn r m2 flat fc10",
    "data.name": "mnist",
    "data.flip": "False",
    "train.epochs": "3",
    "train.lr": "0.1",
    "train.schedule": "one-cycle",
    "seed": "7",
    "params": "19348",
    "registered_params": "21700",
    "macs": "1234567",
    "data_name": "mnist",
    "data_hash": "cd" * 32,
    "split_hash": "ef" * 32,
    "epochs_planned": "3",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One tracker and one home for all tests of this file: MLflow takes seconds to make its tables."""

    name: str
    store: Store

    def open(self) -> Tracker:
        return open_tracker(self.name, self.store.home)

    def send(self, run: RunRecord, tracker: Tracker | None = None) -> None:
        """Send what is on record now."""
        receiver = tracker or self.open()
        receiver.send(self.store.get(run.id), self.store.epochs(run.id))
        if tracker is None:
            receiver.close()

    def shown(self, run: RunRecord) -> Shown:
        """What the tracker shows; the run must be there exactly once."""
        (only,) = READERS[self.name](self.store.home, run.id)
        return only


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    home = tmp_path_factory.mktemp("home")
    return Store.open(f"sqlite:///{home / 'records.db'}", home)


@pytest.fixture(params=TRACKERS)
def case(request: pytest.FixtureRequest, store: Store, no_settings_of_this_machine: None) -> Case:
    pytest.importorskip(request.param)
    if request.param == "mlflow" and not (store.home / "trackers" / "mlflow.db").exists():
        request.getfixturevalue("give_mlflow_tables")(store.home)
    return Case(name=request.param, store=store)


def near(values: dict[Any, float]) -> Any:
    """Equal as far as single precision goes, which is all that TensorBoard keeps."""
    return pytest.approx(values, rel=1e-6)


def test_every_tracker_is_in_the_contract() -> None:
    """No adapter can be added without being read back."""
    assert set(READERS) == set(TRACKERS)
    assert set(STATUSES) == {"running", *ENDINGS}


def test_what_is_on_record_is_shown(case: Case) -> None:
    """Recipe, cost, seed, every figure of every epoch, the result, and what finds the run again."""
    run = complete(case.store, study="first steps")

    case.send(run)

    shown = case.shown(run)
    assert shown.settings == SETTINGS
    assert shown.identity == {
        "run_id": run.id,
        "name": "own/20k-fast",
        "group_id": "g1",
        "study": "first steps",
        "purpose": "run",
        "recipe_hash": "ab" * 32,
    }
    columns = {name: {number: epoch[name] for number, epoch in enumerate(EPOCHS, 1)} for name in EPOCHS[0]}
    for name, values in {**columns, "seconds": {1: 4.25, 2: 4.25, 3: 4.25}}.items():
        assert shown.epochs[name] == near(values)
    assert set(shown.epochs) == {*columns, "seconds"}
    assert shown.results == near(
        {
            "result/train_accuracy": 54 / 55,
            "result/train_loss": RESULT["train_loss"],
            "result/validation_accuracy": 0.9762,
            "result/validation_loss": RESULT["validation_loss"],
            "result/test_accuracy": 0.9777,
            "result/test_loss": RESULT["test_loss"],
            "result/best_epoch": 3,
            "result/test_openings": 1,
            "result/train_seconds": 12.75,
        }
    )
    started = run.started_at.timestamp()
    assert shown.epoch_moments == pytest.approx([started + 4.25, started + 8.5, started + 12.75], abs=0.01)


def test_sending_again_changes_nothing(case: Case) -> None:
    """Neither by the same tracker nor by one that another process opens later."""
    run = complete(case.store)
    tracker = case.open()
    case.send(run, tracker)
    first = case.shown(run)

    case.send(run, tracker)
    tracker.close()
    case.send(run)

    assert case.shown(run) == first


def test_runs_side_by_side_grow_epoch_by_epoch(case: Case) -> None:
    """Two runs that are sent as they happen, in turn, show in the end what they would show sent at once."""
    runs = [begin(case.store, seed=seed) for seed in (1, 2)]
    tracker = case.open()
    for run in runs:
        case.send(run, tracker)
    for number in (1, 2, 3):
        for run in runs:
            log(case.store, run, number)
            case.send(run, tracker)
    for run in runs:
        case.store.open_test(run.id, "the result")
        case.store.finish(run.id, "finished", **RESULT)
        case.send(run, tracker)
    tracker.close()

    shown = [case.shown(run) for run in runs]
    at_once = complete(case.store, seed=1)
    case.send(at_once)

    assert [one.settings["seed"] for one in shown] == ["1", "2"]
    for one in shown:
        assert one.epochs == case.shown(at_once).epochs
        assert one.results == case.shown(at_once).results
        assert one.status == STATUSES["finished"][case.name]


def test_a_resumed_run_continues_where_it_was(case: Case) -> None:
    """A run that was interrupted, sent, resumed and sent by another process is one run with all its epochs."""
    run = begin(case.store)
    log(case.store, run, 1, 2)
    case.store.finish(run.id, "interrupted", epochs_done=2)
    case.send(run)
    assert case.shown(run).status == STATUSES["interrupted"][case.name]

    case.store.resume(run.id)
    tracker = case.open()
    case.send(run, tracker)
    log(case.store, run, 3)
    case.send(run, tracker)
    case.store.finish(run.id, "finished", **RESULT)
    case.send(run, tracker)
    tracker.close()

    shown = case.shown(run)
    assert sorted(shown.epochs["train_loss"]) == [1, 2, 3]
    assert shown.results["result/test_accuracy"] == pytest.approx(0.9777, rel=1e-6)
    assert shown.status == STATUSES["finished"][case.name]


def test_what_is_not_a_number_is_left_out(case: Case) -> None:
    """An epoch without a loss has no loss there, not a zero, and a run without a test has no test result."""
    run = begin(case.store)
    log(case.store, run, 1)
    case.store.log_epoch(run.id, 2, {"train_loss": float("nan"), "train_accuracy": 0.1, "seconds": 1.0})
    case.store.finish(run.id, "diverged", epochs_done=2, message="the loss is no number")

    case.send(run)

    shown = case.shown(run)
    assert sorted(shown.epochs["train_loss"]) == [1]
    assert sorted(shown.epochs["train_accuracy"]) == [1, 2]
    assert sorted(shown.epochs["validation_loss"]) == [1]
    assert "result/test_accuracy" not in shown.results
    assert "study" not in shown.identity


@pytest.mark.parametrize("ending", ENDINGS)
def test_how_a_run_ended_is_reported(case: Case, ending: Any) -> None:
    """Each ending of ours has its word there."""
    run = begin(case.store)
    case.store.finish(run.id, ending)

    case.send(run)

    assert case.shown(run).status == STATUSES[ending][case.name]


def test_a_run_at_work_is_shown_as_such(case: Case) -> None:
    """While a run lasts, what there is of it can be looked at."""
    run = begin(case.store)
    log(case.store, run, 1)
    tracker = case.open()

    case.send(run, tracker)

    if case.name != "wandb":  # which writes its file when it pleases, at the latest when the run is over
        assert case.shown(run).status == STATUSES["running"][case.name]
        assert sorted(case.shown(run).epochs["train_loss"]) == [1]
    tracker.close()


@pytest.mark.parametrize("name", ["../../out of the home", "a/b\\c#d?e%f:g", "…", "=1+1", "-" * 300, "'; drop"])
def test_any_name_of_a_recipe_will_do(case: Case, name: str) -> None:
    """What a recipe is called decides neither whether a run arrives nor where files lie."""
    run = complete(case.store, name=name)

    case.send(run)

    assert case.shown(run).identity["name"] == name
    assert {path.name for path in case.store.home.iterdir()} <= {"records.db", "records.db-wal", "records.db-shm"} | {
        "records.db.lock",
        "runs",
        "trackers",
    }


def test_a_long_run_with_many_keys_arrives_whole(case: Case) -> None:
    """More parameters and figures than MLflow takes in one call, and more than one block of a .wandb file."""
    recipe = {"name": "long", "more": {f"key{number}": number for number in range(250)}}
    run = begin(case.store, recipe=recipe)
    epochs = [
        EpochRecord(
            run_id=run.id,
            epoch=number,
            train_loss=1 / number,
            train_accuracy=0.5,
            validation_loss=None,
            validation_accuracy=0.5,
            lr=0.1,
            seconds=1.0,
        )
        for number in range(1, 301)
    ]
    finished = case.store.finish(run.id, "finished", epochs_done=300)

    case.open().send(finished, epochs)

    shown = case.shown(run)
    assert shown.epochs["train_loss"] == near({number: 1 / number for number in range(1, 301)})
    assert [shown.settings[f"more.key{number}"] for number in range(250)] == [str(number) for number in range(250)]


def test_nothing_is_written_where_one_stands(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ./mlruns, no ./wandb: a tracker's files are under the home."""
    monkeypatch.chdir(tmp_path)

    case.send(complete(case.store))

    assert list(tmp_path.iterdir()) == []


def test_the_tensorboard_file_only_grows() -> None:
    """A TensorBoard that reads along loses nothing: each state of a run's file is the beginning of the next."""
    pytest.importorskip("tensorboard")
    from flyweight.trackers.tensorboard import event_file

    run = _record()
    epochs = [EpochRecord(run_id=run.id, epoch=number, **{**EPOCHS[0], "seconds": 1.0}) for number in (1, 2, 3)]

    states = [event_file(run, epochs[:number]) for number in range(4)]

    assert all(later.startswith(earlier) for earlier, later in pairwise(states))
    assert len(set(map(len, states))) == 4


def test_the_tensorboard_file_is_the_same_in_every_process(tmp_path: Path) -> None:
    """The bytes follow from the record alone, so that another process continues with the same file."""
    pytest.importorskip("tensorboard")
    store = Store.open(f"sqlite:///{tmp_path / 'records.db'}", tmp_path)
    run = complete(store)
    script = (
        "import hashlib, sys\n"
        "from pathlib import Path\n"
        "from flyweight.records.store import Store\n"
        "from flyweight.trackers.tensorboard import event_file\n"
        "store = Store.open(sys.argv[1], Path(sys.argv[2]))\n"
        "print(hashlib.sha256(event_file(store.get(sys.argv[3]), store.epochs(sys.argv[3]))).hexdigest())"
    )

    sums = {
        subprocess.run(
            [sys.executable, "-c", script, store.url, str(tmp_path), run.id],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(sums) == 1


def test_an_unknown_tracker_lists_the_known() -> None:
    """A name that is meant for one of the three says so."""
    with pytest.raises(UsageError, match=r"mlflow, tensorboard, wandb, found 'tensorbord'. Did you mean 'tensorboard'"):
        open_tracker("tensorbord", Path("home"))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_reported_with_the_install_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a folder of that name lies about, as W&B leaves one wherever it was used."""
    (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, name, raising=False)

    with pytest.raises(MissingError, match=rf"pip install 'flyweight\[{name}\]'"):
        require_installed(name)


def _record() -> RunRecord:
    from datetime import UTC, datetime

    return RunRecord(
        id="1k9x3v7q2m0c8f4d5h6j",
        name="a",
        group_id=None,
        status="running",
        seed=0,
        recipe={"train": {"lr": 0.1, "epochs": 3}},
        recipe_hash="ab",
        params=1,
        registered_params=1,
        macs=1,
        data_name="mnist",
        data_hash="cd",
        split_hash="ef",
        environment={},
        epochs_planned=3,
        host="here",
        pid=1,
        process_started="",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        finished_at=None,
        epochs_done=0,
        best_epoch=None,
        train_correct=None,
        train_count=None,
        train_loss=None,
        validation_correct=None,
        validation_count=None,
        validation_loss=None,
        test_correct=None,
        test_count=None,
        test_loss=None,
        test_openings=0,
        train_seconds=None,
        message="",
    )
