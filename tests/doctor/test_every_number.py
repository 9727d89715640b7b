"""Nothing is advised without evidence: every number of every finding of real runs with planted faults is made again
from the files that the run left, by readers that share nothing with the doctor's."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pytest
from files_of_runs import names_before_a_run, names_of_files, probes_of_files
from hypothesis import given
from hypothesis import strategies as st
from recomputed import as_attributes, recompute

from benchmarks.fault_bench.cases import BenchCase, cases
from benchmarks.fault_bench.healthy import DESIGNS
from benchmarks.fault_bench.images import Variant, image_file
from benchmarks.fault_bench.planting import KINDS, Kind
from benchmarks.fault_bench.training import train
from flyweight.diagnose.examine import Examined, examine_recipe, examine_run
from flyweight.diagnose.probes.collect import probe
from flyweight.doctor.finding import Diagnosis, EvidenceValue
from flyweight.doctor.probes import Probes
from flyweight.doctor.table import RULES
from flyweight.experiment.plan import plan
from flyweight.experiment.run import run
from flyweight.recipe import ModelSection, OptimizerName, Recipe, dumps, load, names, override
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder, validated
from flyweight.records.store import Store
from flyweight.train.schedules import ScheduleName

# A second or so each; 120 steps, so that what needs many of them can speak, too.
SHORT: Final = ("data.train_limit=640", "train.batch_size=16", "train.epochs=3")
N_TRAIN, DRAW = 2000, 0

LAYERS: Final = (
    "c3/5 bn r m2 c14 bn r do.5 c14nb bn c14 do.2 bn r c2nb bn r c16nb bn r m2 unused(c16/1 bn) flat fc10 r ls"
)


def planted(name: str, *overrides: str, design: str = "thin", variant: Variant = "sound") -> BenchCase:
    """A short run of a healthy design with these faults; several at a time, so that few runs have all."""
    return BenchCase(
        name=name,
        design=next(one for one in DESIGNS if one.name == design),
        kind=Kind(name=name, codes=(), planted=lambda _design, _strength: overrides, variant=variant),
        strength=0,
        n_train=N_TRAIN,
        seed=3,
        draw=DRAW,
        changes=SHORT,
    )


PLANTED: Final = (
    planted("hot", "train.lr=100", "train.epochs=2"),
    planted("diverged", "train.lr=1e9", "protocol.last_batch_loss=true", design="plain"),
    planted("cold", "train.lr=1e-5", "train.epochs=2"),
    planted("summed", "train.loss_reduction=sum", "train.momentum=0.998"),
    planted("few updates", "train.batch_size=512"),
    planted("stops early", "train.schedule=step", "train.gamma=0.1", "train.epochs=6", "train.label_smoothing=0.5"),
    planted("never anneals", "train.schedule=constant", "augment.rotate=120", "augment.scale=0.5"),
    planted("decays", "train.weight_decay=0.3", "train.schedule=cosine", "train.epochs=4", "train.lr=0.2"),
    planted("fading", "model.net=c8 sigmoid c8 sigmoid m2 c8 sigmoid c8 sigmoid c8 sigmoid flat fc10"),
    planted(
        "growing",
        "model.net=c10/5 r m2 10(+(r)) c16 r m2 c16 r flat fc10",
        "train.schedule=triangular",
        "protocol.last_batch_loss=true",
    ),
    planted("layers", f"model.net={LAYERS}"),
    planted("end", "model.net=c8nb bn r m2 c12nb bn r m4 flat fc96 r fc10"),
    planted("field", "model.net=c10p1nb bn r c10p1nb bn r c10p1nb bn r gap flat fc10", "data.train_limit=320"),
    planted("too early", "model.net=c8s2p1nb bn r c8s2p1nb bn r c8s2p1nb bn r c8s2p1nb bn r 4(c8p1nb bn r) flat fc10"),
    planted(
        "told otherwise",
        "protocol.evaluate_augmented=true",
        "protocol.test_every_epoch=true",
        "protocol.seed_after_split=true",
        "protocol.loss_divided_twice=true",
        "protocol.last_batch_loss=true",
        "train.keep=best",
    ),
    planted("on training images", "protocol.evaluate_on=train", "data.validation=none"),
    planted("on test images", "protocol.evaluate_on=test", "data.validation=none", "train.keep=best"),
    planted(
        "augmentation lost",
        "protocol.shared_transform=evaluation",
        "data.validation=200",
        "train.keep=best",
        "train.epochs=6",
        "data.train_limit=300",
    ),
    planted("by class", "train.shuffle=false", variant="by class"),
    planted("by heart", "augment.rotate=0", "augment.translate=0", "data.train_limit=150", "train.epochs=25"),
    planted("validation repeats", "data.validation=none", variant="validation repeats"),
    planted("test is training", "train.epochs=2", variant="test is training"),
    planted("darker", "data.validation=none", variant="darker"),
    planted("one scarce", variant="one scarce"),
)

# The run that was changed from another one, and of which somebody has written figures.
CHANGED: Final = "changed"
CLAIM: Final = "Test accuracy 99.9 %, with 123,456 parameters."
ALL: Final = (*(case.name for case in PLANTED), CHANGED)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A run with its folder, what was found in it, and the folder of the run that it was changed from."""

    record: RunRecord
    folder: Path
    examined: Examined
    parent: Path | None = None

    @property
    def diagnosis(self) -> Diagnosis:
        return self.examined.diagnosis

    def names(self, folder: Path | None = None) -> dict[str, Any]:
        """What sources may name, from the files of its folder or of a copy."""
        return names_of_files(folder or self.folder, self.examined.subject, parent=self.parent)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("planted")
    yield Store.open(home=home)
    shutil.rmtree(home / "images", ignore_errors=True)


@pytest.fixture(scope="module")
def looked(store: Store) -> dict[str, Looked]:
    records = train(PLANTED, store)
    found = {name: look(record, store) for name, record in records.items()}
    return found | {CHANGED: run_changed(store)}


def look(record: RunRecord, store: Store, *, parent: RunRecord | None = None) -> Looked:
    return Looked(
        record=record,
        folder=store.folder(record.id).path,
        examined=examine_run(record.id, store),
        parent=store.folder(parent.id).path if parent else None,
    )


def run_changed(store: Store) -> Looked:
    """Two things changed that show nothing, on images of which some validate and test."""
    path = write_test_images_that_validate(Path(store.home) / "images")
    recipe = override(planted("unchanged").recipe(path.parent), [f"data.name={path}", "data.validation=none"])
    before = run(recipe, seed=0, store=store, threads=1)
    changes = ("train.label_smoothing=0.02", "train.weight_decay=4e-4", f"description={CLAIM}", f"name={CHANGED}")
    after = run(override(recipe, changes), seed=0, store=store, threads=1, parent_hash=before.recipe_hash)
    return look(after, store, parent=before)


def write_test_images_that_validate(folder: Path) -> Path:
    with np.load(image_file(folder, half="tuning", n_train=N_TRAIN, variant="sound", draw=DRAW)) as arrays:
        held_out = {f"{kind}_validation": arrays[f"{kind}_test"][:300] for kind in "xy"}
        np.savez(folder / "test-validates.npz", **arrays, **held_out)
    return folder / "test-validates.npz"


def wrong_numbers(diagnosis: Diagnosis, known: Mapping[str, Any]) -> list[str]:
    """Every evidence whose source gives something else than what is reported."""
    return [
        f"{finding.code}, {evidence.what}: {evidence.value!r} is told, {evidence.source} is {value!r}"
        for finding in diagnosis.findings
        for evidence in finding.evidence
        if not is_same(evidence.value, value := made_again(evidence.source, known))
    ]


def made_again(source: str, known: Mapping[str, Any]) -> Any:
    """What a source gives; the error where it gives nothing, as something that no number is equal to."""
    try:
        return recompute(source, known)
    except (NameError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        return error


def is_same(value: EvidenceValue, found: Any) -> bool:
    """Texts, truths and counts are equal; a measured number may differ in its last digits by the order of sums."""
    if isinstance(value, str | bool) or isinstance(found, str | bool):
        return type(value) is type(found) and value == found
    if not isinstance(found, int | float):
        return False
    return value == found if isinstance(value, int) else math.isclose(value, found, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_every_number_follows_from_the_files_of_the_run(looked, name):
    """Each source, evaluated over what stands in the folder, gives the value that is reported."""
    one = looked[name]

    assert one.diagnosis.findings
    assert wrong_numbers(one.diagnosis, one.names()) == []


def test_nearly_every_rule_found_something(looked):
    """What the test above has seen is not a few easy findings."""
    findings = [finding for one in looked.values() for finding in one.diagnosis.findings]
    codes = {finding.code for finding in findings}

    assert len(looked) == len(ALL)
    assert len(findings) >= 88
    assert sum(len(finding.evidence) for finding in findings) >= 320
    assert len(codes) >= 51, sorted({rule.code for rule in RULES} - codes)


def test_no_finding_comes_without_evidence_and_a_way_on(looked):
    """Each finding has numbers, and a remedy or an advice unless it is a note; each number has words and a source."""
    findings = [finding for one in looked.values() for finding in one.diagnosis.findings]

    assert len(findings) >= 80
    for finding in findings:
        assert finding.evidence, finding.code
        assert finding.remedy or finding.advice or finding.severity == "note", finding.code
        assert all(one.what and one.source for one in finding.evidence), finding.code
        assert len({one.what for one in finding.evidence}) == len(finding.evidence), finding.code


def test_every_remedy_is_another_recipe_that_can_be_trained(looked):
    """Its changes are taken by `override`, and what comes of them differs and fits its images and its budget."""
    remedies = [
        (one.examined.recipe, finding.remedy.changes)
        for one in looked.values()
        for finding in one.diagnosis.findings
        if finding.remedy is not None
    ]

    assert len(remedies) >= 50
    for recipe, changes in remedies:
        changed = override(recipe, changes)
        assert changed != recipe, changes
        assert plan(changed).require().cost.params > 0


def spoil_table(changes: Callable[[Any], None]) -> Callable[[Path], None]:
    """A JSON file with other figures."""

    def spoil(path: Path) -> None:
        table = json.loads(path.read_text())
        changes(table)
        path.write_text(json.dumps(table))

    return spoil


def other_answers(path: Path) -> None:
    with np.load(path) as arrays:
        kept = dict(arrays)
    kept["validation_probabilities"] = np.roll(kept["validation_probabilities"], 1, axis=1)
    np.savez(path, **kept)


def other_accuracy(path: Path) -> None:
    header, *lines = path.read_text().splitlines()
    column = header.split(",").index("validation_accuracy")
    cells = [line.split(",") for line in lines]
    path.write_text("\n".join([header, *(",".join([*one[:column], "0.5", *one[column + 1 :]]) for one in cells)]))


# Of each file, a run that rests on it, and how it is made to say something else.
SPOILT: Final[Mapping[str, tuple[str, Callable[[Path], None]]]] = {
    "recipe.toml": ("few updates", lambda path: path.write_text(path.read_text().replace("512", "500"))),
    "metrics.csv": ("growing", other_accuracy),
    "result.json": ("by heart", spoil_table(lambda table: table["train"].update(correct=1))),
    "told.json": ("told otherwise", spoil_table(lambda table: table["epochs"][-1]["train"].update(loss=9.0))),
    "probes.json": ("darker", spoil_table(lambda table: table["probes"]["images"]["mean"].update(train=0.5))),
    "predictions.npz": ("growing", other_answers),
}


@pytest.mark.parametrize("name", SPOILT)
def test_another_file_gives_other_numbers(looked, tmp_path, name):
    """So the numbers above are read from the files and from nothing else."""
    run_name, spoil = SPOILT[name]
    one = looked[run_name]
    copy = tmp_path / "run"
    shutil.copytree(one.folder, copy)
    assert wrong_numbers(one.diagnosis, one.names(copy)) == []

    spoil(copy / name)

    assert wrong_numbers(one.diagnosis, one.names(copy))


def test_probes_are_measured_again_as_they_were(looked):
    """What probes.json keeps is what the same recipe, seed and weights give once more."""
    one = looked["told otherwise"]

    found = probe(one.examined.recipe, seed=one.record.seed, folder=RunFolder(path=one.folder))

    assert found.failed is None
    assert found == validated(Probes, json.loads((one.folder / "probes.json").read_text())["probes"])


@pytest.mark.parametrize("name", ["test is training", "validation repeats", "darker", CHANGED])
def test_images_are_compared_as_anybody_would(looked, name):
    """Copies, means and classes of the probe are those of a plain look into the arrays."""
    one = looked[name]
    reported = as_attributes(probes_of_files(one.folder)["images"])

    with np.load(one.examined.recipe.data.name) as arrays, np.load(one.folder / "predictions.npz") as kept:
        held_out = kept["validation_indices"]
        is_own = "x_validation" in arrays
        validation = arrays["x_validation" if is_own else "x_train"][held_out]
        trained = np.ones(len(arrays["x_train"]), bool)
        trained[held_out] = is_own
        test, train_images = arrays["x_test"], arrays["x_train"][trained]

    assert reported.n.validation == len(validation)
    assert reported.n.test == len(test)
    assert reported.mean.validation == pytest.approx(validation.mean() / 255)
    assert reported.sd.test == pytest.approx(test.std() / 255)
    assert reported.test_in_validation == copies(test, validation)
    assert reported.n.train == sum(reported.class_counts)
    # Only some of the training images train, so no more copies are among those than among all.
    assert reported.validation_in_train <= copies(validation, train_images)


def copies(images: np.ndarray, others: np.ndarray) -> int:
    """How many of the images are among the others."""
    known = {other.tobytes() for other in others}
    return sum(image.tobytes() in known for image in images)


def test_what_is_claimed_stands_in_the_recipe(looked):
    """The words of a claim are those of its author, and what is on record is counted and measured."""
    one = looked[CHANGED]
    claims = one.examined.subject.claims
    test = json.loads((one.folder / "result.json").read_text())["test"]

    assert [claim.said for claim in claims] == ["123,456 parameters", "99.9 %"]
    assert all(claim.said in CLAIM for claim in claims)
    assert claims[0].found.startswith(f"{one.names()['cost'].params:,} ")
    assert f"test {test['correct'] / test['count']:.2%}" in claims[1].found


def before_any_run(recipe: Recipe) -> tuple[Diagnosis, dict[str, Any]]:
    examined = examine_recipe(recipe)
    return examined.diagnosis, names_before_a_run(dumps(recipe), examined.subject)


def test_every_number_before_a_run_follows_from_the_text_of_the_recipe(store):
    """Of every packaged recipe and of each kind of planted fault in the half that no threshold has seen."""
    images = Path(store.home) / "images"
    images.mkdir(exist_ok=True)
    recipes = [*(load(name) for name in names()), *(case.recipe(images) for case in one_of_each("reporting"))]
    codes, n_evidences = set(), 0

    for recipe in recipes:
        diagnosis, known = before_any_run(recipe)
        assert wrong_numbers(diagnosis, known) == [], recipe.name
        codes |= {finding.code for finding in diagnosis.findings}
        n_evidences += sum(len(finding.evidence) for finding in diagnosis.findings)

    assert len(recipes) >= 100
    assert n_evidences >= 1_000
    assert len(codes) >= 34


def amounts(most: float) -> st.SearchStrategy[float]:
    """Round fractions of it, so that schedules bend at whole percents."""
    return st.integers(0, 99).map(lambda percent: round(most * percent / 100, 4))


SETTINGS: Final = st.fixed_dictionaries(
    {},
    optional={
        "train.lr": st.floats(1e-6, 100),
        "train.momentum": st.sampled_from([0, 0.5, 0.97, 0.99, 0.999]),
        "train.epochs": st.integers(1, 30),
        "train.batch_size": st.integers(1, 5000),
        "train.optimizer": st.sampled_from(get_args(OptimizerName)),
        "train.schedule": st.sampled_from(get_args(ScheduleName)),
        "train.warmup": amounts(1),
        "train.step_epochs": st.integers(1, 10),
        "train.gamma": st.floats(0.01, 1),
        "train.final_lr": amounts(1),
        "train.weight_decay": amounts(2),
        "train.label_smoothing": amounts(1),
        "train.loss_reduction": st.sampled_from(["mean", "sum"]),
        "train.shuffle": st.sampled_from(["true", "false"]),
        "data.validation": st.integers(1, 4000),
        "data.train_limit": st.integers(1, 20_000),
        "augment.rotate": amounts(180),
        "augment.shear": amounts(90),
        "augment.erase_probability": amounts(1),
        "protocol.evaluate_augmented": st.just("true"),
        "protocol.shared_transform": st.sampled_from(["training", "evaluation"]),
        "protocol.test_every_epoch": st.just("true"),
        "protocol.seed_after_split": st.just("true"),
        "protocol.last_batch_loss": st.just("true"),
        "protocol.loss_divided_twice": st.just("true"),
        "budget.epochs": st.just(30),
    },
)


@given(st.sampled_from(["c8nb bn r m2 c16nb bn r m2 flat fc10", "c8/5 r m2 c16/5 r m2 flat fc10 ls"]), SETTINGS)
def test_whatever_the_settings_are_numbers_follow_and_remedies_can_be_trained(net, settings):
    """Before any run, of any rate, schedule, batch, augmentation and protocol."""
    recipe = override(
        Recipe(name="any", model=ModelSection(net=net)), [f"{key}={value}" for key, value in settings.items()]
    )

    diagnosis, known = before_any_run(recipe)

    assert wrong_numbers(diagnosis, known) == []
    for finding in diagnosis.findings:
        assert finding.evidence
        assert finding.remedy or finding.advice or finding.severity == "note"
        if finding.remedy is not None:
            changed = override(recipe, finding.remedy.changes)
            assert changed != recipe
            assert plan(changed).require().cost.params > 0


def one_of_each(half: str) -> list[BenchCase]:
    """A case of each kind of the fault bench, on few image files."""
    own = [case for case in cases() if case.design.half == half]
    firsts = {case.kind.name: case for case in reversed(own) if case.kind is not None}
    return [replace(firsts[kind.name], n_train=N_TRAIN, draw=DRAW) for kind in KINDS]


@pytest.mark.slow
@pytest.mark.parametrize("half", ["tuning", "reporting"])
def test_every_number_of_every_kind_of_fault(store, half):
    """Each fault alone, as the fault bench plants it, in a net of either half."""
    chosen = [replace(case, name=f"{case.name}, short", changes=SHORT) for case in one_of_each(half)]
    records = train(chosen, store)
    n_evidences = 0

    for name, record in records.items():
        one = look(record, store)
        assert wrong_numbers(one.diagnosis, one.names()) == [], name
        n_evidences += sum(len(finding.evidence) for finding in one.diagnosis.findings)

    assert len(records) == len(KINDS)
    assert n_evidences >= 450
