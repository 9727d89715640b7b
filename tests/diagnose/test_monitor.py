"""The doctor during a run: what epochs and steps show is told once, and with "stop" a fault ends the run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from flyweight.diagnose.monitor import (
    HIGH_LOSS_CODE,
    MIN_STEPS,
    DoctorMonitor,
    epoch_line,
    loss_between,
    rules_before,
    rules_during,
)
from flyweight.doctor.finding import Evidence, Judgement, Severity
from flyweight.doctor.rule import Rule
from flyweight.doctor.subject import Need, Subject
from flyweight.experiment.events import EpochDone, Event, Found, Started, Stepped
from flyweight.train.metrics import EpochMetrics
from made_findings import recipe, subject

GUESSING = math.log(10)
RUN = {"run_id": "r", "seed": 4}


def rule(code: str, severity: Severity, *needs: Need, from_epoch: int = 1) -> Rule:
    """A rule that finds its fault from an epoch on; without needs, always."""

    def judge(judged: Subject) -> Judgement | None:
        if needs and len(judged.history or ()) < from_epoch:
            return None
        return Judgement(severity=severity, evidence=(Evidence(what="epochs", value=1, source="1"),))

    return Rule(code=code, title=f"title of {code}", needs=needs, judge=judge, explanation="One. Two. Three.")


RULES = (
    rule("BE01", "fault"),
    rule("BE02", "note"),
    rule("DU01", "warning", "history", from_epoch=1),
    rule("DU02", "fault", "history", from_epoch=3),
    rule("DU03", "note", "history"),
    rule("AF01", "fault", "history", "ending"),
)


def doctor_monitor(*, may_stop: bool = False) -> DoctorMonitor:
    return DoctorMonitor(subject=subject(), may_stop=may_stop, rules=RULES)


def metrics(epoch: int, loss: float = 0.5) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        train_loss=loss,
        train_accuracy=0.9,
        validation_loss=loss,
        validation_accuracy=0.8,
        lr=0.1,
        seconds=1.0,
        images_per_second=1.0,
    )


def started() -> Started:
    return Started(**RUN, name="tiny", params=1, epochs=5)


def done(epoch: int) -> EpochDone:
    return EpochDone(**RUN, epochs=5, metrics=metrics(epoch))


def look(step: int, loss: float, epoch: int = 1) -> Stepped:
    rest = {"epochs": 5, "n_steps": 100, "accuracy": 0.1, "images_per_second": 1.0, "seconds_left": 1.0}
    return Stepped(**RUN, epoch=epoch, step=step, loss=loss, **rest)


def found(doctor: DoctorMonitor, *events: Event) -> list[Found]:
    return [one for event in events for one in doctor.watch(event)]


def test_a_finding_is_reported_once_at_the_first_epoch_that_shows_it():
    """Alarms of the recipe before the first step, alarms of the epochs as they come; no notes, nothing twice."""
    seen = found(doctor_monitor(), started(), *map(done, range(1, 6)))

    assert [(one.epoch, one.code, one.severity) for one in seen] == [
        (0, "BE01", "fault"),
        (1, "DU01", "warning"),
        (3, "DU02", "fault"),
    ]
    assert {(one.run_id, one.seed) for one in seen} == {("r", 4)}


def test_only_a_fault_that_the_run_shows_ends_it():
    """Neither what the recipe alone shows nor a warning does; the reason names the rule."""
    doctor = doctor_monitor(may_stop=True)

    for event in (started(), done(1), done(2)):
        doctor.watch(event)
        assert not doctor.reason
    doctor.watch(done(3))

    assert doctor.reason == "stopped by the doctor: DU02 title of DU02"


def test_a_monitor_that_may_not_stop_has_no_reason_to():
    """It says the same and ends nothing."""
    doctor = doctor_monitor()

    assert "DU02" in [one.code for one in found(doctor, *map(done, range(1, 6)))]
    assert not doctor.reason


def test_a_loss_that_flees_is_reported_in_the_middle_of_an_epoch():
    """The steps after the first ones are judged on their own: a high start that has come down is none."""
    doctor = doctor_monitor(may_stop=True)

    assert not found(doctor, look(10, 90.0), look(MIN_STEPS + 5, 90.0))
    (one,) = found(doctor, look(MIN_STEPS + 25, 90.0))

    assert (one.code, one.epoch, one.step, one.severity) == (HIGH_LOSS_CODE, 1, MIN_STEPS + 25, "fault")
    assert doctor.reason


def test_a_loss_that_was_high_at_the_start_is_no_fault():
    """The running mean still holds the first steps; the steps between two looks do not."""
    total = 30 * 90.0

    looks = [look(step, (total + (step - 30) * GUESSING) / step) for step in (30, 40, 60, 90)]

    assert not found(doctor_monitor(), *looks)


@pytest.mark.parametrize("loss", [GUESSING, 2.9 * GUESSING, math.nan])
def test_guessing_is_not_fleeing_and_no_number_is_left_to_the_loop(loss):
    """Three times the loss of guessing is the line; what is not a number ends as diverged, not as stopped."""
    looks = [look(step, loss) for step in range(10, 100, 10)]

    assert not found(doctor_monitor(), *looks)


def test_looks_of_two_epochs_are_not_mixed():
    """Running means start again with an epoch."""
    assert not found(doctor_monitor(), look(90, 1.0, epoch=1), look(95, 90.0, epoch=2))


def test_the_loss_between_two_looks_is_that_of_their_steps():
    """By hand: 10 steps of 2.0, then 30 of 4.0, have the running means 2.0 and 3.5."""
    assert loss_between(look(10, 2.0), look(40, 3.5)) == pytest.approx(4.0)
    assert loss_between(look(10, 2.0), look(10, 2.0)) == 2.0


def test_a_loss_that_is_no_number_is_none_in_the_history():
    """As in the files that a finished run is read from."""
    line = epoch_line(replace(metrics(2), train_loss=math.inf, validation_loss=math.nan))

    assert (line.epoch, line.train_loss, line.validation_loss, line.validation_accuracy) == (2, None, None, 0.8)


def test_rules_run_when_they_have_what_they_need():
    """Those without needs before, those of the history alone during, all others after a run."""
    assert [one.code for one in rules_before(RULES)] == ["BE01", "BE02"]
    assert [one.code for one in rules_during(RULES)] == ["DU01", "DU02", "DU03"]


def test_the_table_has_rules_for_before_and_during_a_run():
    """The doctor at the side of a run has something to ask."""
    assert len(rules_before()) >= 5
    assert len(rules_during()) >= 1
    assert recipe().train.lr == 10.01
