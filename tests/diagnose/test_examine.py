"""Cases: all that is known of a recipe or a run, and each missing piece with its reason; none stops the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flyweight.data import sources
from flyweight.data.catalogue import CATALOGUE
from flyweight.data.facts import DataFacts
from flyweight.diagnose.examine import examine_recipe, examine_run
from flyweight.diagnose.subjects import OF_A_RUN, OF_PROBES, subject_of_recipe, subject_of_run
from flyweight.diagnose.trial_record import Expense, Trial, keep_trials
from flyweight.doctor.subject import Parent, Subject
from flyweight.errors import DataError, OverBudgetError, RecipeError, UsageError
from flyweight.experiment.plan import plan
from flyweight.experiment.resolved import canonical, canonical_hash
from flyweight.experiment.run import run
from flyweight.experiment.setup import prepare
from flyweight.recipe import Recipe, load, names, override, recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from tiny import TRAIN, tiny_recipe

HELD_OUT = 40
PROTOCOL = ("protocol.evaluate_augmented=true", "train.batch_size=20")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    folder = tmp_path_factory.mktemp("images")
    return lambda *overrides: tiny_recipe(folder, *overrides)


@pytest.fixture(scope="module")
def finished(tiny: Callable[..., Recipe], store: Store) -> RunRecord:
    """A run with a protocol, so that its folder has every file that a run may have, with its probes."""
    record = run(tiny(*PROTOCOL), seed=0, store=store, threads=1)
    subject_of_run(record, store)
    return record


@pytest.fixture
def copied(finished: RunRecord, store: Store, tmp_path: Path) -> Store:
    """A store whose folder of the run may be spoilt."""
    other = Store.open(url=store.url, home=tmp_path / "home")
    shutil.copytree(store.folder(finished.id).path, other.folder(finished.id).path)
    return other


def began(store: Store, recipe: Recipe, **more: Any) -> RunRecord:
    """The record of a run of this process that has only started; nothing is trained."""
    recipe = canonical(recipe)
    cost = plan(recipe).require().cost
    values = {
        "name": recipe.name,
        "seed": 0,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(recipe),
        "params": cost.params,
        "macs": cost.macs,
        "registered_params": cost.registered_params,
        "data_name": recipe.data.name,
        "data_hash": "d" * 64,
        "split_hash": "s" * 64,
        "environment": {"flyweight": "0.0"},
        "epochs_planned": recipe.train.epochs,
    }
    return store.start(**{**values, **more})


def ended(store: Store, record: RunRecord, *, correct: int = 9900, status: Any = "finished") -> RunRecord:
    """The record closed with so many right test images of 10,000, and one in ten of the validation ones fewer."""
    figures = {"test_correct": correct, "test_count": 10_000, "validation_correct": correct // 2, "train_correct": 9}
    figures |= {"validation_count": 5_000, "train_count": 10}
    return store.finish(record.id, status, epochs_done=1, **figures)


@pytest.mark.parametrize("name", ["own/20k-fast", "003-10"])
def test_a_recipe_is_examined_without_torch(name):
    """In a process of its own, with every rule asked, neither torch nor the images are loaded."""
    script = (
        "import sys; from flyweight.recipe import load; from flyweight.diagnose.examine import examine_recipe; "
        f"found = examine_recipe(load({name!r})); "
        "print({'torch', 'matplotlib', 'scipy', 'PIL'} & set(sys.modules), found.record, len(found.subject.lr_curve))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set() None 101"


def test_every_packaged_recipe_is_a_case():
    """Its sizes, its rates and its counts are there, and what needs a run says so."""
    found = [subject_of_recipe(load(name)) for name in names()]

    assert len(found) > 50
    for subject in found:
        assert subject.cost == plan(subject.recipe).require().cost
        assert subject.data.n_train > 0 < subject.data.n_validation
        assert max(subject.lr_curve) == pytest.approx(subject.recipe.train.lr, rel=0.01)
        assert subject.claims is not None
        assert set(subject.why_missing) == {*OF_A_RUN, *OF_PROBES}
        assert all(getattr(subject, need) is None for need in subject.why_missing)


SPLITS = (
    (),
    ("data.validation=70",),
    ("data.validation=none",),
    ("data.train_limit=30",),
    ("data.train_limit=1000",),
    ("protocol.seed_after_split=true",),
    ("protocol.evaluate_on=test", "data.validation=none"),
    ("protocol.evaluate_on=train", "data.validation=none", "data.train_limit=50"),
    ("data.resize=20",),
)


@pytest.mark.parametrize("overrides", SPLITS, ids=",".join)
def test_sizes_are_those_that_training_finds(tiny, overrides):
    """Of every way to divide a set they are what a training would have."""
    recipe = tiny(*overrides)
    bench = prepare(recipe, seed=0, device="cpu", threads=1)

    found = subject_of_recipe(recipe)

    assert found.data == DataFacts(
        n_train=len(bench.batches.rows),
        n_validation=len(bench.validation[0]),
        n_classes=bench.image_set.n_classes,
        shape=bench.image_set.shape,
    )
    assert found.steps_per_epoch == bench.batches.n_steps


def test_a_set_with_validation_images_of_its_own_is_counted_so(tmp_path, tiny):
    """All of its training images train, and it validates on what it brings."""
    with np.load(tiny().data.name) as arrays:
        np.savez(
            tmp_path / "three.npz", **arrays, x_validation=arrays["x_test"][:33], y_validation=arrays["y_test"][:33]
        )

    found = subject_of_recipe(override(tiny(), [f"data.name={tmp_path / 'three.npz'}"]))

    assert (found.data.n_train, found.data.n_validation) == (TRAIN, 33)


def test_the_catalogue_knows_the_sizes_of_what_it_names():
    """Those of the set in the package are those of its arrays; docs/data.md holds the others (tests/data)."""
    mnist = sources.load("mnist")

    assert (CATALOGUE["mnist"].n_train, CATALOGUE["mnist"].n_test) == (len(mnist.train_images), len(mnist.test_images))
    assert (CATALOGUE["qmnist"].n_train, CATALOGUE["qmnist"].n_test) == (60_000, 60_000)


def test_what_could_not_be_trained_is_refused(tiny):
    """A net that does not parse and one over its budget are reported as training would tell them."""
    with pytest.raises(RecipeError, match=r"model\.net"):
        examine_recipe(tiny("model.net=c6 zz"))
    with pytest.raises(OverBudgetError):
        examine_recipe(tiny("budget.params=10"))


def test_a_finished_run_is_known_in_full(tiny, store, finished):
    """Every piece is there, as the files and the record have it."""
    folder = store.folder(finished.id)
    result, reported = folder.result(), folder.reported().as_dict()

    subject = subject_of_run(finished, store)

    assert set(subject.why_missing) == {"parent"}
    assert [field.name for field in fields(Subject) if getattr(subject, field.name) is None] == ["parent"]
    assert subject.recipe == canonical(tiny(*PROTOCOL))
    assert subject.data == DataFacts(n_train=TRAIN - HELD_OUT, n_validation=HELD_OUT, n_classes=10, shape=(1, 28, 28))
    for line, epoch in zip(subject.history, store.epochs(finished.id), strict=True):
        assert line.validation_accuracy == pytest.approx(epoch.validation_accuracy)
        assert line.train_loss == pytest.approx(epoch.train_loss)
    assert subject.ending.status == "finished"
    for part in ("train", "validation", "test"):
        assert getattr(subject.ending, part) == result.figures(part)
    assert sum(subject.predictions.predicted) == sum(subject.predictions.labels) == HELD_OUT
    assert subject.reported == reported
    assert subject.claims == ()


def test_a_run_is_examined_by_any_word_that_means_it(store, finished):
    """By its id, the beginning of it or @latest; one that means none is refused."""
    found = examine_run(finished.id[:12], store, with_probes=False)

    assert found.record == finished
    assert found.recipe == found.subject.recipe
    assert {found.subject.why_missing[need] for need in OF_PROBES} == {"probes are switched off (--no-probes)"}
    with pytest.raises(UsageError):
        examine_run("nothing", store)


# What of a subject is gone, or said otherwise, with each file of a run folder.
LOST_WITH: dict[str, tuple[str, ...]] = {
    "checksums.json": ("trained",),
    "environment.json": ("trained",),
    "metrics.csv": ("history", "trained"),
    "misread.npz": ("trained",),
    "predictions.npz": ("predictions", "trained"),
    "probes.json": (),
    "recipe.toml": ("trained",),
    "result.json": ("trained",),
    "told.json": ("reported", "trained"),
    "weights.safetensors": ("trained",),
}


def test_no_file_of_a_run_folder_is_forgotten(store, finished):
    """The two tests below lose and spoil every file that a run writes."""
    assert sorted(path.name for path in store.folder(finished.id).path.iterdir()) == sorted(LOST_WITH)
    assert len(LOST_WITH) == 10


@pytest.mark.parametrize("name", LOST_WITH)
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"{")], ids=["missing", "damaged"])
def test_a_file_that_is_missing_or_damaged_is_reported(store, finished, copied, name, spoil):
    """What stood in it is None with a reason; all else is as it was, and nothing is raised."""
    whole, folder = subject_of_run(finished, store), copied.folder(finished.id).path
    spoil(folder / name)
    if name != "probes.json":
        (folder / "probes.json").unlink()  # so that all is measured again

    subject = subject_of_run(finished, copied)

    lost = LOST_WITH[name]
    assert set(subject.why_missing) == {"parent", *lost}
    assert all(getattr(subject, need) is None and subject.why_missing[need] for need in lost)
    assert replace(subject, **{need: getattr(whole, need) for need in lost}, why_missing=whole.why_missing) == whole


def test_a_folder_that_is_gone_leaves_what_is_on_record(finished, copied):
    """Recipe, cost, sizes, ending and what the images say are still there, and the folder is not made again."""
    shutil.rmtree(copied.folder(finished.id).path)

    subject = subject_of_run(finished, copied)

    assert subject.ending.test.correct == finished.test_correct
    assert {"history", "predictions", "reported"} <= set(subject.why_missing)
    assert all("is missing" in subject.why_missing[need] for need in ("history", "predictions", "reported"))
    assert subject.images is not None
    assert not copied.folder(finished.id).path.exists()


def test_images_that_are_gone_leave_what_the_folder_reports(tmp_path, store):
    """Cost and sizes come from the figures; without those nothing can be said, and that is reported."""
    record = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1)
    with_images = subject_of_run(record, store)
    store.folder(record.id).file("probes").unlink()
    (tmp_path / "digits.npz").unlink()

    subject = subject_of_run(record, store)

    assert (subject.cost, subject.data) == (with_images.cost, with_images.data)
    assert all(getattr(subject, need) is None and "digits.npz" in subject.why_missing[need] for need in OF_PROBES)
    (store.folder(record.id).path / "result.json").unlink()
    with pytest.raises(DataError, match=r"digits\.npz"):
        subject_of_run(record, store)


def test_a_diverged_run_has_an_ending_and_no_predictions(tiny, store):
    """Its first steps are there, its weights are not, and it says why."""
    record = run(tiny("train.lr=1e30", "target.accuracy=0.9"), seed=0, store=store, threads=1)

    subject = subject_of_run(record, store)

    assert subject.ending.status == "diverged"
    assert "epoch 1" in subject.ending.message
    assert (subject.ending.train, subject.ending.test) == (None, None)
    assert subject.why_missing["history"] == "no epoch was finished: the run diverged"
    assert subject.why_missing["predictions"] == "the run diverged and has no predictions"
    assert subject.why_missing["trained"] == "the run diverged and has no weights"
    assert subject.start is not None
    assert [(claim.said, claim.found, claim.is_contradicted) for claim in subject.claims] == [
        ("90.00%", "the run diverged", True)
    ]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", "lost"])
def test_a_run_that_came_to_no_end_is_a_case(tiny, store, status):
    """Its images and first steps are there; it has an ending as soon as it is over, and no claims about accuracy."""
    images = sources.load(tiny().data.name)
    record = began(store, tiny("target.accuracy=0.9"), data_hash=images.fingerprint)
    if status != "running":
        record = store.finish(record.id, status, message="the power went")

    subject = subject_of_run(record, store)

    assert (subject.ending is None) == (status == "running")
    assert subject.ending is None or (subject.ending.status, subject.ending.message) == (status, "the power went")
    assert subject.claims == ()
    assert {"history", "predictions", "trained"} <= set(subject.why_missing)
    assert subject.why_missing["trained"] == f"the run is {status} and has no weights"
    assert subject.start is not None
    assert store.folder(record.id).has("probes") == (status == "failed")


def test_a_recipe_of_another_version_is_one_clear_line(store, tiny):
    """Keys that this version does not know are reported with the version that wrote them."""
    recipe = tiny()
    newer = {**canonical(recipe).model_dump(mode="json"), "sorcery": 1}
    record = replace(began(store, recipe), recipe=newer)

    with pytest.raises(RecipeError, match=r"written by flyweight 0\.0 \(.*sorcery.*\); use that version") as shown:
        subject_of_run(record, store)

    assert "\n" not in str(shown.value)


def test_the_rate_of_the_curve_is_that_of_the_epochs(tiny, store):
    """At the end of each epoch the curve has the learning rate that the run wrote down."""
    recipe = tiny("train.epochs=2", "train.schedule=triangular", "train.batch_size=2")
    record = run(recipe, seed=0, store=store, threads=1)

    subject = subject_of_run(record, store, with_probes=False)

    steps = subject.steps
    assert steps == 2 * (TRAIN - HELD_OUT) // 2
    for line in subject.history:
        progress = (line.epoch * subject.steps_per_epoch - 1) / steps
        assert line.lr == pytest.approx(np.interp(progress, np.linspace(0, 1, 101), subject.lr_curve), abs=1e-6)


def test_the_result_that_a_run_was_changed_from_is_found(tiny, store):
    """By the hash on its record, with what differs and the test images of the first run of it that was measured."""
    first = tiny()
    parent_hash = canonical_hash(first)
    began(store, first, data_hash="p" * 64)
    ended(store, began(store, first, data_hash="p" * 64, name="before"), correct=9876)
    ended(store, began(store, first, data_hash="p" * 64, name="later"), correct=1)
    changed = tiny("train.lr=0.2", "train.schedule=cosine", "train.warmup=0.1")
    record = ended(store, began(store, changed, data_hash="p" * 64, parent_hash=parent_hash))
    elsewhere = ended(store, began(store, changed, data_hash="q" * 64, parent_hash=parent_hash))

    subject, other = (subject_of_run(one, store, with_probes=False) for one in (record, elsewhere))

    assert subject.parent == Parent(name="before", factors=("lr", "schedule"), correct=9876, count=10_000)
    assert "parent" not in subject.why_missing
    assert other.parent is None
    assert "no finished run" in other.why_missing["parent"]


def test_a_step_of_a_document_is_changed_from_the_step_before(tmp_path):
    """Without a hash on the record, by what the document extends."""
    store = Store.open(home=tmp_path)
    ended(store, began(store, load("003-9")), correct=9910)
    record = ended(store, began(store, load("003-10")), correct=9942)

    found = subject_of_run(record, store, with_probes=False).parent

    assert found == Parent(name="003-9", factors=("batch_size",), correct=9910, count=10_000)


def contradicted(subject: Subject) -> list[tuple[str, str, str]]:
    return [(claim.where, claim.what, claim.said) for claim in subject.claims or () if claim.is_contradicted]


def test_a_document_that_counts_wrongly_is_contradicted_before_any_run(tmp_path):
    """Step 10 of document 003 is reported as 22,186 parameters; a recipe of its name with another net claims
    nothing."""
    store = Store.open(home=tmp_path)
    step = load("003-10")
    record = ended(store, began(store, step))

    before, after = subject_of_recipe(step), subject_of_run(record, store, with_probes=False)
    other = subject_of_recipe(override(step, ["model.net=flat fc10"]))
    changed = subject_of_run(ended(store, began(store, override(step, ["train.lr=0.02"]))), store, with_probes=False)

    wrong = ("the document 003, step 003-10", "parameters", "22186")
    assert contradicted(before) == contradicted(after) == [wrong]
    assert len(after.claims) > len(before.claims) == 1
    assert "22,410" in before.claims[0].found
    assert other.claims == ()
    assert changed.claims == ()


def test_figures_in_descriptions_notes_and_targets_are_held_against_the_record(tmp_path, tiny):
    """What is right and what was only hoped for is silent; each wrong one is named with where it stands."""
    store = Store.open(home=tmp_path)
    recipe = tiny("description=Has 1,000 parameters. Test accuracy 99.0 %, validation accuracy 98.7 %.")
    recipe = override(recipe, ["target.accuracy=0.9"])
    record = ended(store, began(store, recipe), correct=9900)
    store.notebook.write_note(record.recipe_hash, "before", "test accuracy 12 %, 2k parameters", author="one")
    store.notebook.write_note(record.recipe_hash, "after", "test accuracy 99.99 %", author="one")
    store.notebook.write_note(record.recipe_hash, "after", "test accuracy 98.2 %", author="one")
    store.notebook.write_note("0" * 64, "after", "test accuracy 1 %", author="one")

    subject = subject_of_run(record, store, with_probes=False)

    assert contradicted(subject) == [
        ("the description of the recipe", "parameters", "1,000 parameters"),
        ("the note written before the run", "parameters", "2k parameters"),
        ("the description of the recipe", "accuracy", "98.7 %"),
        ("the note written after the run", "accuracy", "98.2 %"),
    ]
    assert [claim.said for claim in subject.claims if not claim.is_contradicted] == ["90.00%"]
    assert "test 99.00%" in next(claim.found for claim in subject.claims if claim.what == "accuracy")


def test_a_figure_of_another_seed_contradicts_nothing(tmp_path, tiny):
    """A note reports of the recipe: one run on record that has the figure is enough."""
    store = Store.open(home=tmp_path)
    recipe = tiny()
    record = ended(store, began(store, recipe), correct=9900)
    store.notebook.write_note(record.recipe_hash, "after", "test accuracy 99.41 %", author="one")

    alone = contradicted(subject_of_run(record, store, with_probes=False))
    ended(store, began(store, recipe, seed=1), correct=9941)
    beside = contradicted(subject_of_run(record, store, with_probes=False))

    assert [said for _, _, said in alone] == ["99.41 %"]
    assert beside == []


def test_damaged_figures_of_a_layer_table_are_not_taken(tmp_path, store):
    """A table that is none is as good as no table: the images are asked for."""
    record = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1)
    path = store.folder(record.id).path / "result.json"
    result = json.loads(path.read_text())
    (tmp_path / "digits.npz").unlink()

    for layers in ([], [{}], [1], None, [{**result["layers"][0], "in_shape": 3}]):
        path.write_text(json.dumps({**result, "layers": layers}))
        with pytest.raises(DataError, match=r"digits\.npz"):
            subject_of_run(record, store)


@pytest.mark.parametrize("classes", [{}, {"c6nb": "Conv2d", "bn": "BatchNorm2d", "do.1": "Dropout"}])
def test_layer_tables_of_version_0_1_0_are_read(tmp_path, store, classes):
    """They have no kind, and `jump`: the token of a layer reports its kind, or its class where a module was traced."""
    record = run(tiny_recipe(tmp_path), seed=0, store=store, threads=1)
    path = store.folder(record.id).path / "result.json"
    result = json.loads(path.read_text())
    kinds = [row.pop("kind") for row in result["layers"]]
    strides = [row["effective_stride"] for row in result["layers"]]
    for row in result["layers"]:
        row["jump"] = row.pop("effective_stride")
        row["layer"] = classes.get(row["layer"], row["layer"])
    path.write_text(json.dumps(result))
    (tmp_path / "digits.npz").unlink()

    subject = subject_of_run(record, store, with_probes=False)

    assert [row.kind for row in subject.cost.rows] == kinds
    assert [list(row.effective_stride) for row in subject.cost.rows] == strides
    assert kinds[:5] == ["conv", "batch_norm", "relu", "max_pool", "dropout"]


def failed_proof(code: str) -> Trial:
    expense = Expense(params=1, registered_params=1, macs=1)
    return Trial(
        code=code,
        gain="accuracy",
        changes=(),
        seeds=(0, 1),
        before=(0.5, 0.5),
        after=(0.5, 0.5),
        reported=(),
        clean=(),
        cost_before=expense,
        cost_after=expense,
        paired=None,
        has_helped=False,
        line="tried, and it did not help",
        budget="short",
        run_ids=(),
    )


def test_a_remedy_that_did_not_help_costs_its_finding_the_rank(tiny, store):
    """What was tried on a run is read from its folder: the finding that was first is then last, with its trial."""
    record = run(tiny("train.lr=1e30", "protocol.seed_after_split=true"), seed=5, store=store, threads=1)
    before = examine_run(record.id, store).diagnosis.findings
    keep_trials(store.folder(record.id), [failed_proof(before[0].code)])

    after = examine_run(record.id, store).diagnosis.findings

    assert len(before) == len(after) > 1
    assert after[-1].code == before[0].code
    assert after[-1].trial == "tried, and it did not help"
    assert after[-1].rank > after[0].rank
