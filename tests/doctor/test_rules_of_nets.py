"""What the rules of nets say, of nets whose numbers can be counted by hand, and of random ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_subjects import made_subject
from recomputed import names_of_subject, recompute
from torch import nn

from flyweight.data.facts import DataFacts
from flyweight.doctor.finding import Judgement
from flyweight.doctor.rules import dropout, learning_rate, net_layers, net_maps, net_widths
from flyweight.doctor.subject import Subject
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.model.spec import Net
from flyweight.model.trace import trace
from flyweight.recipe import ModelSection, Recipe, load, names, override, own_names

sys.path.append(str(Path(__file__).parent.parent / "model"))  # where nets are drawn
from random_nets import fits, nets

NETS = sorted((*net_layers.RULES, *net_maps.RULES, *net_widths.RULES), key=lambda rule: rule.code)
RULES = {rule.code: rule for rule in (*NETS, *dropout.RULES)}
ALL = sorted(RULES)
DOCUMENTS = [name for name in names() if not name.startswith("own/")]

# Known designs in small, none of which has a fault that a rule may call an alarm.
HEALTHY = {
    "LeNet with batch norm": "c6/5p2 bn r a2 c16/5 bn r a2 flat fc120 bn r fc84 bn r fc10",
    "LeNet in small": "c8/5 r m2 c16/5 r m2 flat fc10",
    "two stages": "c8 bn r m2 c16 bn r m2 flat fc10",
    "tutorial": "c32p1nb bn r c32p1nb bn r m2 c64p1nb bn r c64p1nb bn r m2 flat fc128 r do.5 fc10",
    "residual": "c16p1nb bn r 3(+(c16p1nb bn r c16p1nb bn) r) +(c32s2p1nb bn r c32p1nb bn | c32/1s2nb bn) r "
    "2(+(c32p1nb bn r c32p1nb bn) r) gap flat fc10",
    "bottleneck blocks": "c64p1s2nb bn r 2(+(c16/1nb bn r c16p1nb bn r c64/1nb bn) r) m2 c64nb bn r gap flat fc10",
    "inverted residual": "c16p1s2nb bn r6 dwp1nb bn r6 c8/1nb bn c48/1nb bn r6 dwp1s2nb bn r6 c12/1nb bn "
    "+(c72/1nb bn r6 dwp1nb bn r6 c12/1nb bn) c64/1nb bn r6 dwp1s2 bn r6 gap flat fc10",
    "separable": "c12nb m2 bn r dwp1nb c20/1nb bn r dwp1nb c24/1nb bn r m2 dwp1nb c28/1nb bn r gap flat fc10",
    "squeeze": "c16nb bn r m2 c8/1nb bn r c32p1nb bn r c8/1nb bn r c32p1nb bn r m2 c48nb bn r gap flat fc10",
    "class maps": "c16nb bn r c16nb m2 bn r c24nb bn r c24nb m2 bn r c32nb bn r c10/1 gap flat",
    "linear layers": "flat fc300 r fc100 r fc10",
    "logits alone": "flat fc10",
}


def judged(code: str, subject: Subject) -> Judgement:
    judgement = RULES[code].judge(subject)
    assert judgement is not None, f"{code} is silent about {subject.cost.net}"
    return judgement


def is_silent(code: str, subject: Subject) -> bool:
    return RULES[code].judge(subject) is None


def said(subject: Subject) -> dict[str, Judgement]:
    return {code: judgement for code, rule in sorted(RULES.items()) if (judgement := rule.judge(subject)) is not None}


def values(judgement: Judgement) -> list[object]:
    return [one.value for one in judgement.evidence]


def fixed_net(judgement: Judgement) -> str:
    assert judgement.remedy is not None
    (change,) = judgement.remedy.changes
    assert change.startswith("model.net=")
    return change.removeprefix("model.net=")


def fixed(subject: Subject, judgement: Judgement) -> Subject:
    assert judgement.remedy is not None
    return made_subject(recipe=subject.recipe, overrides=judgement.remedy.changes, data=subject.data)


def traced(module: nn.Module) -> Subject:
    subject = made_subject()
    recipe = override(subject.recipe, ["model.net=nets:Own"])
    return replace(subject, recipe=recipe, cost=trace(module))


# What holds of every rule


@pytest.mark.parametrize("code", ALL)
def test_an_explanation_is_three_sentences_without_figures(code: str) -> None:
    """A learner gets what it is, what it does, what helps; numbers of a run are evidence, not explanation."""
    rule = RULES[code]

    assert len(re.findall(r"[.!?](?: |$)", rule.explanation)) == 3
    assert not re.search(r"\d", rule.explanation.replace("1x1", ""))
    assert rule.needs == ()


def test_codes_are_in_order_and_no_two_are_equal() -> None:
    """A code is a name; NE13 and NE16 are of no rule."""
    codes = [rule.code for rule in NETS]

    assert codes == [f"NE{number:02}" for number in range(1, 16) if number != 13]
    assert [rule.code for rule in dropout.RULES] == ["RE01", "RE02", "RE03"]


def test_every_number_of_the_documents_recomputes_and_every_remedy_counts() -> None:
    """Over all packaged recipes: a source gives its value; a remedy is another net with the same classes."""
    n_evidence = n_remedies = 0
    for name in names():
        subject = made_subject(recipe=load(name))
        for judgement in said(subject).values():
            n_evidence += check_evidence(subject, judgement)
            n_remedies += check_remedy(subject, judgement)

    assert len(names()) == 59
    assert n_evidence > 300
    assert n_remedies > 90


def check_evidence(subject: Subject, judgement: Judgement) -> int:
    assert judgement.evidence
    for one in judgement.evidence:
        assert recompute(one.source, names_of_subject(subject)) == one.value, one
    return len(judgement.evidence)


def check_remedy(subject: Subject, judgement: Judgement) -> bool:
    if judgement.remedy is None:
        assert judgement.advice
        return False
    before, after = subject.cost, count(fixed_net(judgement), subject.data.shape)
    limit = subject.recipe.budget.params
    assert after.net != before.net
    assert after.out_shape == before.out_shape
    assert limit is None or after.params <= limit
    return True


@st.composite
def cases(draw: st.DrawFn) -> Subject:
    """A random net on an image that it takes, with or without a tight budget."""
    drawn, image = draw(nets())
    return case_of(drawn, image, draw(st.sampled_from([None, 0.7, 1.0, 1.1])))


CONVOLUTION = st.sampled_from(["c3", "c8", "c8p1", "c16", "c16p1", "c32/5", "c2", "c12/1", "dwp1", "c12s2p1", "c8p1nb"])
TAIL = st.lists(st.sampled_from(["bn", "r", "sigmoid", "m2", "m3", "a2", "do.2", "do.5", "m3s2p1"]), max_size=4)
HEADS = [
    "gap flat fc10",
    "flat fc10",
    "flat fc64 r fc10",
    "m2 flat fc10 ls",
    "flat fc10 r",
    "c10/1 gap flat",
    "gmp flat fc10",
]


@st.composite
def cases_of_stages(draw: st.DrawFn) -> Subject:
    """Nets as people write them, with most faults there are: stages of a convolution and what follows it."""
    words = [word for _ in range(draw(st.integers(1, 6))) for word in (draw(CONVOLUTION), *draw(TAIL))]
    text = " ".join([*words, draw(st.sampled_from(HEADS))])
    while not fits(list(parse_net(text).nodes), (1, 28, 28)):
        text = text.partition(" ")[2]  # without its first layers any of these fits
    return case_of(text, (1, 28, 28), draw(st.sampled_from([None, None, 1.0, 1.2])))


def case_of(drawn: Net | str, image: tuple[int, ...], budget: float | None) -> Subject:
    cost = count(drawn, image)
    limit = [] if budget is None or not cost.params else [f"budget.params={max(int(budget * cost.params), 1)}"]
    recipe = override(Recipe(name="drawn", model=ModelSection(net=str(drawn))), limit)
    shape = (image[0], image[1], image[2])
    data = DataFacts(n_train=6_000, n_validation=1_000, n_classes=cost.out_shape[0], shape=shape)
    return made_subject(recipe=recipe, data=data)


@given(cases() | cases_of_stages())
def test_no_rule_fails_and_what_it_says_recomputes(subject: Subject) -> None:
    """Whatever the net, a judgement has evidence that recomputes, and a remedy that counts, or advice."""
    for judgement in said(subject).values():
        check_evidence(subject, judgement)
        check_remedy(subject, judgement)


@given(cases() | cases_of_stages())
def test_a_remedy_applied_again_and_again_comes_to_an_end(subject: Subject) -> None:
    """Each rule is silent, or has no remedy left, after a few of its own remedies; no net comes twice."""
    for code in ALL:
        for _ in own_remedies(code, subject):
            pass


def own_remedies(code: str, subject: Subject, most: int = 20) -> Iterator[Subject]:
    seen = {subject.cost.net}
    for _ in range(most):
        judgement = RULES[code].judge(subject)
        if judgement is None or judgement.remedy is None:
            return
        subject = fixed(subject, judgement)
        assert subject.cost.net not in seen
        seen.add(subject.cost.net)
        yield subject
    raise AssertionError(f"{code} never comes to an end: {seen}")


@given(cases_of_stages())
def test_all_remedies_together_come_to_an_end(subject: Subject) -> None:
    """Fixing the first finding, then the first of what is found then, and so on, never comes back to a net."""
    seen = {subject.cost.net}
    for _ in range(60):
        open_ones = [judgement for judgement in said(subject).values() if judgement.remedy is not None]
        if not open_ones:
            return
        subject = fixed(subject, open_ones[0])
        assert subject.cost.net not in seen, seen
        seen.add(subject.cost.net)

    raise AssertionError(f"fixing never comes to an end: {seen}")


# Who is well


@pytest.mark.parametrize("name", own_names())
def test_our_own_recipes_are_without_a_finding(name: str) -> None:
    """Nothing is said of them, not even a note."""
    assert said(made_subject(recipe=load(name))) == {}


@pytest.mark.parametrize("text", HEALTHY.values(), ids=HEALTHY.keys())
def test_a_healthy_design_raises_no_alarm(text: str) -> None:
    """Known designs get at most a note."""
    found = said(made_subject(text, ["train.epochs=5"]))

    assert {code: one.severity for code, one in found.items() if one.severity != "note"} == {}


def test_the_corpus_is_there() -> None:
    """What was walked above are four recipes of our own, the steps of five documents, twelve designs."""
    assert (len(own_names()), len(DOCUMENTS), len(HEALTHY)) == (5, 54, 12)


# Each rule


def test_batch_norm_is_missed_in_four_convolutions_and_not_in_three() -> None:
    """Depth is what needs it; the answering layer keeps its bias and gets none."""
    judgement = judged("NE01", made_subject("c8p1 r m2 2(c8p1 r) m2 c8p1 r flat fc10"))

    assert values(judgement) == [4, 5, 0]
    assert fixed_net(judgement) == "c8p1nb bn r m2 2(c8p1nb bn r) m2 c8p1nb bn r flat fc10"
    assert is_silent("NE01", made_subject("c8p1 r m2 2(c8p1 r) m2 flat fc10"))
    assert is_silent("NE01", made_subject("c8p1 r m2 2(c8p1 r) m2 c8p1 bn r flat fc10"))


def test_batch_norm_without_trained_values_where_the_budget_is_short() -> None:
    """c8 and three c8p1 have 32 biases and would have 64 values of batch norm: 32 more than there is room for."""
    text = "c8 r m2 3(c8p1 r) gap flat fc10"
    params = count(text).params

    tight = judged("NE01", made_subject(text, [f"budget.params={params + 31}"]))
    roomy = judged("NE01", made_subject(text, [f"budget.params={params + 32}"]))

    assert fixed_net(roomy) == "c8nb bn r m2 3(c8p1nb bn r) gap flat fc10"
    assert fixed_net(tight) == "c8nb bn0 r m2 3(c8p1nb bn0 r) gap flat fc10"


def test_class_maps_are_not_normalised() -> None:
    """The last layer's answers are scores, not a signal for another layer."""
    judgement = judged("NE01", made_subject("3(c8p1 r) m2 c10/1 gap flat"))

    assert fixed_net(judgement) == "3(c8p1nb bn r) m2 c10/1 gap flat"


def test_a_bias_before_batch_norm_is_wasted_also_through_a_pool() -> None:
    """One value for each of 8 + 8 + 8 channels; the biases of conv4 and linear1 count."""
    judgement = judged("NE02", made_subject("c8 m2 bn r 2(c8p1 bn r) c8p1 r gap flat fc10"))

    assert values(judgement)[0] == 24
    assert fixed_net(judgement) == "c8nb m2 bn r 2(c8p1nb bn r) c8p1 r gap flat fc10"


def test_a_bias_that_something_else_reads_is_not_wasted() -> None:
    """Around a residual, behind an activation, and where an average has zeros in it, the bias is seen."""
    assert is_silent("NE02", made_subject("c8p1 +(bn r c8p1nb) gap flat fc10"))
    assert is_silent("NE02", made_subject("c8 r bn c8 do.1 bn gap flat fc10"))
    assert is_silent("NE02", made_subject("c8 a3s2p1 bn r gap flat fc10"))
    assert not is_silent("NE02", made_subject("c8 a2 bn r gap flat fc10"))


@pytest.mark.parametrize(("text", "severity"), [("c4 bn r m2 c4 bn r gap flat fc10", "warning"), ("003-9", "note")])
def test_a_bias_before_batch_norm_is_an_alarm_only_where_it_costs(text: str, severity: str) -> None:
    """8 of 262 parameters are 3 %; the 112 of step 003-9 are half a percent of 22,410."""
    judgement = judged("NE02", made_subject(recipe=load(text)) if "-" in text else made_subject(text))

    assert judgement.severity == severity


@pytest.mark.parametrize(
    ("name", "params", "share", "places", "severity"),
    [
        ("000-1", 9_690, 0.612, 121, "warning"),  # 10 * (8 * 11 * 11 + 1) of 15,842
        ("001-2", 113_450, 0.867, 81, "warning"),  # 50 * (28 * 9 * 9 + 1) of 130,864
        ("001-5", 19_450, 0.758, 81, "warning"),  # 10 * (24 * 9 * 9 + 1) of 25,674
        ("002-3a", 37_505, 0.61, 9, "note"),  # 65 * (64 * 3 * 3 + 1) of 61,461
        ("004-1", 12_825, 0.663, 16, "note"),  # 25 * (32 * 4 * 4 + 1) of 19,349
    ],
)
def test_a_linear_layer_eats_the_budget(name: str, params: int, share: float, places: int, severity: str) -> None:
    """On a large map it is an alarm; on a small one it is how such nets are built."""
    judgement = judged("NE03", made_subject(recipe=load(name)))

    assert values(judgement) == [params, share, places]
    assert judgement.severity == severity


@pytest.mark.parametrize("name", ["own/20k-fast", "own/8k", "002-1a", "003-1", "003-6", "003-17"])
def test_a_linear_layer_with_the_smaller_part_does_not_eat(name: str) -> None:
    """002-1a: the linear layer has 204,850 of 593,200, a convolution more; 003-1: 4,010 of 12,026."""
    assert is_silent("NE03", made_subject(recipe=load(name)))


def test_a_linear_layer_is_relieved_by_a_pool_or_an_average() -> None:
    """From 9 x 9 a pool leaves 4 x 4; 6 x 6 pooled would be too small, and is averaged where units see enough."""
    large = judged("NE03", made_subject(recipe=load("001-5")))
    seeing = judged("NE03", made_subject("c12/5 bn r m2 c12p1 bn r m2 c24p1 bn r c24p1 bn r flat fc200 r fc10"))

    assert fixed_net(large) == "c16 r c16 r c10 r m2 c10/1 r c24 r m2 flat fc10 ls"
    assert fixed_net(seeing) == "c12/5 bn r m2 c12p1 bn r m2 c24p1 bn r c24p1 bn r gap flat fc200 r fc10"


def test_pooling_at_the_very_end() -> None:
    """Step 002-3a pools 10 x 10 places to 3 x 3 and flattens them; the pool between others would leave 3 x 3, too."""
    judgement = judged("NE04", made_subject(recipe=load("002-3a")))

    assert values(judgement) == [100, 9]
    assert judgement.severity == "warning"
    assert fixed_net(judgement) == "c16 r m2 c32 r m2 c64 r flat fc65 r fc10 ls"
    assert count(fixed_net(judgement)).params == 61_461


@pytest.mark.parametrize(
    "text",
    [
        "c8/5 r m2 c16/5 r m2 flat fc10",  # LeNet: 8 x 8 to 4 x 4
        "c8p1 bn r m2 c16 bn r m2 c16 bn r a4 flat fc10",  # an average over the whole map
        "c8p1 bn r m2 c16 bn r m2 c16 bn r m2 gap flat fc10",
        "c8p1 bn r m2 c16 bn r m4 c16 bn r flat fc10",  # not the end
    ],
)
def test_a_pool_that_leaves_a_map_or_a_head_is_no_pooling_at_the_end(text: str) -> None:
    """What is left must be small, and what follows must be able to tell places apart."""
    assert is_silent("NE04", made_subject(text))


def test_pooling_at_the_end_is_a_note_where_much_is_left() -> None:
    """7 x 7 to 3 x 3 is usual with three padded stages: 9 of 49 places stay, more than one in eight."""
    judgement = judged("NE04", made_subject("c8p1 bn r m2 c16p1 bn r m2 c16p1 bn r m2 flat fc10"))

    assert values(judgement) == [49, 9]
    assert judgement.severity == "note"


def test_a_receptive_field_smaller_than_a_digit() -> None:
    """3 and 3 without a stride see 5 pixels of 28; with pools between and one more, 3 + 1 + 2 * 2 + 2 + 4 * 2 = 18."""
    subject = made_subject("c16nb bn r c24nb bn r gap flat fc10")
    judgement = judged("NE05", subject)

    assert values(judgement) == [5.0, 28]
    assert fixed_net(judgement) == "c16nb bn r m2 c24nb bn r m2 c24nb bn r gap flat fc10"
    assert is_silent("NE05", fixed(subject, judgement))
    assert is_silent("NE05", made_subject("c16nb bn r c24nb bn r flat fc10"))


def test_one_pool_more_is_enough_where_it_stands_early() -> None:
    """Five convolutions see 11 pixels; a pool after the second of them makes that 5 + 1 + 3 * 4 = 18."""
    judgement = judged("NE05", made_subject("5(c16p1nb bn r) gap flat fc10"))

    assert fixed_net(judgement) == " ".join(["c16p1nb bn r"] * 2 + ["m2"] + ["c16p1nb bn r"] * 3 + ["gap flat fc10"])


def test_a_receptive_field_larger_than_the_image_too_early() -> None:
    """Maps of 28, 14, 7, 3, 1, 1: the last three of six see at most 3 x 3."""
    subject = made_subject("3(c8p1nb bn r m2) c8p1nb bn r m3 2(c8p1nb bn r) flat fc10")
    judgement = judged("NE06", subject)

    # 3, +1, +4, +2, +8, +4, +16, +16, +48, +48
    assert values(judgement) == [3, 3, 6, 150.0, 28]
    assert judgement.severity == "warning"
    assert is_silent("NE06", fixed(subject, judgement))
    assert count(fixed_net(judgement)).params == subject.cost.params


def test_a_single_convolution_on_a_small_map_ends_many_good_nets() -> None:
    """own/20k-fast has one on 3 x 3; pointwise ones do not count."""
    assert is_silent("NE06", made_subject("3(c8p1nb bn r m2) c8p1nb bn r c32/1nb bn r c32/1nb bn r flat fc10"))


@pytest.mark.parametrize(
    ("text", "widths", "change"),
    [
        ("c14 r m2 c2 r c16 r flat fc10", [14, 2, 16, 10], "c14 r m2 c14 r c16 r flat fc10"),
        ("c12 r m2 c4 r c14 r flat fc10", [12, 4, 14, 10], "c12 r m2 c12 r c14 r flat fc10"),
        ("c24 r m2 c6 r c24 r flat fc10", [24, 6, 24, 10], "c24 r m2 c24 r c24 r flat fc10"),
        ("c24 r m2 c24 r c2 r gap flat fc10", [24, 2, 10, 10], "c24 r m2 c24 r c10 r gap flat fc10"),
        ("c8 r m4 flat fc64 r fc2 r fc10", [64, 2, 10, 10], "c8 r m4 flat fc64 r fc10 r fc10"),
    ],
)
def test_a_width_bottleneck(text: str, widths: list[int], change: str) -> None:
    """A quarter of both neighbours, or fewer than half as many as classes between some three times as wide."""
    judgement = judged("NE07", made_subject(text))

    assert values(judgement) == widths
    assert fixed_net(judgement) == change


@pytest.mark.parametrize(
    "text",
    [
        "c16 r m2 c5 r c16 r flat fc10",  # a third
        "c24 r m2 c6/1 r c24 r flat fc10",  # pointwise
        "c24 r m2 c24 r c4 r flat fc10",  # 4 channels at 9 x 9 places are 324 values
        "c24p1 r +(c4p1 r c24p1) gap flat fc10",  # the residual carries what does not fit
        "c4 r c24 r flat fc10",  # an image has fewer
    ],
)
def test_narrow_layers_that_lose_nothing(text: str) -> None:
    """Reductions by design, and widths that are enough."""
    assert is_silent("NE07", made_subject(text))


def test_a_bottleneck_is_widened_as_far_as_the_budget_goes() -> None:
    """Each channel between 14 and 16 costs 14 * 9 + 1 + 16 * 9 = 271 parameters."""
    text = "c14 r m2 c2 r c16 r flat fc10"
    params = count(text).params

    some = judged("NE07", made_subject(text, [f"budget.params={params + 5 * 271}"]))
    none = judged("NE07", made_subject(text, [f"budget.params={params}"]))

    assert fixed_net(some) == "c14 r m2 c7 r c16 r flat fc10"
    assert none.remedy is None
    assert none.advice


@pytest.mark.parametrize(
    ("name", "registered", "executed"),
    [("003-17", 21_700, 19_348), ("003-18", 21_700, 19_348), ("004-1", 19_389, 19_349)],
)
def test_layers_registered_and_never_called(name: str, registered: int, executed: int) -> None:
    """The counts of the documents that two counters told differently; the remedy has one count."""
    judgement = judged("NE08", made_subject(recipe=load(name)))
    after = count(fixed_net(judgement))

    assert values(judgement) == [2, registered, executed]
    assert judgement.severity == "warning"
    assert after.params == after.registered_params == executed


def test_idle_layers_without_parameters_are_a_note() -> None:
    """They cost nothing but the reader's time; blocks of nothing else go with them."""
    judgement = judged("NE08", made_subject("c8 r 2(unused(r)) +(unused(r) c8p1) gap flat fc10"))

    assert judgement.severity == "note"
    assert fixed_net(judgement) == "c8 r +(c8p1) gap flat fc10"


def test_a_body_of_nothing_but_idle_layers_is_the_identity() -> None:
    """x + x stays x + x."""
    judgement = judged("NE08", made_subject("c8 r +(unused(c8)) gap flat fc10"))

    assert fixed_net(judgement) == "c8 r +(do0) gap flat fc10"


def test_full_resolution_costs_most_of_the_time() -> None:
    """Step 003-5 on 28 x 28: 9 * 32 * (1 + 32 + 32) * 784 MACs of all, 93 %."""
    subject = made_subject(recipe=load("003-5"))
    judgement = judged("NE09", subject)
    at_full_size = 9 * 32 * (1 + 32 + 32) * 784
    behind = 9 * (32 * 16 * 144 + 16 * 16 * 100 + 16 * 16 * 64) + 10 * 16 * 64

    assert subject.cost.macs == at_full_size + behind
    assert values(judgement) == [3, round(at_full_size / (at_full_size + behind), 3)] == [3, 0.933]
    assert judgement.severity == "warning"
    assert fixed_net(judgement) == "c32p1 r c32p1 r m2 c32p1 r c16 r c16 r c16 r flat fc10 ls"
    assert count(fixed_net(judgement)).params == subject.cost.params


def test_full_resolution_is_a_note_below_four_fifths() -> None:
    """Step 003-1: 26, 24 and 22 of 28 pixels, 78 % of the multiplications."""
    judgement = judged("NE09", made_subject(recipe=load("003-1")))

    assert values(judgement) == [3, 0.777]
    assert judgement.severity == "note"


@pytest.mark.parametrize("name", ["own/20k-fast", "own/25k-one-epoch", "003-2", "003-17"])
def test_a_layer_or_two_at_full_resolution_are_usual(name: str) -> None:
    """003-2: the second 5 x 5 leaves 20 of 28; 003-17: three layers have 60 %."""
    assert is_silent("NE09", made_subject(recipe=load(name)))


def test_two_layers_without_an_activation_between_are_one() -> None:
    """Batch norm is linear, too; the activation comes behind it, and is the net's own."""
    judgement = judged("NE10", made_subject("c8 bn silu m2 c16 bn c16 m2 bn silu flat fc20 fc10"))

    assert values(judgement) == ["c16 bn c16", 5, 2]
    assert fixed_net(judgement) == "c8 bn silu m2 c16 bn silu c16 m2 bn silu flat fc20 silu fc10"


@pytest.mark.parametrize(
    "text",
    [
        "c8 m2 c16 r gap flat fc10",  # a maximum is not linear
        "c8 r dwp1 c16/1 r gap flat fc10",
        "c8 r dwp1 bn c16/1 r gap flat fc10",
        "c8 r c16/1 dwp1 r gap flat fc10",
        "c8 r c6/1 bn c36/1 r gap flat fc10",  # a linear bottleneck
        "c8 r +(c8p1) +(c8p1) r gap flat fc10",
    ],
)
def test_factored_layers_need_no_activation_between(text: str) -> None:
    """Pairs that are one by design, maxima, and what a residual adds to."""
    assert is_silent("NE10", made_subject(text))


def test_no_activation_is_put_on_the_answers() -> None:
    """A shared linear layer that answers cannot have one; advice is all there is."""
    judgement = judged("NE10", made_subject("c8 r m4 flat fc10 r 2@(fc10)"))

    assert judgement.remedy is None
    assert judgement.advice


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if load(name).model.net.endswith(" ls")])
def test_log_softmax_is_harmless_and_said_so(name: str) -> None:
    """A note, and nothing to change."""
    judgement = judged("NE11", made_subject(recipe=load(name)))

    assert values(judgement) == ["ls"]
    assert (judgement.severity, judgement.remedy) == ("note", None)


def test_every_step_of_the_documents_has_a_log_softmax() -> None:
    """The test above ran over all of them."""
    assert all(load(name).model.net.endswith(" ls") for name in DOCUMENTS)


def test_an_activation_on_the_answers_is_taken_away() -> None:
    """Whatever stands between; leaky ones only scale, and behind class maps it belongs to the design."""
    assert fixed_net(judged("NE12", made_subject("c8 r gap flat 2(fc10 r)"))) == "c8 r gap flat fc10 r fc10"
    assert values(judged("NE12", made_subject("c8 r gap flat fc10 bn sigmoid ls"))) == ["fc10 sigmoid"]
    assert is_silent("NE12", made_subject("c8 r gap flat fc10 leaky"))
    assert is_silent("NE12", made_subject("c8 r c10/1 r gap flat"))


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("c8 sigmoid m2 3(c8p1 sigmoid) gap flat fc10", True),
        ("c8 sigmoid m2 2(c8p1 sigmoid) gap flat fc10", False),
        ("c8 tanh m2 5(c8p1 tanh) gap flat fc10", True),
        ("c8 tanh a2 c16 tanh a2 flat fc64 tanh fc32 tanh fc10", False),  # LeNet as it was
        ("c8 bn sigmoid m2 3(c8p1 bn sigmoid) gap flat fc10", False),
    ],
)
def test_saturating_activations(text: str, speaks: bool) -> None:
    """Four sigmoids or six of both kinds, with no norm; they become ReLUs."""
    subject = made_subject(text)

    assert is_silent("NE14", subject) is not speaks
    if speaks:
        assert fixed_net(judged("NE14", subject)) == re.sub("sigmoid|tanh", "r", text)


def test_few_filters_in_the_first_layer() -> None:
    """A note; as many as fit, up to eight."""
    assert fixed_net(judged("NE15", made_subject("c2 r c8 r gap flat fc10"))) == "c8 r c8 r gap flat fc10"
    assert fixed_net(judged("NE15", made_subject("dw r c8 r gap flat fc10"))) == "dw8 r c8 r gap flat fc10"
    assert is_silent("NE15", made_subject("c4 r c8 r gap flat fc10"))


# Somebody's own module: only its rows are known.


def test_of_an_own_module_batch_norm_is_seen() -> None:
    """What the user calls a layer does not matter: the rate is judged as for the same net in notation."""
    own = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10)
    )
    subject = made_subject("c8 bn r m2 flat fc10", ["train.lr=0.4"])

    for rate, is_high in ((4.0, False), (6.0, True)):
        recipe = override(subject.recipe, [f"train.lr={rate * (1 - subject.recipe.train.momentum)}"])
        for cost in (subject.cost, trace(own)):
            judgement = learning_rate.too_high.judge(replace(subject, recipe=recipe, cost=cost))
            assert (judgement is not None) == is_high


class Own(nn.Module):
    """Four convolutions without norm, a linear layer on 14 x 14 places, a layer that forward forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(
                layer
                for first, wide in ((1, 2), (2, 8), (8, 8), (8, 8))
                for layer in (nn.Conv2d(first, wide, 3, padding=1), nn.ReLU())
            ),
            nn.MaxPool2d(2),
        )
        self.forgotten = nn.Linear(5, 5)
        self.head = nn.Linear(8 * 14 * 14, 10)
        self.last = nn.LogSoftmax(1)

    def forward(self, images):
        return self.last(self.head(self.body(images).flatten(1)))


def test_of_an_own_module_what_its_rows_tell_is_judged() -> None:
    """No net text can be proposed, so there is advice; what needs the text is silent."""
    subject = traced(Own())
    found = said(subject)

    assert list(found) == ["NE01", "NE03", "NE08", "NE09", "NE11", "NE15"]
    assert values(found["NE08"]) == [1, subject.cost.params + 30, subject.cost.params]
    assert values(found["NE03"]) == [15_690, round(15_690 / subject.cost.params, 3), 196]
    for judgement in found.values():
        check_evidence(subject, judgement)
        assert judgement.remedy is None
        assert judgement.advice
