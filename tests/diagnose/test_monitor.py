"""The doctor during a run: what epochs and steps show is told once, and with "stop" a fault ends the run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from flyweight.diagnose.monitor import (
    FEWEST_STEPS,
    FLEEING_CODE,
    Overseer,
    epoch_line,
    loss_between,
    rules_before,
    rules_during,
)
from flyweight.doctor.finding import Evidence, Judgement, Need, Rule, Severity
from flyweight.doctor.subject import Case
from flyweight.experiment.events import EpochDone, Event, Found, Started, Stepped
from flyweight.train.loop import Outcome
from flyweight.train.metrics import EpochMetrics
from made_findings import case, recipe

GUESSING = math.log(10)
RUN = {"run_id": "r", "seed": 4}


def rule(code: str, severity: Severity, *needs: Need, from_epoch: int = 1) -> Rule:
    """A rule that finds its fault from an epoch on; without needs, always."""

    def judge(judged: Case) -> Judgement | None:
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


def overseer(seen: list[Event], *, may_stop: bool = False, rules: tuple[Rule, ...] = RULES) -> Overseer:
    return Overseer(case=case(), pass_on=seen.append, may_stop=may_stop, rules=rules)


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


def found(seen: list[Event]) -> list[Found]:
    return [event for event in seen if isinstance(event, Found)]


def test_what_is_found_is_told_once_and_at_the_first_epoch_that_shows_it():
    """Alarms of the recipe before the first step, alarms of the epochs as they come; no notes, nothing twice."""
    seen = list[Event]()
    doctor = overseer(seen)

    for event in (started(), *map(done, range(1, 6))):
        doctor.watch(event)

    assert [(one.epoch, one.code, one.severity) for one in found(seen)] == [
        (0, "BE01", "fault"),
        (1, "DU01", "warning"),
        (3, "DU02", "fault"),
    ]
    assert {(one.run_id, one.seed) for one in found(seen)} == {("r", 4)}
    assert len(seen) == 6 + 3


def test_events_are_passed_on_before_what_they_show():
    """Who watches sees an epoch's line first, and then what the doctor says of it."""
    seen = list[Event]()

    overseer(seen).watch(done(1))

    assert [type(event) for event in seen] == [EpochDone, Found]


def test_only_a_fault_that_the_run_shows_ends_it():
    """Neither what the recipe alone shows nor a warning does; the reason names the rule."""
    doctor = overseer([], may_stop=True)
    asks = doctor.asking(lambda: False)

    for event in (started(), done(1), done(2)):
        doctor.watch(event)
        assert not asks()
    doctor.watch(done(3))

    assert asks()
    assert doctor.reason == "DU02 title of DU02"


def test_who_only_tells_never_stops_and_who_stops_still_hears_others():
    """The question of somebody else is asked as well."""
    tells = overseer([])
    for event in map(done, range(1, 6)):
        tells.watch(event)

    assert tells.reason
    assert not tells.asking(lambda: False)()
    assert tells.asking(lambda: True)()


def test_the_end_of_a_run_says_why_where_the_reason_was_the_doctors():
    """Other ends stay as they were."""
    doctor, outcome = overseer([], may_stop=True), Outcome(status="interrupted", message="after epoch 4, step 1")
    assert doctor.explained(outcome) == outcome

    for event in map(done, range(1, 4)):
        doctor.watch(event)

    assert doctor.explained(outcome).message == "stopped by the doctor: DU02 title of DU02; after epoch 4, step 1"
    diverged = Outcome(status="diverged", message="loss nan")
    assert doctor.explained(diverged) == diverged


def test_a_loss_that_flees_is_told_in_the_middle_of_an_epoch():
    """The steps after the first ones are judged by themselves: a high start that has come down is none."""
    seen = list[Event]()
    doctor = overseer(seen, may_stop=True)

    doctor.watch(look(10, 90.0))
    doctor.watch(look(FEWEST_STEPS + 5, 90.0))
    assert not found(seen)
    doctor.watch(look(FEWEST_STEPS + 25, 90.0))

    (one,) = found(seen)
    assert (one.code, one.epoch, one.step, one.severity) == (FLEEING_CODE, 1, FEWEST_STEPS + 25, "fault")
    assert doctor.asking(lambda: False)()


def test_a_loss_that_was_high_at_the_start_is_no_fault():
    """The running mean still holds the first steps; the steps between two looks do not."""
    seen = list[Event]()
    doctor = overseer(seen)
    total = 30 * 90.0

    for step in (30, 40, 60, 90):
        doctor.watch(look(step, (total + (step - 30) * GUESSING) / step))

    assert not found(seen)


@pytest.mark.parametrize("loss", [GUESSING, 2.9 * GUESSING, math.nan])
def test_guessing_is_not_fleeing_and_no_number_is_left_to_the_loop(loss):
    """Three times the loss of guessing is the line; what is not a number ends as diverged, not as stopped."""
    seen = list[Event]()
    doctor = overseer(seen)

    for step in range(10, 100, 10):
        doctor.watch(look(step, loss))

    assert not found(seen)


def test_looks_of_two_epochs_are_not_mixed():
    """Running means start anew with an epoch."""
    seen = list[Event]()
    doctor = overseer(seen)

    doctor.watch(look(90, 1.0, epoch=1))
    doctor.watch(look(95, 90.0, epoch=2))

    assert not found(seen)


def test_the_loss_between_two_looks_is_that_of_their_steps():
    """By hand: 10 steps of 2.0, then 30 of 4.0, have the running means 2.0 and 3.5."""
    assert loss_between(look(10, 2.0), look(40, 3.5)) == pytest.approx(4.0)
    assert loss_between(look(10, 2.0), look(10, 2.0)) == 2.0


def test_a_loss_that_is_no_number_is_none_in_the_history():
    """As in the files that a finished run is read from."""
    line = epoch_line(replace(metrics(2), train_loss=math.inf, validation_loss=math.nan))

    assert (line.epoch, line.train_loss, line.validation_loss, line.validation_accuracy) == (2, None, None, 0.8)


def test_rules_are_asked_when_they_can_answer():
    """Those without needs before, those of the history alone during, all others after a run."""
    assert [one.code for one in rules_before(RULES)] == ["BE01", "BE02"]
    assert [one.code for one in rules_during(RULES)] == ["DU01", "DU02", "DU03"]


def test_the_table_has_rules_for_before_and_during_a_run():
    """The doctor at the side of a run has something to ask."""
    assert len(rules_before()) >= 5
    assert len(rules_during()) >= 1
    assert recipe().train.lr == 10.01
