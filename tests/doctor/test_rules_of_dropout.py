"""What the rules of dropout say."""

from __future__ import annotations

import pytest
from made_subjects import made_subject
from recomputed import names_of_subject, recompute

from flyweight.doctor.finding import Judgement
from flyweight.doctor.rules import dropout
from flyweight.doctor.subject import Subject
from flyweight.recipe import load

RULES = {rule.code: rule for rule in dropout.RULES}
LARGE = "c32p1nb bn r m2 c64p1nb bn r m2 flat fc128 r {} fc10"  # 64 * 7 * 7 * 128 parameters and more


def judged(code: str, subject: Subject) -> Judgement:
    judgement = RULES[code].judge(subject)
    assert judgement is not None, f"{code} is silent about {subject.cost.net}"
    for one in judgement.evidence:
        assert recompute(one.source, names_of_subject(subject)) == one.value
    return judgement


def is_silent(code: str, subject: Subject) -> bool:
    return RULES[code].judge(subject) is None


def values(judgement: Judgement) -> list[object]:
    return [one.value for one in judgement.evidence]


def fixed_net(judgement: Judgement) -> str:
    assert judgement.remedy is not None
    return judgement.remedy.changes[0].removeprefix("model.net=")


@pytest.mark.parametrize(
    ("name", "strongest", "kept", "params"),
    [
        ("003-13", 0.5, 0.5, 19_614),
        ("003-16", 0.3, 0.343, 19_614),  # 0.7 three times
        ("003-16b", 0.4, 0.216, 20_214),  # 0.6 three times
    ],
)
def test_dropout_too_strong(name: str, strongest: float, kept: float, params: int) -> None:
    """A half in a small net, or what several leave together; all become mild."""
    subject = made_subject(recipe=load(name))
    judgement = judged("RE01", subject)

    assert values(judgement) == [strongest, kept, params]
    assert judgement.severity == "warning"
    assert fixed_net(judgement) == subject.cost.net.replace(f"do{strongest:g}".replace("0.", "."), "do.1")


@pytest.mark.parametrize("name", ["003-14", "003-17", "003-18", "003-19", "004-1", "own/20k-fast", "003-11"])
def test_dropout_that_leaves_enough(name: str) -> None:
    """003-14 leaves 0.75 three times, 0.42; 004-1 has one of 0.3; others have none."""
    assert is_silent("RE01", made_subject(recipe=load(name)))


def test_a_half_before_a_linear_layer_of_a_large_net_is_classic() -> None:
    """Twice, too; before a convolution, or more than a half, it is not."""
    assert is_silent("RE01", made_subject(LARGE.format("do.5")))
    assert is_silent("RE01", made_subject(LARGE.format("do.5 fc64 r do.5")))
    assert values(judged("RE01", made_subject(LARGE.format("do.8"))))[:2] == [0.8, 0.2]
    assert not is_silent("RE01", made_subject(LARGE.replace("m2 c64", "m2 sdo.5 c64").format("")))


def test_many_mild_dropouts_are_taken_out() -> None:
    """Eleven of 0.1 leave 0.31, so milder than mild is none."""
    judgement = judged("RE01", made_subject("c8 r 11(c8p1 r do.1) gap flat fc10"))

    assert values(judgement) == [0.1, 0.314, 6_594]
    assert fixed_net(judgement) == "c8 r 11(c8p1 r) gap flat fc10"


@pytest.mark.parametrize(
    ("text", "change", "where"),
    [
        ("c8 bn r gap flat fc10 do.3", "c8 bn r gap flat fc10", "dropout on the logits"),
        ("c8 bn r gap flat fc10 do.3 ls", "c8 bn r gap flat fc10 ls", "dropout on the logits"),
        ("do.2 c8 bn r gap flat fc10", "c8 bn r gap flat fc10", "dropout on the image"),
        ("c8 sdo.2 bn r gap flat fc10", "c8 bn r gap flat fc10", "dropout before batch norm"),
        ("c8 r do.2 m2 bn c8 r do.2 gap flat fc10", "c8 r m2 bn c8 r do.2 gap flat fc10", "dropout before batch norm"),
        (
            "c8 r 2(do.2 c8p1 r) do.2 bn gap flat fc10",
            "c8 r do.2 c8p1 r do.2 c8p1 r bn gap flat fc10",
            "dropout before batch norm",
        ),
    ],
)
def test_dropout_in_the_wrong_place(text: str, change: str, where: str) -> None:
    """It is taken out there, and stays where it may stand."""
    judgement = judged("RE02", made_subject(text))

    assert (judgement.severity, judgement.evidence[0].what) == ("warning", where)
    assert fixed_net(judgement) == change


@pytest.mark.parametrize(
    "text",
    [
        "c8 bn r do.2 c8 bn r gap flat do.2 fc10",  # a convolution before the next batch norm
        "flat do.2 fc300 r fc10",  # a little of the image, for linear layers
        "do0 c8 do0 bn r gap flat fc10 do0",
        "c8 r +(do.2 c8p1) bn gap flat fc10",
    ],
)
def test_dropout_where_it_may_stand(text: str) -> None:
    """Behind activations, and none at all anywhere."""
    assert is_silent("RE02", made_subject(text))


def test_weak_dropout_in_the_wrong_place_is_a_note() -> None:
    """A twentieth shifts next to nothing."""
    judgement = judged("RE02", made_subject("c8 do.05 bn r gap flat fc10"))

    assert judgement.severity == "note"


def test_dropout_in_a_short_training() -> None:
    """Step 003-14: 20 epochs of 49 steps, with a quarter dropped three times; a note."""
    subject = made_subject(recipe=load("003-14"))
    judgement = judged("RE03", subject)

    assert values(judgement) == [980, 0.25]
    assert judgement.severity == "note"
    assert fixed_net(judgement) == subject.cost.net.replace(" do.25", "")


def test_dropout_has_time_in_a_long_training() -> None:
    """860 steps an epoch of 64 images: two epochs are enough; less than a quarter slows little."""
    text = "c8 bn r m2 do{} c16 bn r m2 flat fc10"

    assert is_silent("RE03", made_subject(text.format(".25"), ["train.epochs=2"]))
    assert not is_silent("RE03", made_subject(text.format(".25"), ["train.epochs=1"]))
    assert is_silent("RE03", made_subject(text.format(".2"), ["train.epochs=1"]))
