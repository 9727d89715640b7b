"""Runs that were removed are whole in the trash: in no list, and back as they were when they are restored."""

from __future__ import annotations

import pytest
from example_run import asked

from flyweight.errors import DataError, UsageError
from flyweight.records import trash
from flyweight.records.store import Store


def test_a_removed_run_comes_back_as_it_was(store: Store) -> None:
    """Row, epochs, openings of the test set and files; meanwhile nothing finds it."""
    run = store.start(**asked())
    store.log_epoch(run.id, 1, {"train_loss": 0.5, "lr": 0.1})
    store.open_test(run.id, "final figure")
    ended = store.finish(run.id, "finished", test_correct=9, test_count=10)
    (store.folder(run.id).path / "note.txt").write_text("mine")
    epochs = store.epochs(run.id)

    trashed = store.remove("@latest")

    assert store.runs(purpose="all") == ()
    assert not store.folder(run.id).path.exists()
    assert trash.removed(store.home) == [trashed]
    with pytest.raises(UsageError, match="no run"):
        store.get(run.id)
    assert store.restore(run.id[:12]) == ended
    assert store.get(run.id) == ended
    assert store.epochs(run.id) == epochs
    assert (store.folder(run.id).path / "note.txt").read_text() == "mine"
    assert trash.removed(store.home) == []


def test_what_cannot_be_removed_or_restored_stays(store: Store) -> None:
    """A run under way, an unknown one, and a record that somebody damaged."""
    run = store.start(**asked())
    with pytest.raises(UsageError, match=r"is running .* stop it first"):
        store.remove(run.id)
    store.finish(run.id, "failed")
    trashed = store.remove(run.id)

    with pytest.raises(UsageError, match=f"0 runs in the trash begin with 'x'; it holds {run.id[:12]}"):
        store.restore("x")
    (trashed / "record.json").write_text("{}")
    with pytest.raises(DataError, match="must hold the rows of a run"):
        store.restore(run.id)

    assert trashed.exists()
    assert store.runs(purpose="all") == ()
    assert trash.empty(store.home) == 1
    assert trash.empty(store.home) == 0
