"""A run can leave the test images closed, and open them later, once, with the figures of a run that opened them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from flyweight.cli.app import run as command
from flyweight.errors import UsageError
from flyweight.evidence.compare import compare
from flyweight.evidence.groups import groups
from flyweight.evidence.integrity import faults_of
from flyweight.execute.execution import execute
from flyweight.execute.process_executor import Processes
from flyweight.execute.request import TrainingRequest
from flyweight.execute.stacked_executor import Stacked
from flyweight.experiment.open_test import open_test
from flyweight.experiment.run import run
from flyweight.records.database import reading
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.records.tables import test_openings as openings
from tiny import same, small_recipe, tiny_recipe, weights


def n_openings(store: Store) -> int:
    with reading(store._engine) as connection:
        return int(connection.scalar(select(func.count()).select_from(openings)) or 0)


def test_a_closed_run_has_no_test_figure_until_it_is_opened_once(tmp_path: Path) -> None:
    store, recipe = Store.open(home=tmp_path / "home"), tiny_recipe(tmp_path)
    usual = run(recipe, store=store, device="cpu")

    closed = run(recipe, store=store, device="cpu", opens_test=False)

    assert (closed.status, closed.test_count, closed.test_openings, n_openings(store)) == ("finished", None, 0, 1)
    assert closed.validation_correct == usual.validation_correct
    assert same(weights(store, closed.id), weights(store, usual.id))
    assert not store.folder(closed.id).has("misread")
    opened = open_test(closed.id, store=store, device="cpu")
    names = ("test_correct", "test_count", "test_loss", "test_openings")
    assert [getattr(opened, name) for name in names] == [getattr(usual, name) for name in names]
    assert store.folder(closed.id).result().test == store.folder(usual.id).result().test
    assert faults_of(opened, store) == ()
    assert (store.folder(closed.id).predictions("test").probabilities.tobytes()) == (
        store.folder(usual.id).predictions("test").probabilities.tobytes()
    )
    with pytest.raises(UsageError, match="test figure already"):
        open_test(closed.id, store=store)
    assert n_openings(store) == 2


@pytest.mark.parametrize("executor", [Processes(device="cpu"), Stacked(device="cpu")], ids=["processes", "stacked"])
def test_executors_leave_the_test_images_closed(
    tmp_path: Path, executor: Processes | Stacked, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reports, lists and comparisons say that they were not opened."""
    home = tmp_path / "home"
    store, recipe = Store.open(home=home), small_recipe(tmp_path)
    other = small_recipe(tmp_path, "train.lr=0.02", "name=other")
    requests = [TrainingRequest(recipe=one, seeds=(0, 1), opens_test=False) for one in (recipe, other)]

    found = execute(requests, store=store, executor=executor)

    records: list[RunRecord] = [record for one in found for record in one.records]
    assert [record.test_count for record in records] == [None] * 4
    assert n_openings(store) == 0
    assert command(["runs", "--home", str(home)]) == 0
    assert capsys.readouterr().out.count("not opened") == 4
    assert command(["report", records[0].id, "--home", str(home)]) == 0
    assert "not opened" in capsys.readouterr().out
    assert "not opened" in store.folder(records[0].id).file("report").read_text()
    first, second = groups(records)
    with pytest.raises(UsageError, match=r"not opened for tiny and other; .*--on validation"):
        compare(store, first, second)
    assert compare(store, first, second, part="validation").effect is not None
