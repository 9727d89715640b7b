"""What the doctor found, in words: by rank, with its evidence, in lines of 80 columns, and as values for programs."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace

import pytest
from rich.cells import cell_len

from flyweight.doctor.finding import Evidence, Remedy
from flyweight.doctor.rule import Rule
from flyweight.report.diagnosis.teaching import question_of, question_text, verdict_on
from flyweight.report.diagnosis.text import (
    diagnosis_text,
    diagnosis_values,
    evidence_lines,
    finding_text,
    next_commands,
    value_in_words,
)
from made_findings import CONSTANT, HOT, IDLE, OTHER_NOTE, UNJUDGED, WHY, diagnosis, recipe, subject

N_RULES = 50


class Finished:
    id = "1m7ze6jn1qmcagkm5tzn"
    name = "own/20k-fast"
    seed = 3
    status = "finished"
    message = "target reached in epoch 3"
    validation_accuracy = 0.9942
    test_accuracy = 0.9943


def reported(*findings, **options):
    return diagnosis_text(diagnosis(*findings), subject(), n_rules=N_RULES, **options)


def test_a_finding_reports_its_numbers_the_reason_the_change_and_what_to_expect():
    """All that a rule said of a case is on the screen, and the change is in the words of a log."""
    lines = finding_text(HOT, recipe()).splitlines()

    assert lines[0] == "1  LR01  fault    learning rate too high"
    assert [line for line in lines if line.endswith("  10.01")]
    assert [line for line in lines if line.endswith("55,000")]
    assert "83.21%" in "\n".join(lines)
    assert "  change     lr 10.01 → 0.1; for a better net" in lines
    assert "  expect     the loss falls instead of jumping." in lines
    assert " ".join(" ".join(line.split()) for line in lines).count("Shorter steps stay in the valley") == 1


def test_findings_stand_by_rank_and_ties_share_theirs():
    """The first line of each, in order."""
    text = reported(HOT, CONSTANT, IDLE, OTHER_NOTE)

    titles = [line for line in text.splitlines() if line[:1].isdigit() and "finding" not in line]
    assert [line.split()[:2] for line in titles] == [["1", "LR01"], ["2", "SI01"], ["3", "NE07"], ["3", "NE08"]]
    assert "constant answer, a symptom" in titles[1]


def test_notes_are_one_line_each_without_all():
    """A harmless remark takes no room; with all of it, it is explained like the others."""
    assert finding_text(IDLE, recipe()).count("\n") == 0
    assert "logsoftmax1" in finding_text(IDLE, recipe(), is_full=True)
    assert "logsoftmax1" in reported(IDLE, is_full=True)
    assert "logsoftmax1" not in reported(IDLE)


def test_the_summary_counts_findings_and_checks():
    """By severity; the rules that could not be asked are counted out."""
    assert "4 findings: 2 faults, 2 notes; 47 of 50 checks could run" in reported(HOT, CONSTANT, IDLE, OTHER_NOTE)
    assert "1 finding: 1 fault; 47 of 50" in reported(HOT)
    assert "nothing found; 47 of 50 checks could run" in reported()


def test_checks_that_could_not_run_are_listed_by_reason():
    """The codes of a reason stand together; before a run it is one line."""
    after = reported(HOT, record=Finished())

    assert "SI02, SI03: needs the weights of a finished run: the run diverged" in after
    assert "CL01: needs figures that somebody wrote" in after
    assert "SI02" not in reported(HOT)
    assert "train it, then ask the doctor again" in reported(HOT)
    assert "SI02" in reported(HOT, is_full=True)


def test_the_heading_says_who_was_looked_at():
    """A recipe with what it will do; a run with how it ended."""
    assert reported().splitlines()[0] == "own/20k-fast: 19,378 parameters, 3 epochs of 860 steps; before any run"
    assert reported(record=Finished()).splitlines()[:3] == [
        "own/20k-fast, seed 3: finished, validation 99.42%, test 99.43%",
        "  run        1m7ze6jn1qmc",
        "  note       target reached in epoch 3",
    ]


def test_no_line_is_wider_than_a_terminal():
    """Whatever the length of its words, what can be broken is: 80 columns, also for wide characters."""
    wide = replace(
        HOT,
        title="learning rate too high",
        explanation="層が大きい " * 60 + WHY * 3,
        evidence=(
            Evidence(what="a number with a very long name " * 4, value=1.5, source="1.5"),
            Evidence(what="names", value="conv1 " * 40, source="'conv1'"),
            *HOT.evidence,
        ),
        trial="tried and helped " * 20,
        advice="look at the images " * 20,
    )

    text = reported(wide, CONSTANT, IDLE, record=Finished(), is_full=True)

    lines = text.splitlines()
    assert len(lines) > 60
    assert max(cell_len(line) for line in lines[1:]) <= 80


def test_names_of_others_cannot_move_the_cursor():
    """Control characters of a recipe's name or of an evidence are shown as replaced."""
    asked = recipe('name="bad\\u001b[2Jname"')
    dangerous = replace(HOT, evidence=(Evidence(what="said", value="99\x1b[31m %\n", source="claims[0].said"),))

    text = diagnosis_text(diagnosis(dangerous), subject(asked), n_rules=N_RULES)

    assert "\x1b" not in text
    assert "99�[31m %" in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.00012345, "0.0001234"),
        (999.96, "1000"),
        (98765.4, "98,765"),
        (math.inf, "not a number"),
        (False, "no"),
        ("conv1", "conv1"),
    ],
)
def test_numbers_are_readable(value, words):
    """Four digits that count; thousands apart."""
    assert value_in_words(value) == words


def test_only_what_is_called_a_share_is_shown_in_percent():
    """A learning rate of 0.1 is not 10 %."""
    shown = evidence_lines(
        [
            Evidence(what="validation accuracy", value=0.0987, source="metrics.validation_accuracy[-1]"),
            Evidence(what="lr", value=0.1, source="recipe.train.lr"),
        ]
    )

    assert [line.split()[-1] for line in shown] == ["9.87%", "0.1"]


def test_the_commands_shown_try_the_first_remedy_and_lead_to_a_fixed_recipe():
    """For a recipe the change is a training; what was set before is not set twice. For a run the recipe is written."""
    found = diagnosis(CONSTANT, HOT)
    set_before = ("train.lr=10.01", "train.epochs=2")

    of_recipe = next_commands(found, "own/8k", changes=set_before, is_recipe=True)
    of_run = next_commands(found, "1m7z", is_recipe=False, options=" --home lab")

    assert of_recipe == [
        "flyweight doctor own/8k --set train.lr=10.01 --set train.epochs=2 --trial",
        "flyweight train own/8k --set train.lr=0.1 --set train.epochs=2",
    ]
    assert of_run == [
        "flyweight doctor 1m7z --trial --home lab",
        "flyweight doctor 1m7z --fix fixed.toml --home lab",
    ]
    assert next_commands(diagnosis(IDLE, CONSTANT), "1m7z", is_recipe=False) == []


def test_what_was_tried_is_not_proposed_again():
    """A remedy that helped is followed, one that did not is left."""
    found = diagnosis(HOT)

    assert next_commands(found, "own/8k", is_recipe=True, tried={"LR01": True}) == [
        "flyweight train own/8k --set train.lr=0.1"
    ]
    assert next_commands(found, "own/8k", is_recipe=True, tried={"LR01": False}) == []


def test_several_that_did_not_help_alone_are_for_fixing():
    """They may hide each other, and --fix tries them together."""
    other = replace(
        HOT, code="ST01", remedy=Remedy(changes=("train.batch_size=64",), gain="accuracy", expected="more.")
    )

    commands = next_commands(diagnosis(HOT, other), "own/8k", is_recipe=True, tried={"LR01": False, "ST01": False})

    assert commands == ["flyweight doctor own/8k --fix fixed.toml"]


def test_commands_survive_a_shell():
    """A path or a change with blanks is quoted."""
    spaced = replace(HOT, remedy=Remedy(changes=("model.net=c8 r gap flat fc10",), gain="cost", expected="less."))

    trial, fix = next_commands(diagnosis(spaced), "my lab/a.toml", changes=("name=a b",), is_recipe=True)

    assert shlex.split(trial) == ["flyweight", "doctor", "my lab/a.toml", "--set", "name=a b", "--trial"]
    assert shlex.split(fix)[:3] in (["flyweight", "train", "my lab/a.toml"], ["flyweight", "doctor", "my lab/a.toml"])


def test_the_values_for_programs_hold_everything():
    """Findings with each number and where it comes from, the change, and what could not be judged, as strict JSON."""
    values = diagnosis_values(diagnosis(HOT, IDLE), subject(), record=Finished(), n_rules=N_RULES)

    again = json.loads(json.dumps(values, allow_nan=False))
    first = again["findings"][0]
    assert [one["code"] for one in again["findings"]] == ["LR01", "NE07"]
    assert first["evidence"][0] == {"what": "highest learning rate", "value": 10.01, "source": "recipe.train.lr"}
    assert first["remedy"]["changes"] == ["train.lr=0.1"]
    assert first["remedy"]["words"] == "lr 10.01 → 0.1"
    assert (again["run"], again["status"], again["rules"], again["asked"]) == (Finished.id, "finished", 50, 47)
    assert [one["code"] for one in again["unjudged"]] == [one.code for one in UNJUDGED]


def rules(n):
    return [
        Rule(code=f"XX{number:02}", title=f"title {number}", needs=(), judge=lambda _case: None, explanation=WHY)
        for number in range(n)
    ]


def test_a_question_has_one_right_title_of_four():
    """The others are titles of rules that found nothing; which place is right changes with the seed, not on its own."""
    table = [*rules(9), replace(rules(1)[0], code="LR01", title=HOT.title)]

    asked = [question_of(HOT, table, found={"LR01", "XX03"}, seed=str(seed)) for seed in range(60)]

    for question in asked:
        assert len(set(question.titles)) == 4
        assert question.titles[question.right - 1] == HOT.title
        assert "title 3" not in question.titles
    assert {question.right for question in asked} == {1, 2, 3, 4}
    assert question_of(HOT, table, found={"LR01"}, seed="7") == question_of(HOT, table, found={"LR01"}, seed="7")


def test_a_guess_is_judged_kindly():
    """Right is said; wrong is reported with what it is; silence is no answer."""
    question = question_of(HOT, rules(9), found={"LR01"}, seed="a")
    wrong = str(question.right % 4 + 1)

    assert verdict_on(question, f" {question.right}\n") == "right."
    assert HOT.title in verdict_on(question, wrong)
    assert HOT.title in verdict_on(question, "what?")
    assert verdict_on(question, "\n") == ""


def test_a_question_does_not_reveal_its_answer():
    """The numbers and four titles, nothing of the explanation."""
    text = question_text(question_of(HOT, rules(9), found={"LR01"}, seed="a"))

    assert "10.01" in text
    assert "valley" not in text
    assert text.count(HOT.title) == 1
    assert max(map(cell_len, text.splitlines())) <= 80
