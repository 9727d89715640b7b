"""A recipe that holds nothing out: all training images train, and no figure of a validation exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from flyweight.data import sources
from flyweight.data.splits import split
from flyweight.diagnose.monitor import monitor
from flyweight.diagnose.subjects import subject_of_run
from flyweight.diagnose.trial import cleanly_evaluated
from flyweight.doctor.diagnosis import diagnose
from flyweight.errors import RecipeError, UsageError
from flyweight.evidence.compare import compare
from flyweight.evidence.groups import Group
from flyweight.execute.execution import execute
from flyweight.execute.request import TrainingRequest
from flyweight.execute.stacked_executor import Stacked
from flyweight.experiment.events import EpochDone, Event
from flyweight.experiment.run import resume, run
from flyweight.recipe import Recipe, override
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.report.run.page import write_report
from flyweight.report.run.summary import run_summary
from tiny import TRAIN, same, tiny_recipe, weights

ALL = ("data.validation=0", "train.keep=last")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return override(tiny_recipe(tmp_path), ALL)


def test_all_training_images_train_and_none_validate(recipe, store):
    events: list[Event] = []

    record = run(recipe, store=store, threads=1, monitor=monitor(), watch=events.append)

    folder = store.folder(record.id)
    result, history = folder.result(), folder.history()
    assert record.status == "finished"
    assert (record.train_count, record.validation_count, record.best_epoch) == (TRAIN, None, None)
    assert record.test_openings == 1
    assert result.validation is None
    assert result.test is not None
    assert result.kept_epoch == len(history) == recipe.train.epochs
    assert {(line.validation_loss, line.validation_accuracy) for line in history} == {(None, None)}
    assert {epoch.validation_accuracy for epoch in store.epochs(record.id)} == {None}
    assert len(folder.predictions("validation").labels) == 0
    assert sum(isinstance(event, EpochDone) for event in events) == recipe.train.epochs
    folder.verify()
    with pytest.raises(UsageError, match="no finished run with a validation accuracy"):
        store.get("@best")


@pytest.mark.parametrize("seed", [0, 5])
def test_the_split_is_every_image_once_in_an_order_of_its_seed(recipe, seed):
    images = sources.load(recipe.data.name)

    found = split(images, seed=seed, validation=0)

    assert np.array_equal(np.sort(found.train), np.arange(len(images.train_images)))
    assert len(found.validation) == 0
    assert found.hash != split(images, seed=seed, validation=1).hash


def test_a_resumed_run_and_one_of_a_stack_are_those_of_one_alone(recipe, store):
    """To the bit when resumed; in a stack up to rounding, with the same figures at hand."""
    whole = run(recipe, seed=1, store=store, threads=1)
    asked = iter(range(100))
    stopped = run(recipe, seed=1, store=store, threads=1, should_stop=lambda: next(asked) == 5)
    resumed = resume(stopped.id, store=store)
    stacked = in_a_stack(recipe, (1, 2), store)

    assert (stopped.status, resumed.status) == ("interrupted", "finished")
    assert same(weights(store, resumed.id), weights(store, whole.id))
    assert [one.validation_count for one in stacked] == [None, None]
    assert {one.train_count for one in stacked} == {TRAIN}
    assert all(store.folder(one.id).history()[-1].validation_accuracy is None for one in stacked)


def in_a_stack(recipe: Recipe, seeds: Sequence[int], store: Store) -> tuple[RunRecord, ...]:
    request = TrainingRequest(recipe=recipe, seeds=tuple(seeds), retrain=True)
    (found,) = execute([request], store=store, executor=Stacked(device="cpu"))
    return found.records


def test_a_run_on_record_is_used_again(recipe, store):
    """It lacks validation figures, and a new one would lack them too."""
    first = run(recipe, store=store, threads=1)

    (found,) = execute([TrainingRequest(recipe=recipe, seeds=(0,))], store=store)

    assert [one.id for one in found.records] == [first.id]


def test_everything_that_reads_a_run_reads_this_one(recipe, store):
    """Summary, report and the doctor; a comparison on validation images says what to do instead."""
    ours = run(recipe, store=store, threads=1)
    theirs = run(override(recipe, ["train.lr=0.01"]), store=store, threads=1)
    groups = [Group(oldest=one, runs=(one,)) for one in (ours, theirs)]

    folder = store.folder(ours.id)
    summary = run_summary(folder.result(), folder)
    page = write_report(folder).read_text(encoding="utf-8")
    diagnosis = diagnose(subject_of_run(ours, store))

    assert "kept (no validation images)" in summary
    assert "validation" not in summary.replace("no validation images", "")
    assert "<th>validation" not in page
    assert "<td>validation" not in page
    assert all(finding.code for finding in diagnosis.findings)
    assert compare(store, *groups, part="test").effect is not None
    with pytest.raises(UsageError, match=r"data.validation is 0.*compare on the test images"):
        compare(store, *groups, part="validation")


def test_trials_of_remedies_hold_images_out_again(recipe):
    assert cleanly_evaluated(recipe).data.validation is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.keep=best", "train.keep must be 'last'"),
        ("train.patience=2", "train.patience waits"),
        ("target.stop=true", "target.stop needs validation images"),
        ("protocol.test_every_epoch=true", "leave the section protocol out"),
    ],
)
def test_what_needs_validation_images_is_refused(recipe, change, said):
    with pytest.raises(RecipeError, match=said):
        override(recipe, ["target.accuracy=0.9", change])
