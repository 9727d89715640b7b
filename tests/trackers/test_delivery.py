"""Runs on their way: training never waits and never fails for a tracker, and nothing that was to be sent is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from reading_back import mlflow_runs, tensorboard_runs, wandb_runs
from recorded_runs import RESULT, begin, complete, log

from flyweight.errors import MissingError, UsageError
from flyweight.records.ids import new_run_id
from flyweight.records.store import Store
from flyweight.trackers import Parcel, pending, sync, tracking, where

pytestmark = [
    # MLflow's own tables, under SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture
def warnings() -> list[str]:
    """What `warn` was reported; a test gives its `append`."""
    return []


@pytest.fixture
def absent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow address at which no one answers."""
    pytest.importorskip("mlflow")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An MLflow address at which somebody listens and never says a word."""
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


def block(path: Path) -> None:
    """Put a file where a folder should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


def put_aside(store: Store, tracker: str, *ids: str) -> None:
    """Leave the runs as a process does that could not send them."""
    folder = store.home / "pending" / tracker
    folder.mkdir(parents=True, exist_ok=True)
    for run_id in ids:
        (folder / run_id).touch()


def named(parcels: Sequence[Parcel]) -> list[tuple[str, str]]:
    """Tracker and run of each."""
    return [(parcel.tracker, parcel.run_id) for parcel in parcels]


def train(store: Store, note: Callable[[str], None], **changed: object) -> str:
    """What a training reports of a run: that it starts, each epoch, that it ends."""
    run = begin(store, **changed)
    note(run.id)
    for number in (1, 2, 3):
        log(store, run, number)
        note(run.id)
    store.finish(run.id, "finished", **RESULT)
    note(run.id)
    return run.id


def test_a_run_arrives_at_every_tracker_as_it_happens(
    store: Store,
    warnings: list[str],
    give_mlflow_tables: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Three trackers at once; nothing is pending afterwards, and nothing was said, by them neither."""
    for name in ("mlflow", "tensorboard", "wandb"):
        pytest.importorskip(name)
    give_mlflow_tables(store.home)

    with tracking(["mlflow", "tensorboard", "wandb"], store, warn=warnings.append) as note:
        ids = [train(store, note, seed=seed) for seed in (1, 2)]

    for read in (mlflow_runs, tensorboard_runs, wandb_runs):
        for run_id in ids:
            (shown,) = read(store.home, run_id)
            assert sorted(shown.epochs["validation_accuracy"]) == [1, 2, 3]
            assert shown.results["result/test_accuracy"] == pytest.approx(0.9777, rel=1e-6)
    assert pending(store.home) == ()
    assert warnings == []
    assert capfd.readouterr() == ("", "")


def test_without_trackers_nothing_happens(store: Store, warnings: list[str]) -> None:
    """No names: no thread, no folder, no word."""
    threads = threading.active_count()

    with tracking([], store, warn=warnings.append) as note:
        train(store, note)
        assert threading.active_count() == threads

    assert not (store.home / "pending").exists()
    assert warnings == []


def test_an_unknown_tracker_is_refused_before_anything_starts(store: Store, warnings: list[str]) -> None:
    """A slip in a name costs no training."""
    with (
        pytest.raises(UsageError, match="found 'tensorbord'"),
        tracking(["tensorbord"], store, warn=warnings.append),
    ):
        pytest.fail("it went on")


def test_a_missing_package_is_reported_before_anything_starts(
    store: Store, warnings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a tracker that is not installed learns the line that installs it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)

    with (
        pytest.raises(MissingError, match=r"pip install 'flyweight\[wandb\]'"),
        tracking(["wandb"], store, warn=warnings.append),
    ):
        pytest.fail("it went on")


def test_a_tracker_that_is_not_there_is_reported_once_and_synced_later(
    store: Store,
    warnings: list[str],
    give_mlflow_tables: Callable[[Path], None],
    absent_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training continues, one line is said; when the tracker is back, all runs get there with all they have."""
    with tracking(["mlflow"], store, warn=warnings.append) as note:
        ids = [train(store, note, seed=seed) for seed in (1, 2)]

    assert len(warnings) == 1
    assert warnings[0].startswith("mlflow: ")
    assert warnings[0].endswith("; the runs are stored, and `flyweight sync` sends them later")
    assert "\n" not in warnings[0]
    assert named(pending(store.home)) == [("mlflow", run_id) for run_id in ids]

    still = sync(store, warn=warnings.append)

    assert [parcel.run_id for parcel in still.still_pending] == ids
    assert (still.sent, still.gone) == ((), ())
    assert len(warnings) == 2
    assert "flyweight sync" in warnings[1]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    give_mlflow_tables(store.home)
    report = sync(store, warn=warnings.append, here=True)

    assert named(report.sent) == [("mlflow", run_id) for run_id in ids]
    assert (report.still_pending, report.gone) == ((), ())
    assert pending(store.home) == ()
    assert len(warnings) == 2
    for run_id in ids:
        (shown,) = mlflow_runs(store.home, run_id)
        recorded = {epoch.epoch: epoch.validation_accuracy for epoch in store.epochs(run_id)}
        assert shown.epochs["validation_accuracy"] == recorded
        assert shown.results["result/test_accuracy"] == store.get(run_id).test_accuracy
        assert shown.status == "FINISHED"


def test_a_blocked_tracker_does_not_hold_up_another(store: Store, warnings: list[str]) -> None:
    """Where one folder cannot be made, the other tracker still has everything."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    block(store.home / "trackers" / "tensorboard")

    with tracking(["tensorboard", "wandb"], store, warn=warnings.append) as note:
        run_id = train(store, note)

    assert [line.partition(":")[0] for line in warnings] == ["tensorboard"]
    assert named(pending(store.home)) == [("tensorboard", run_id)]
    assert wandb_runs(store.home, run_id)[0].status == "finished"

    (store.home / "trackers" / "tensorboard").unlink()
    report = sync(store, ["tensorboard"], warn=warnings.append)

    assert named(report.sent) == [("tensorboard", run_id)]
    (shown,) = tensorboard_runs(store.home, run_id)
    assert sorted(shown.epochs["train_loss"]) == [1, 2, 3]


def test_a_tracker_that_recovers_while_training_gets_everything(store: Store, warnings: list[str]) -> None:
    """What failed in the beginning is there in the end, without a sync."""
    pytest.importorskip("tensorboard")
    in_the_way = store.home / "trackers" / "tensorboard"
    block(in_the_way)

    with tracking(["tensorboard"], store, warn=warnings.append) as note:
        first = train(store, note)
        wait_until(lambda: bool(warnings))
        in_the_way.unlink()
        second = train(store, note)

    assert len(warnings) == 1
    assert pending(store.home) == ()
    for run_id in (first, second):
        assert len(tensorboard_runs(store.home, run_id)[0].epochs["train_loss"]) == 3


def test_training_never_waits_for_a_tracker(store: Store, warnings: list[str], silent_server: None) -> None:
    """A server that never answers takes no time from the run, and at the end only as long as was allowed."""
    pytest.importorskip("mlflow.tracking")  # imported before the clock runs
    began = time.monotonic()

    with tracking(["mlflow"], store, warn=warnings.append, wait_seconds=0.5) as note:
        run_id = train(store, note)
        trained = time.monotonic() - began
    left = time.monotonic() - began - trained

    assert trained < 2
    assert 0.4 < left < 2
    assert warnings == [
        "mlflow: did not take everything within 0.5 s; the runs are stored, and `flyweight sync` sends them later"
    ]
    assert named(pending(store.home)) == [("mlflow", run_id)]
    wait_until(lambda: not any(thread.name == "to mlflow" for thread in threading.enumerate()), seconds=20)


def test_a_run_that_an_error_ends_is_reported_all_the_same(store: Store, warnings: list[str]) -> None:
    """Such a run is closed without an event; what became of it is sent when the context is left."""
    pytest.importorskip("tensorboard")

    def fail() -> None:
        with tracking(["tensorboard"], store, warn=warnings.append) as note:
            run = begin(store)
            note(run.id)
            log(store, run, 1)
            note(run.id)
            wait_until(lambda: bool(tensorboard_runs(store.home, run.id)))
            store.finish(run.id, "failed", message="ValueError: no")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    (run,) = store.runs()
    assert tensorboard_runs(store.home, run.id)[0].status == "STATUS_FAILURE"
    assert pending(store.home) == ()


def test_a_killed_process_leaves_its_run_to_sync(store: Store, warnings: list[str]) -> None:
    """`kill -9` in the middle of a run: its marker stays, and sync sends it as what it is, lost."""
    pytest.importorskip("tensorboard")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from recorded_runs import begin, log\n"
        "from flyweight.trackers import tracking\n"
        "from flyweight.records.store import Store\n"
        "store = Store.open(sys.argv[1], Path(sys.argv[2]))\n"
        "with tracking(['tensorboard'], store, warn=print) as note:\n"
        "    run = begin(store)\n"
        "    note(run.id)\n"
        "    log(store, run, 1)\n"
        "    note(run.id)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, store.url, str(store.home)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run,) = store.runs()
    assert named(pending(store.home)) == [("tensorboard", run.id)]

    report = sync(store, warn=warnings.append)

    assert [parcel.run_id for parcel in report.sent] == [run.id]
    (shown,) = tensorboard_runs(store.home, run.id)
    assert sorted(shown.epochs["train_loss"]) == [1]
    assert shown.status == "STATUS_UNKNOWN"
    assert store.get(run.id).status == "lost"


def test_sync_leaves_a_run_at_work_to_its_process(store: Store, warnings: list[str]) -> None:
    """Two that write the same run would write it twice."""
    run = begin(store)
    put_aside(store, "tensorboard", run.id)

    report = sync(store, warn=warnings.append)

    (parcel,) = report.still_pending
    assert parcel.run_id == run.id
    assert f"process {os.getpid()}" in parcel.reason
    assert warnings == []
    assert named(pending(store.home)) == [("tensorboard", run.id)]


def test_what_is_gone_is_named_and_dropped(store: Store, warnings: list[str]) -> None:
    """A run whose folder was removed does not wait for ever, whether its row is still there or not."""
    pytest.importorskip("tensorboard")
    removed, kept, unknown = complete(store).id, complete(store).id, new_run_id()
    store.folder(removed).path.rmdir()
    put_aside(store, "tensorboard", removed, kept, unknown)

    report = sync(store, warn=warnings.append)

    assert {parcel.run_id for parcel in report.gone} == {removed, unknown}
    assert [parcel.run_id for parcel in report.sent] == [kept]
    assert pending(store.home) == ()


def test_runs_of_another_database_are_kept(store: Store, warnings: list[str], tmp_path: Path) -> None:
    """A home may serve two databases; what the one does not know is left for the other."""
    pytest.importorskip("tensorboard")
    run_id = complete(store).id
    put_aside(store, "tensorboard", run_id)
    other = Store.open(f"sqlite:///{tmp_path / 'other.db'}", store.home)

    report = sync(other, warn=warnings.append)

    assert "no record" in report.still_pending[0].reason
    assert report.gone == ()
    assert [parcel.run_id for parcel in sync(store, warn=warnings.append).sent] == [run_id]


def test_one_run_that_is_refused_does_not_hold_up_the_others(store: Store, warnings: list[str]) -> None:
    """A file in the way of one run's folder keeps that run, and is reported; the others arrive."""
    pytest.importorskip("tensorboard")
    from flyweight.trackers.tensorboard import folder_name

    runs = [complete(store, seed=seed) for seed in range(4)]
    block(store.home / "trackers" / "tensorboard" / folder_name(runs[1]))
    put_aside(store, "tensorboard", *(run.id for run in runs))

    report = sync(store, warn=warnings.append)

    assert [parcel.run_id for parcel in report.sent] == [runs[0].id, runs[2].id, runs[3].id]
    assert [parcel.run_id for parcel in report.still_pending] == [runs[1].id]
    assert len(warnings) == 1


def test_two_syncs_do_not_send_at_once(store: Store, warnings: list[str]) -> None:
    """The second is reported so, and nothing is lost."""
    (store.home / "pending").mkdir()

    with (
        FileLock(store.home / "pending" / "sync.lock"),
        pytest.raises(UsageError, match="another `flyweight sync` is running"),
    ):
        sync(store, warn=warnings.append)


def test_a_waiting_run_keeps_its_address(
    store: Store, warnings: list[str], absent_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell without MLFLOW_TRACKING_URI, or with another one, does not send it elsewhere and strike it off."""
    meant = os.environ["MLFLOW_TRACKING_URI"]
    with tracking(["mlflow"], store, warn=warnings.append, wait_seconds=30) as note:
        run_id = train(store, note)
    for other in (None, "http://127.0.0.1:1"):
        monkeypatch.delenv("MLFLOW_TRACKING_URI") if other is None else monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
        done = sync(store, warn=warnings.append)

        assert done.sent == ()
        assert [(parcel.run_id, parcel.address) for parcel in done.still_pending] == [(run_id, meant)]
        assert os.environ.get("MLFLOW_TRACKING_URI") == other
    assert not (store.home / "trackers" / "mlflow.db").exists()
    assert [parcel.address for parcel in pending(store.home)] == [meant]


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("mlflow", {"MLFLOW_TRACKING_URI": "http://me:secret@host:5000"}, "http://host:5000"),
        ("mlflow", {}, "home/trackers/mlflow.db"),
        ("tensorboard", {}, "home/trackers/tensorboard"),
        ("wandb", {}, "home/trackers/wandb"),
        ("wandb", {"WANDB_MODE": "online", "WANDB_ENTITY": "lab", "WANDB_PROJECT": "nets"}, "wandb.ai/lab/nets"),
        ("wandb", {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://here"}, "http://here"),
    ],
)
def test_an_address_is_printed_without_its_password(name: str, address: dict[str, str], expected: str) -> None:
    assert where(name, address, Path("home")) == expected


def test_sync_refuses_an_unknown_tracker(store: Store, warnings: list[str]) -> None:
    """A slip in a name is no empty success."""
    with pytest.raises(UsageError, match="found 'mlfow'"):
        sync(store, ["mlfow"], warn=warnings.append)


def wait_until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.01)
