"""Rules of evaluation: they speak where a figure is not what it is called, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_subjects import (
    LABELS,
    fixed,
    made_claim,
    made_ending,
    made_history,
    made_images,
    made_parent,
    made_reads,
    made_reported,
    made_subject,
)
from recomputed import names_of_subject, recompute

from flyweight.doctor.finding import Judgement
from flyweight.doctor.rules import claims, evaluation, reported_losses, transforms
from flyweight.doctor.subject import Subject
from flyweight.recipe import load, own_names

RULES = (*transforms.RULES, *evaluation.RULES, *reported_losses.RULES, *claims.RULES)
BY_CODE = {rule.code: rule for rule in RULES}
ROTATED = "augment.rotate=10.0"

# A faulty recipe for each rule that works on a recipe alone, and what must be said of it.
FAULTY: Sequence[tuple[str, tuple[str, ...], str]] = (
    ("EV01", (ROTATED, "protocol.evaluate_augmented=true"), "fault"),
    ("EV01", (ROTATED, "protocol.shared_transform=training"), "fault"),
    ("EV01", ("augment.erase_probability=0.5", "protocol.evaluate_augmented=true"), "fault"),
    ("EV02", (ROTATED, "protocol.shared_transform=evaluation"), "fault"),
    ("EV02", ("augment.flip_probability=0.5", "protocol.shared_transform=evaluation"), "fault"),
    ("EV02", ("augment.brightness=0.2", "protocol.shared_transform=evaluation"), "fault"),
    ("EV03", ("protocol.evaluate_on=train",), "fault"),
    ("EV04", ("protocol.evaluate_on=test",), "fault"),
    ("EV04", ("protocol.evaluate_on=test", "train.keep=last"), "fault"),
    ("EV04", ("protocol.test_every_epoch=true",), "fault"),
    ("EV04", ("protocol.evaluate_on=test", "train.epochs=1"), "note"),
    ("EV05", ("train.shuffle=false",), "warning"),
    ("EV06", ("protocol.seed_after_split=true",), "fault"),
    ("EV07", ("protocol.loss_divided_twice=true",), "fault"),
    ("EV08", ("protocol.last_batch_loss=true",), "fault"),
    ("EV10", ("data.validation=100", "train.epochs=10"), "note"),
    ("EV10", ("data.validation=100", "train.epochs=10", "train.keep=last", "train.patience=3"), "note"),
)

# What looks like one of them and is none.
HARMLESS: Sequence[tuple[str, tuple[str, ...], Mapping[str, Any]]] = (
    ("EV01", ("protocol.evaluate_augmented=true",), {}),
    ("EV01", ("protocol.shared_transform=training",), {}),
    ("EV01", ("protocol.shared_transform=training", ROTATED, "augment.probability=0.0"), {}),
    ("EV01", (ROTATED, "protocol.evaluate_augmented=true"), {"reads": made_reads(evaluation_differ=0)}),
    ("EV01", (ROTATED,), {"reads": made_reads()}),
    ("EV02", ("protocol.shared_transform=evaluation",), {}),
    ("EV02", (ROTATED, "protocol.shared_transform=evaluation"), {"reads": made_reads(training_differ=64)}),
    ("EV02", (ROTATED,), {"reads": made_reads(training_differ=3)}),
    ("EV02", ("augment.crop_size=22", "augment.crop_probability=0.1"), {"reads": made_reads(training_differ=0, n=32)}),
    ("EV02", (), {"reads": made_reads(training_differ=0)}),
    ("EV04", ("protocol.test_every_epoch=true", "train.epochs=1"), {}),
    ("EV04", ("protocol.test_every_epoch=true", "protocol.evaluate_on=train"), {}),
    ("EV05", ("train.shuffle=false", "train.batch_size=60000"), {}),
    ("EV06", ("protocol.seed_after_split=true", "protocol.evaluate_on=test"), {}),
    ("EV07", ("protocol.loss_divided_twice=true", "train.batch_size=1"), {}),
    ("EV08", ("protocol.last_batch_loss=true", "train.batch_size=60000"), {}),
    ("EV10", ("data.validation=500", "train.epochs=10"), {}),
    ("EV10", ("data.validation=100", "train.epochs=5"), {}),
    ("EV10", ("data.validation=100", "train.epochs=10", "train.keep=last"), {}),
    ("CL01", (), {"claims": ()}),
    ("CL01", (), {"claims": (made_claim(is_contradicted=False),)}),
    ("CL02", (), {"parent": made_parent(factors=["lr 0.1 → 0.05"])}),
    ("CL03", (), {"parent": made_parent(9_700), "ending": made_ending(test=0.985)}),
    ("CL03", (), {"parent": made_parent(9_850, factors=[]), "ending": made_ending(test=0.985)}),
)


def judged(code: str, subject: Subject) -> Judgement | None:
    return BY_CODE[code].judge(subject)


def spoken(code: str, subject: Subject) -> Judgement:
    judgement = judged(code, subject)
    assert judgement is not None, f"{code} is silent"
    return judgement


def codes(subject: Subject) -> set[str]:
    """Which rules speak of a case; those whose needs are not there are not asked."""
    asked = [rule for rule in RULES if all(getattr(subject, need) is not None for need in rule.needs)]
    return {rule.code for rule in asked if rule.judge(subject) is not None}


def values(judgement: Judgement) -> dict[str, Any]:
    return {one.what: one.value for one in judgement.evidence}


def assert_recomputes(judgement: Judgement, subject: Subject) -> None:
    """Every value of the evidence follows from its source, exactly or but for rounding."""
    assert judgement.evidence
    for one in judgement.evidence:
        found = recompute(one.source, names_of_subject(subject))
        assert found == (pytest.approx(one.value) if isinstance(one.value, float) else one.value), one.source


def with_a_run(subject: Subject) -> Subject:
    """The same case after a run of three epochs, with what its protocol tells."""
    part = "validation" if subject.recipe.protocol.evaluate_on == "validation" else "test"
    told = made_reported([0.95, 0.972, 0.97], part=part, loss=0.002)
    if subject.recipe.protocol.test_every_epoch:
        for row in told["epochs"]:
            row["test"] = row[part]
    return made_subject(
        recipe=subject.recipe,
        history=made_history([0.96, 0.98, 0.985]),
        ending=made_ending(),
        reported=told,
        images=made_images(classes_per_batch=1.1),
    )


@pytest.mark.parametrize(("code", "overrides", "severity"), FAULTY)
def test_a_fault_is_seen_in_the_recipe_and_gone_with_its_remedy(
    code: str, overrides: tuple[str, ...], severity: str
) -> None:
    """Each rule speaks before any run, and is silent about the recipe that its remedy makes."""
    subject = made_subject(overrides=overrides)

    judgement = spoken(code, subject)

    assert judgement.severity == severity
    assert judgement.remedy is not None
    assert_recomputes(judgement, subject)
    assert judged(code, fixed(subject, judgement.remedy.changes)) is None


@pytest.mark.parametrize(("code", "overrides", "severity"), FAULTY)
def test_what_a_run_adds_to_the_evidence_follows_from_its_files(
    code: str, overrides: tuple[str, ...], severity: str
) -> None:
    """After a run a rule says what it said before, and every number of it recomputes."""
    before = spoken(code, made_subject(overrides=overrides))

    subject = with_a_run(made_subject(overrides=overrides))
    after = spoken(code, subject)

    assert set(values(before)) <= set(values(after))
    assert after.remedy == before.remedy
    assert_recomputes(after, subject)


@pytest.mark.parametrize(("code", "overrides", "parts"), HARMLESS)
def test_what_only_looks_like_a_fault_is_none(code: str, overrides: tuple[str, ...], parts: Mapping[str, Any]) -> None:
    """Silent: a switch without effect, a suspicion that is measured to be wrong, a look that chooses nothing."""
    assert judged(code, made_subject(overrides=overrides, **parts)) is None


def test_own_recipes_are_healthy() -> None:
    """No rule of evaluation says anything of a recipe of ours, before a run or after."""
    run = {
        "history": made_history([0.97, 0.98, 0.985]),
        "ending": made_ending(),
        "reads": made_reads(),
        "images": made_images(),
        "claims": (),
    }

    found = [codes(made_subject(recipe=load(name), **parts)) for name in own_names() for parts in ({}, run)]

    assert found == [set()] * 10


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("000-1", {"EV01", "EV04", "EV05", "EV07", "EV08"}),
        ("002-3b", {"EV01", "EV03", "EV05", "EV07", "EV08"}),
        ("003-9", {"EV04", "EV08"}),
        ("003-12", {"EV01", "EV06", "EV08"}),
        ("003-14", {"EV02", "EV06", "EV08"}),
        ("003-17", {"EV02", "EV04", "EV06", "EV08"}),
        ("004-1", {"EV04", "EV08"}),
    ],
)
def test_the_slips_of_the_documents_are_named_from_their_recipes(step: str, expected: set[str]) -> None:
    """Every slip of evaluation that a document has is named before its replay has run, and no other."""
    assert codes(made_subject(recipe=load(step))) == expected


def test_a_single_look_at_the_test_images_is_no_fault() -> None:
    """Document 000 has one epoch, so no epoch is chosen; from the second epoch on one can be."""
    one, twenty = made_subject(recipe=load("000-1")), made_subject(recipe=load("003-9"))

    assert [spoken("EV04", subject).severity for subject in (one, twenty)] == ["note", "fault"]


def test_two_reads_of_an_evaluation_image_must_be_equal() -> None:
    """Where they differ, that is a fault whatever the recipe says; where it is not the recipe's, there is advice."""
    asked = made_subject(
        overrides=(ROTATED, "protocol.evaluate_augmented=true"), reads=made_reads(evaluation_differ=60)
    )
    unasked = made_subject(reads=made_reads(evaluation_differ=1))

    assert values(spoken("EV01", asked))["evaluation images that differ when read twice"] == 60
    assert spoken("EV01", unasked).remedy is None
    assert spoken("EV01", unasked).advice
    for subject in (asked, unasked):
        assert_recomputes(spoken("EV01", subject), subject)


def test_too_few_reads_take_no_suspicion_back() -> None:
    """One image in fifty is erased, so 64 equal pairs may be chance, and the protocol is believed."""
    overrides = ("augment.erase_probability=0.02", "protocol.evaluate_augmented=true")

    assert judged("EV01", made_subject(overrides=overrides, reads=made_reads(evaluation_differ=0))) is not None


def test_two_reads_of_a_training_image_must_differ() -> None:
    """An augmentation that changes nothing is lost, too: there is no switch to blame, so there is advice."""
    shared = made_subject(
        overrides=(ROTATED, "protocol.shared_transform=evaluation"), reads=made_reads(training_differ=0)
    )
    idle = made_subject(overrides=("augment.rotate=0.001",), reads=made_reads(training_differ=0))

    assert spoken("EV02", shared).remedy is not None
    assert spoken("EV02", idle).remedy is None
    assert spoken("EV02", idle).advice
    for subject in (shared, idle):
        assert_recomputes(spoken("EV02", subject), subject)


def test_the_optimism_of_the_best_look_is_told_in_points() -> None:
    """Held against the last epoch, or against the one that validation picks where there is a validation."""
    told = made_reported([0.9938, 0.9949, 0.9941, 0.9940])
    by_test = made_subject(overrides=("protocol.evaluate_on=test", "train.epochs=4"), reported=told)
    beside = made_subject(
        overrides=("protocol.test_every_epoch=true", "train.epochs=4"), reported=told, ending=made_ending(best_epoch=3)
    )

    last, picked = (values(spoken("EV04", subject)) for subject in (by_test, beside))

    assert last["points by which the best exceeds the last epoch"] == pytest.approx(0.09)
    assert picked["points by which the best exceeds the epoch chosen by validation"] == pytest.approx(0.08)
    for subject in (by_test, beside):
        assert_recomputes(spoken("EV04", subject), subject)


@pytest.mark.parametrize(
    ("classes_per_batch", "epochs", "severity"),
    [(1.1, 1, "fault"), (1.1, 5, "fault"), (8.0, 5, "warning"), (9.9, 5, "note"), (8.0, 1, "note")],
)
def test_an_order_is_as_bad_as_the_file_is_sorted(classes_per_batch: float, epochs: int, severity: str) -> None:
    """Class by class is a fault; well mixed batches, and a single pass over a mixed file, cost nothing."""
    subject = made_subject(
        overrides=("train.shuffle=false", f"train.epochs={epochs}"),
        images=made_images(classes_per_batch=classes_per_batch),
    )

    judgement = spoken("EV05", subject)

    assert judgement.severity == severity
    assert_recomputes(judgement, subject)


def test_a_loss_that_is_divided_twice_is_held_against_the_mean_per_image() -> None:
    """In 000 it is about 32 times too small, which is the size of the batch."""
    subject = made_subject(
        overrides=("protocol.evaluate_on=test", "protocol.loss_divided_twice=true", "train.batch_size=32"),
        history=made_history([0.95]),
        reported=made_reported([0.95], loss=0.125 / 32),
    )

    judgement = spoken("EV07", subject)

    assert values(judgement)["mean loss per image over reported loss"] == pytest.approx(32)
    assert_recomputes(judgement, subject)


def test_a_run_that_diverged_is_judged_by_what_it_has() -> None:
    """Losses that are no numbers and an epoch of which nothing is told leave the evidence of the recipe."""
    lost = made_reported([0.0980], loss=0.002)
    lost["epochs"][0]["test"]["loss"] = lost["epochs"][0]["train"]["loss"] = None
    overrides = ("protocol.evaluate_on=test", "protocol.loss_divided_twice=true", "protocol.last_batch_loss=true")
    cases = [
        made_subject(overrides=overrides, history=made_history([0.098]), reported=lost),
        made_subject(overrides=overrides, history=made_history([0.098, 0.098]), reported=lost),
        made_subject(overrides=overrides, history=(), reported={"epochs": []}, ending=made_ending(status="diverged")),
    ]

    for subject in cases:
        assert {"EV04", "EV07", "EV08"} <= codes(subject)
        for code in ("EV04", "EV07", "EV08"):
            assert_recomputes(spoken(code, subject), subject)


def test_figures_of_two_epochs_are_not_held_against_each_other() -> None:
    """A run that was stopped after an epoch was measured and before it was told is judged by its recipe."""
    overrides = ("protocol.evaluate_on=test", "protocol.loss_divided_twice=true", "protocol.last_batch_loss=true")
    alone = made_subject(overrides=overrides)
    ahead = made_subject(overrides=overrides, history=made_history([0.95, 0.97]), reported=made_reported([0.95]))

    assert all(spoken(code, ahead) == spoken(code, alone) for code in ("EV04", "EV07", "EV08"))


def test_a_claim_against_its_record_is_told_with_both_figures() -> None:
    """Document 002 tells more than 95 % of trial 3b and printed 92.40 %; claims that hold are passed over."""
    subject = made_subject(
        claims=(made_claim(is_contradicted=False), made_claim(said="more than 95 %", found="92.40 %")),
    )

    judgement = spoken("CL01", subject)

    assert judgement.severity == "fault"
    assert [one.value for one in judgement.evidence] == ["more than 95 %", "92.40 %"]
    assert judgement.remedy is None
    assert judgement.advice
    assert_recomputes(judgement, subject)


def test_every_change_made_at_once_is_named() -> None:
    """A note, with each of the changes."""
    subject = made_subject(parent=made_parent(factors=["lr 0.1 → 0.05", "net +do.1"]))

    judgement = spoken("CL02", subject)

    assert judgement.severity == "note"
    assert [one.value for one in judgement.evidence] == [2, "lr 0.1 → 0.05", "net +do.1"]
    assert_recomputes(judgement, subject)


def test_a_difference_within_sampling_error_is_a_note() -> None:
    """Of 10,000 images 9,923 against 9,935 has a p of 0.31, 9,920 against 9,950 one of 0.008 (chi-squared)."""
    within = made_subject(parent=made_parent(9_923), ending=made_ending(test=0.9935))
    beyond = made_subject(parent=made_parent(9_920), ending=made_ending(test=0.9950))

    judgement = spoken("CL03", within)

    assert judgement.severity == "note"
    assert values(judgement)["standard errors gained"] == pytest.approx(1.0107, abs=1e-3)
    assert_recomputes(judgement, within)
    assert judged("CL03", beyond) is None


def test_two_perfect_results_differ_by_nothing() -> None:
    """All images right in both: there is no error to divide by, and no difference."""
    subject = made_subject(parent=made_parent(sum(LABELS)), ending=made_ending(test=1.0))

    assert_recomputes(spoken("CL03", subject), subject)


def test_a_parent_whose_run_has_no_test_figures_shows_nothing_either_way() -> None:
    """What was not measured is not compared."""
    ending = made_ending()
    closed = type(ending)(**{**vars(ending), "test": None})

    assert judged("CL03", made_subject(parent=made_parent(), ending=closed)) is None


def test_a_crop_that_happens_to_every_image_is_no_lost_augmentation() -> None:
    """The same centre is cut out each time, so two reads are alike; of a crop at random they are not."""
    size = ("augment.crop_size=20", "augment.rotate=0", "augment.translate=0")
    always, often = (made_subject(overrides=(*size, f"augment.crop_probability={p}")) for p in (1.0, 0.5))
    alike = made_reads(training_differ=0)

    assert "EV02" not in codes(replace(always, reads=alike))
    assert "EV02" in codes(replace(often, reads=alike))
