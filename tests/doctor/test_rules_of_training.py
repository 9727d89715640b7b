"""Rules about rates, schedules and augmentation, where a practitioner would say otherwise than a threshold."""

from __future__ import annotations

import pytest
from made_subjects import made_ending, made_history, made_start, made_subject
from recomputed import names_of_subject, recompute

from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Finding
from flyweight.doctor.rules.regularisation import is_idle
from flyweight.doctor.subject import Subject

LEARNT, STUCK = 0.97, 0.13


def found(code: str, subject: Subject) -> Finding | None:
    return next((one for one in diagnose(subject).findings if one.code == code), None)


@pytest.mark.parametrize(
    ("lr", "train", "severity"),
    [(0.1, STUCK, "fault"), (0.1, LEARNT, "note"), (2.0, LEARNT, "warning"), (2.0, STUCK, "fault")],
)
def test_a_rate_that_a_net_got_over_is_no_fault(lr, train, severity):
    """First steps that leap are an alarm where the net has not learnt, or where the rate is far above the usual."""
    start = made_start(losses={"0.1": (2.3, 1.0, 0.5, 0.4), "1": (2.3, 9.0, 3.0, 1.7)}, steps=4)
    subject = made_subject("c8nb bn r m2 flat fc10", (f"train.lr={lr}",), start=start, ending=made_ending(train=train))

    finding = found("LR01", subject)

    assert finding is not None
    assert finding.severity == severity
    assert all(
        recompute(one.source, names_of_subject(subject)) == pytest.approx(one.value) for one in finding.evidence[:3]
    )


@pytest.mark.parametrize(
    ("overrides", "severity"),
    [
        (("train.optimizer=sgd", "train.lr=0.05"), "warning"),
        (("train.optimizer=adam", "train.lr=0.01"), "warning"),
        (("train.optimizer=adam", "train.lr=0.001"), "note"),
        (("train.optimizer=sgd", "train.lr=0.05", "train.ema=0.99"), None),
    ],
)
def test_a_constant_rate_shakes_where_it_is_high(overrides, severity):
    """An average of the weights comes to rest by itself, and Adam at its usual rate hardly shakes."""
    subject = made_subject(overrides=("train.schedule=constant", *overrides))

    finding = found("ST03", subject)

    assert (finding.severity if finding else None) == severity


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (("augment.crop_size=10", "augment.crop_probability=1.0"), ("augment.crop_probability=0.1",)),
        (("augment.erase_size=0.8", "augment.erase_probability=1.0"), ("augment.erase_size=0.25",)),
        (("augment.rotate=180",), ("augment.rotate=8",)),
        (("augment.crop_size=22", "augment.crop_probability=0.1"), None),
        (("augment.erase_size=0.25", "augment.erase_probability=0.5"), None),
    ],
)
def test_what_leaves_little_of_an_image_is_too_strong(overrides, changes):
    """Crops and erased squares count as rotations do; those of the documents and usual ones are silent."""
    finding = found("RE05", made_subject(overrides=overrides))

    assert (finding.remedy.changes if finding and finding.remedy else None) == changes


@pytest.mark.parametrize(
    ("overrides", "lr", "severity"),
    [
        (("train.patience=1",), 0.1, "warning"),
        (("target.accuracy=0.8", "target.stop=true"), 0.1, "warning"),
        (("train.patience=1",), 0.001, None),
        ((), 0.1, None),
    ],
)
def test_a_run_that_stops_at_a_high_rate_has_not_settled(overrides, lr, severity):
    """Patience and targets are named when the schedule had not come down; a schedule that had is left alone."""
    history = made_history([0.9, 0.91], lr=lr)
    subject = made_subject(
        overrides=("train.epochs=12", "train.lr=0.1", *overrides), history=history, ending=made_ending()
    )

    finding = found("ST04", subject)

    assert (finding.severity if finding else None) == severity
    if finding is not None:
        assert all(recompute(one.source, names_of_subject(subject)) == one.value for one in finding.evidence)


@pytest.mark.parametrize(("test", "speaks"), [(0.98, False), (0.96, False), (0.9, True), (0.02, True)])
def test_other_test_images_are_seen_by_their_accuracy(test, speaks):
    """Five points below validation, and surely three, is more than sampling error of the images."""
    subject = made_subject(ending=made_ending(validation=0.985, test=test))

    finding = found("FI03", subject)

    assert (finding is not None) == speaks
    if finding is not None:
        assert finding.advice
        names = names_of_subject(subject)
        assert all(recompute(one.source, names) == pytest.approx(one.value) for one in finding.evidence)


@pytest.mark.parametrize("limit", [400, 3000, 50_000])
def test_a_short_run_gets_one_number_of_epochs(limit):
    """Too few updates and underfitting never propose two numbers of epochs for the same run."""
    subject = made_subject(overrides=("train.epochs=1", f"data.train_limit={limit}"), ending=made_ending(train=0.5))

    findings = diagnose(subject).findings

    changes = [change for one in findings if one.remedy for change in one.remedy.changes]
    assert "FI02" in {one.code for one in findings}
    assert sum(change.startswith("train.epochs=") for change in changes) == 1


@pytest.mark.parametrize("change", ["augment.flip_probability=0.5", "augment.brightness=0.2", "augment.rotate=5"])
def test_each_augmentation_varies_the_images(change: str) -> None:
    """Flips and brightness are augmentation too, so the advice to begin with some is silent."""
    idle = ("augment.rotate=0", "augment.translate=0", "augment.scale=0", "augment.shear=0")

    assert is_idle(made_subject(overrides=idle))
    assert not is_idle(made_subject(overrides=(*idle, change)))
