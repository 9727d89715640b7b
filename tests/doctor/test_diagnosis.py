"""The diagnosis: every rule is asked once, what is found is in order, and what could not be judged has a reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import permutations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_subjects import (
    made_claim,
    made_ending,
    made_history,
    made_images,
    made_parent,
    made_predictions,
    made_reads,
    made_reported,
    made_start,
    made_subject,
    made_trained,
)

from flyweight.doctor.diagnosis import MEANT, Tried, diagnose
from flyweight.doctor.finding import SEVERITIES, Diagnosis, Evidence, Gain, Judgement, Remedy, Severity
from flyweight.doctor.rule import Rule
from flyweight.doctor.subject import Need, Subject
from flyweight.doctor.table import RULES
from flyweight.recipe import load, own_names

NEEDS: tuple[Need, ...] = get_args(Need)
EVIDENCE = Evidence(what="epochs", value=5, source="recipe.train.epochs")
REMEDY = Remedy(changes=("train.epochs=6",), gain="accuracy", expected="More of it.")
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")

# Every part that a case can have, as a healthy run leaves it.
PARTS = {
    "history": made_history([0.97, 0.98, 0.985]),
    "ending": made_ending(),
    "predictions": made_predictions(),
    "reported": made_reported([0.985]),
    "claims": (made_claim(is_contradicted=False),),
    "parent": made_parent(9_700),
    "images": made_images(),
    "reads": made_reads(),
    "start": made_start(),
    "trained": made_trained(),
}


def made_rule(
    code: str,
    severity: Severity | None = "fault",
    *,
    needs: tuple[Need, ...] = (),
    is_symptom: bool = False,
    gain: Gain = "accuracy",
) -> Rule:
    """A rule that always says this, or nothing."""
    remedy = Remedy(changes=("train.epochs=6",), gain=gain, expected="More of it.")

    def judge(subject: Subject) -> Judgement | None:
        if severity is None:
            return None
        return Judgement(severity=severity, evidence=(EVIDENCE,), remedy=remedy, is_symptom=is_symptom)

    return Rule(code=code, title=f"title of {code}", needs=needs, judge=judge, explanation="One. Two. Three.")


def ranks(diagnosis: Diagnosis) -> list[tuple[int, str]]:
    return [(finding.rank, finding.code) for finding in diagnosis.findings]


def diagnosed(rules: Sequence[Rule], *tried: Tried) -> Diagnosis:
    return diagnose(made_subject(), rules=rules, tried=tried)


def failed(code: str) -> Tried:
    return Tried(code=code, has_helped=False, line="99.1 to 99.0 %, p 0.4")


def test_what_is_equal_shares_its_rank_and_the_next_one_counts_all() -> None:
    """Ranks are those of a race: 1, 1, 3."""
    rules = [made_rule("N1", "note"), made_rule("F1"), made_rule("W1", "warning"), made_rule("F2")]

    assert ranks(diagnosed(rules)) == [(1, "F1"), (1, "F2"), (3, "W1"), (4, "N1")]


def test_symptoms_stand_behind_every_alarm_where_a_cause_is_found() -> None:
    """A dead channel is a fault, yet the mere warning that explains it comes first; notes stay behind both."""
    rules = [made_rule("S1", is_symptom=True), made_rule("N1", "note"), made_rule("W1", "warning"), made_rule("C1")]

    assert ranks(diagnosed(rules)) == [(1, "C1"), (2, "W1"), (3, "S1"), (4, "N1")]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(made_rule("W1", "warning", gain="honesty"), id="a figure that is called wrongly"),
        pytest.param(made_rule("W1", "warning", gain="cost"), id="something that costs too much"),
        pytest.param(made_rule("W1", "note"), id="a note"),
        pytest.param(made_rule("W1", "warning", is_symptom=True), id="another symptom"),
    ],
)
def test_a_symptom_without_a_cause_keeps_its_place(other: Rule) -> None:
    """What cannot make a net learn badly explains no symptom, which then stands where its severity puts it."""
    assert ranks(diagnosed([other, made_rule("S1", is_symptom=True)])) == [(1, "S1"), (2, "W1")]


def test_a_remedy_that_was_tried_and_failed_goes_last() -> None:
    """Below every note, and with the trial; others keep their order."""
    rules = [made_rule("F1"), made_rule("F2"), made_rule("N1", "note")]

    found = diagnosed(rules, failed("F1"))

    assert ranks(found) == [(1, "F2"), (2, "N1"), (3, "F1")]
    assert [finding.trial for finding in found.findings] == ["", "", failed("F1").line]


def test_a_remedy_that_helped_keeps_its_rank_and_has_a_proof() -> None:
    """What is shown to help is no worse for it, and what was tried of a rule that is silent now is nothing."""
    helped = Tried(code="F2", has_helped=True, line="98.0 to 99.1 %, p 0.002")

    found = diagnosed([made_rule("F1"), made_rule("F2"), made_rule("N1", None)], helped, failed("N1"))

    assert ranks(found) == [(1, "F1"), (1, "F2")]
    assert found.findings[1].trial == helped.line


def test_the_order_of_the_table_decides_nothing_but_the_order_of_ties() -> None:
    """However rules are listed, each finding has the same rank."""
    rules = [
        made_rule("F1"),
        made_rule("S1", is_symptom=True),
        made_rule("W1", "warning"),
        made_rule("N1", "note"),
        made_rule("F2"),
    ]

    found = {frozenset(ranks(diagnosed(order, failed("W1")))) for order in permutations(rules)}

    assert found == {frozenset([(1, "F1"), (1, "F2"), (3, "S1"), (4, "N1"), (5, "W1")])}


@given(st.lists(st.tuples(st.sampled_from(SEVERITIES), st.booleans(), st.booleans()), max_size=8))
def test_ranks_are_those_of_a_race(kinds: list[tuple[Severity, bool, bool]]) -> None:
    """A rank is one more than the number of findings that stand before it; nothing is lost."""
    rules = [
        made_rule(f"R{place}", severity, is_symptom=is_symptom) for place, (severity, is_symptom, _) in enumerate(kinds)
    ]
    tried = [failed(f"R{place}") for place, (*_, has_failed) in enumerate(kinds) if has_failed]

    found = [rank for rank, _ in ranks(diagnosed(rules, *tried))]

    assert len(found) == len(kinds)
    assert found == sorted(found)
    assert all(rank == 1 + sum(other < rank for other in found) for rank in found)


def test_a_rule_without_what_it_needs_is_not_asked_and_says_what_is_missing() -> None:
    """The reason names the first need that is not there, and why it is not."""
    rules = [
        made_rule("A1", needs=("ending", "trained")),
        made_rule("A2", needs=("predictions",)),
        made_rule("A3", None),
    ]
    subject = made_subject(ending=made_ending(), why_missing={"trained": "weights.safetensors is gone"})

    found = diagnose(subject, rules=rules)

    assert found.findings == ()
    assert [(one.code, one.reason) for one in found.unjudged] == [
        ("A1", f"needs {MEANT['trained']}: weights.safetensors is gone"),
        ("A2", f"needs {MEANT['predictions']}"),
    ]


def test_what_is_there_but_empty_was_judged() -> None:
    """No claims at all, and a history of no epochs, are known: they are not missing."""
    rules = [made_rule("A1", needs=("claims",)), made_rule("A2", needs=("history",))]

    found = diagnose(made_subject(claims=(), history=()), rules=rules)

    assert ranks(found) == [(1, "A1"), (1, "A2")]
    assert found.unjudged == ()


def test_a_finding_has_all_that_its_rule_and_its_judgement_say() -> None:
    """Nothing is lost between the two."""
    (found,) = diagnosed([made_rule("F1", is_symptom=True)]).findings

    assert (found.code, found.title, found.severity, found.is_symptom) == ("F1", "title of F1", "fault", True)
    assert (found.evidence, found.remedy, found.explanation) == ((EVIDENCE,), REMEDY, "One. Two. Three.")


def test_a_rule_that_fails_is_listed_and_ends_nothing() -> None:
    """The others are asked; the reason is one line that names the fault."""

    def broken(_: Subject) -> Judgement | None:
        raise ValueError("not enough\nvalues")

    found = diagnosed([replace(made_rule("F1"), judge=broken), made_rule("W1", "warning")])

    (listed,) = found.unjudged
    assert (listed.code, listed.reason) == ("F1", "failed, please report it (ValueError: not enough values)")
    assert [finding.code for finding in found.findings] == ["W1"]


def test_notes_are_no_alarms() -> None:
    """What is true and harmless does not count as an alarm."""
    found = diagnosed([made_rule("N1", "note"), made_rule("W1", "warning"), made_rule("F1")])

    assert [finding.code for finding in found.alarms] == ["F1", "W1"]


def test_every_need_is_a_part_of_a_case_and_has_a_name() -> None:
    """A rule can need only what a case can have, and whoever lacks it is told in words."""
    parts = {field.name for field in fields(Subject)}

    assert set(NEEDS) <= parts
    assert set(MEANT) == set(NEEDS) == set(PARTS)
    assert len(NEEDS) == 10


def test_a_healthy_case_with_every_part_is_judged_in_full_and_raises_no_alarm() -> None:
    """With all parts there, each rule of the table is asked, and none has more than a note to say."""
    found = diagnose(made_subject(**PARTS))

    assert found.unjudged == ()
    assert found.alarms == ()


@pytest.mark.parametrize("name", own_names())
def test_a_rule_of_the_table_is_either_asked_or_told_to_be_missing_something(name: str) -> None:
    """Before a run only rules that need nothing are asked; every other is unjudged, with its reason."""
    found = diagnose(made_subject(recipe=load(name)))

    assert {one.code for one in found.unjudged} == {one.code for one in RULES if one.needs}
    assert all(one.reason.startswith("needs ") for one in found.unjudged)


def test_every_rule_of_the_table_has_a_code_of_its_own() -> None:
    """A code is two capitals and two digits, belongs to one rule, and finds it; the table is not empty."""
    counted = Counter(one.code for one in RULES)

    assert len(RULES) >= 50
    assert [code for code, n in counted.items() if n > 1] == []
    assert [code for code in counted if not re.fullmatch(r"[A-Z]{2}\d\d", code)] == []


@pytest.mark.parametrize("one", RULES, ids=lambda one: one.code)
def test_every_rule_of_the_table_can_be_read(one: Rule) -> None:
    """A title of one short line, an explanation of exactly three sentences, and needs that a case can have."""
    assert 0 < len(one.title) < 60
    assert not one.title.endswith(".")
    assert len(SENTENCE_END.findall(one.explanation)) == 3, one.explanation
    assert one.explanation.endswith(".")
    assert "\n" not in one.explanation
    assert set(one.needs) <= set(NEEDS)
    assert len(set(one.needs)) == len(one.needs)
