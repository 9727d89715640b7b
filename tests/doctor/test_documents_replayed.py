"""The faults of the five documents: each is named first where it stands alone, and no run has to be there for it but
for the three that are about runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from benchmarks.fault_bench.cases import cases
from benchmarks.fault_bench.documents import DOCUMENT_FAULTS, DocumentFault, alone, named, rank_alone, replays
from benchmarks.fault_bench.tables import document_rows
from flyweight.code_check.reading import read_code
from flyweight.diagnose.claims import step_of
from flyweight.diagnose.examine import examine_run
from flyweight.diagnose.subjects import subject_of_recipe
from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Diagnosis
from flyweight.doctor.table import RULES
from flyweight.experiment.plan import plan
from flyweight.experiment.run import run
from flyweight.recipe import Recipe, load, override, recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

# Points of the audit of the documents that are a fault of a run; the last one, slips of the text, is none.
POINTS: Final = range(1, 18)
# What only a run can show: a claim on its accuracy, and a change from another run.
NEED_A_RUN: Final = {("002-3b", "CL01"), ("003-11", "CL03"), ("003-17", "CL02")}


def name_of(fault: DocumentFault) -> str:
    return f"{fault.number} {fault.code} {fault.step}"


def needs_a_run(fault: DocumentFault) -> bool:
    return (fault.step, fault.code) in NEED_A_RUN


BEFORE_A_RUN: Final = [fault for fault in DOCUMENT_FAULTS if not needs_a_run(fault)]


def test_every_point_of_the_audit_is_replayed():
    """Each of the 17, in a step of a document, and by a rule that is there."""
    assert {fault.number for fault in DOCUMENT_FAULTS} == set(POINTS)
    assert len(DOCUMENT_FAULTS) == len(BEFORE_A_RUN) + len(NEED_A_RUN) == 23
    assert len(set(map(name_of, DOCUMENT_FAULTS))) == 23
    assert {fault.code for fault in DOCUMENT_FAULTS} <= {rule.code for rule in RULES}
    for fault in DOCUMENT_FAULTS:
        reported = step_of(fault.step)
        assert reported is not None, fault.step
        assert reported[1].recipe == load(fault.step)


@pytest.mark.parametrize("fault", BEFORE_A_RUN, ids=name_of)
def test_a_fault_that_stands_alone_is_named_first(fault):
    """Before any run, in the step with everything else mended that can be, and no alarm is added on the way."""
    recipe = load(fault.step)

    mended = alone(recipe, fault.code)

    diagnosis = diagnose(subject_of_recipe(mended))
    found = named(diagnosis, fault.code)
    assert found is not None
    assert found.rank == rank_alone(recipe, fault.code) == 1
    assert found.evidence
    assert plan(mended).require().cost.params > 0
    assert n_alarms(diagnosis) <= n_alarms(diagnose(subject_of_recipe(recipe)))


def n_alarms(diagnosis: Diagnosis) -> int:
    return len(diagnosis.alarms)


@pytest.mark.parametrize("fault", BEFORE_A_RUN, ids=name_of)
def test_a_fault_is_named_in_its_step_as_it_is(fault):
    """Among all the others that the step has."""
    assert named(diagnose(subject_of_recipe(load(fault.step))), fault.code) is not None


@pytest.mark.parametrize("fault", [fault for fault in DOCUMENT_FAULTS if needs_a_run(fault)], ids=name_of)
def test_what_needs_a_run_is_not_guessed_before_it(fault):
    """Neither in the step nor alone."""
    recipe = load(fault.step)

    assert named(diagnose(subject_of_recipe(recipe)), fault.code) is None
    assert rank_alone(recipe, fault.code) is None


# What needs a run, in short real ones


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("home")
    yield Store.open(home=home)
    shutil.rmtree(home / "images")


@pytest.fixture(scope="module")
def trained(store: Store) -> Callable[..., RunRecord]:
    """A run of a healthy recipe of half a second, with changes, and of what it was changed from."""
    images = Path(store.home) / "images"
    images.mkdir()
    healthy = next(subject for subject in cases() if subject.kind is None and subject.design.name == "leaky")
    recipe = replace(healthy, n_train=2000, draw=0, changes=("data.train_limit=1000",)).recipe(images)

    def train(*changes: str, parent: RunRecord | None = None) -> RunRecord:
        parent_hash = parent.recipe_hash if parent else None
        return run(override(recipe, changes), seed=0, store=store, threads=1, parent_hash=parent_hash)

    return train


def test_the_recipe_that_is_changed_below_is_healthy(store, trained):
    """So what is found there is of the change, or of what is said of it."""
    assert examine_run(trained().id, store).diagnosis.alarms == ()


def test_a_claim_against_its_own_output_is_named_first(store, trained):
    """As 002-3b, reported as more than 95 % and printed as 92.40 %: reported here as more than it can have."""
    record = trained("description=Test accuracy over 99.5 %.")
    assert record.test_accuracy < 0.99

    diagnosis = examine_run(record.id, store).diagnosis

    found = named(diagnosis, "CL01")
    assert found.rank == 1
    assert [one.code for one in diagnosis.alarms] == ["CL01"]
    assert found.evidence[0].value == "over 99.5 %"
    assert f"{record.test_accuracy:.2%}" in found.evidence[1].value


def test_several_changes_at_once_are_named_first(store, trained):
    """As 003-17: the run is surely better, and two things were changed."""
    before = trained("train.epochs=1", "train.label_smoothing=0.2")
    after = trained(parent=before)

    diagnosis = examine_run(after.id, store).diagnosis

    found = named(diagnosis, "CL02")
    assert found.rank == 1
    assert found.evidence[0].value == 2
    assert diagnosis.alarms == ()
    assert named(diagnosis, "CL03") is None


def test_a_change_that_shows_nothing_is_named_first(store, trained):
    """As 003-11: one thing was changed, and the test images cannot tell the two runs apart."""
    before = trained()
    after = trained("train.label_smoothing=0.01", parent=before)

    diagnosis = examine_run(after.id, store).diagnosis

    assert named(diagnosis, "CL03").rank == 1
    assert diagnosis.alarms == ()
    assert named(diagnosis, "CL02") is None


# The table


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def test_without_a_single_run_every_fault_is_looked_for_in_its_recipe(empty):
    """Nothing is assumed of the store: what needs a run is reported to need one, all else has its ranks."""
    found = replays(empty)

    assert [(one.number, one.step, one.code) for one in found] == [
        (fault.number, fault.step, fault.code) for fault in DOCUMENT_FAULTS
    ]
    assert {one.looked_at for one in found} == {"recipe"}
    for one, row in zip(found, document_rows(found), strict=True):
        is_about_runs = (one.step, one.code) in NEED_A_RUN
        assert (one.rank is None, one.rank_alone) == (is_about_runs, None if is_about_runs else 1)
        assert (one.ties == 0) == is_about_runs
        assert ("- (needs a run)" in row["rank in the step"]) == is_about_runs
        assert str(row["rank alone"]) == ("-" if is_about_runs else "1")


def test_a_run_of_a_step_is_looked_at_before_its_recipe(empty):
    """One that is over, as it ended; one that has only started is passed over."""
    diverged, begun = started(empty, load("002-2a")), started(empty, load("003-12"))
    empty.finish(diverged.id, "diverged", message="loss nan at epoch 1, step 3")

    found = {(one.step, one.code): one for one in replays(empty)}

    assert found["002-2a", "LR01"].looked_at == "run"
    assert found["002-2a", "LR01"].rank == 1
    assert empty.get(begun.id).status == "running"
    assert [one.step for one in found.values() if one.looked_at == "run"] == ["002-2a"]


def started(store: Store, recipe: Recipe) -> RunRecord:
    """The record of a run of this process that has only started; nothing is trained."""
    resolved = plan(recipe).require()
    recipe, cost = resolved.recipe, resolved.cost
    return store.start(
        name=recipe.name,
        seed=0,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe_hash(recipe),
        params=cost.params,
        macs=cost.macs,
        registered_params=cost.registered_params,
        data_name=recipe.data.name,
        data_hash="d" * 64,
        split_hash="s" * 64,
        environment={},
        epochs_planned=recipe.train.epochs,
    )


def test_a_pool_that_became_a_relu_is_seen_in_the_code(tmp_path):
    """The second half of point 15, which no recipe can say: `relu(x, 2)` where a pool was meant."""
    path = tmp_path / "net.py"
    path.write_text(
        "import torch.nn.functional as F\ndef forward(self, x):\n    return self.fc(F.relu(self.conv1(x), 2))\n"
    )

    found = read_code(path).findings

    assert [(one.code, one.line) for one in found] == [("CD28", 3)]
    assert "relu" in found[0].title
