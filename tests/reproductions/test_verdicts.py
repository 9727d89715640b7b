"""Verdicts: what is confirmed, what is not, and that the same records always give the same words."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_replays import TEST_COUNTS, TRAIN_COUNTS, diverged, replay

from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.records.results import Split
from flyweight.reproductions.document import Claim, Step, document, documents
from flyweight.reproductions.runs import Replay
from flyweight.reproductions.verdicts import (
    INPUT_SHAPE,
    KINDS,
    agrees,
    best_by_test,
    constant_prediction,
    headline,
    judge,
    judge_claim,
    net_has,
)

COST = count("c8 r gap flat fc10 unused(bn)", INPUT_SHAPE)
STEP = Step(name="003-9", label="a step")
REPORTED = Claim(what="accuracy", reported="99.46 %", mark="stated", on="test", epoch=2, images=10_000)


def verdict(claim: Claim, *replays: Replay, step: Step = STEP, before: tuple[Replay, ...] = ()) -> tuple[str, str]:
    found = judge_claim(claim, step, COST, replays, before)
    return found.kind, found.sentence


def test_a_count_is_held_against_the_layers() -> None:
    """Right, registered instead of used, or wrong by so many."""
    right, registered, wrong = (
        Claim(what="parameters", reported=str(count), mark="stated")
        for count in (COST.params, COST.registered_params, COST.params + 7)
    )

    assert verdict(right) == ("confirmed", f"{COST.params} by counting the layers")
    assert verdict(registered)[0] == "refuted"
    assert "20 more are registered but never used" in verdict(registered)[1]
    assert verdict(wrong) == ("refuted", f"{COST.params} by counting the layers, 7 fewer than reported")


def test_every_wrong_count_of_the_documents_is_refuted() -> None:
    """Three of them, two in the documents themselves; no other count is, nor that of a net that had to be assumed."""
    refuted = {
        one.step.name
        for story in documents()
        for one in judge(story, (), hashes={step.name: "hash" for step in story.all_steps})
        for claim in one.claims
        if claim.claim.what == "parameters" and claim.kind == "refuted"
    }

    assert refuted == {"002-b1", "003-10", "003-13"}


def test_the_count_of_a_net_that_was_chosen_for_it_confirms_nothing() -> None:
    """It is consistent by construction; another count of an assumed net refutes nothing, since other nets give it."""
    found = {
        one.step.name: claim
        for one in judge(document("001"), (), hashes={step.name: "hash" for step in document("001").all_steps})
        for claim in one.claims
        if claim.claim.what == "parameters"
    }

    assert found["001-8"].kind == "consistent by construction"
    assert "chosen to have this count" in found["001-8"].sentence
    assert found["001-10"].kind == "not derivable"
    assert "14-24-56 with 4x4" in found["001-10"].sentence
    for widths, pool in (((14, 24, 56), 4), ((24, 60, 20), 1)):
        first, second, third = widths
        net = f"c{first} bn r c{second} bn r m2 c{third} bn r aap{pool} flat fc10 ls"
        assert count(net, INPUT_SHAPE).params == 24_498


def test_a_claim_that_its_own_output_contradicts_is_refuted_without_any_run() -> None:
    """92.40 % reported as above 95, and 10.44 % reported as about 9.9; the others of that document hold."""
    story = document("002")
    found = [
        (one.step.name, claim.sentence)
        for one in judge(story, (), hashes={step.name: "hash" for step in story.all_steps})
        for claim in one.claims
        if claim.kind == "refuted" and claim.claim.what == "accuracy"
    ]

    assert found == [
        ("002-2b", "the output of the document says 10.44 %"),
        ("002-3b", "the output of the document says 92.40 %"),
    ]


@pytest.mark.parametrize(
    ("said", "net", "holds", "found"),
    [
        ("4 layers", "2(c8 bn r) m2 gap flat fc9 r fc10", True, "2 convolutions and 2 fully connected layers"),
        ("8 layers", "c8 r unused(c8 bn) gap flat fc10", False, "1 convolution and 1 fully connected layer (1 more"),
        ("3 convolutions", "c8 r +(dwp1 c8/1) m2 gap flat fc10", True, "3 convolutions"),
        ("2 max pools", "c8 m2 a2 r gmp flat fc10", True, "2 max pools"),
        ("1 dropout", "c8 2(do.1 r) flat do.1 fc10", False, "3 dropouts"),
        ("dropout 0.1", "c8 do.1 r flat do.10 fc10", True, "dropout 0.1"),
        ("dropout 0.15", "c8 do.1 r flat fc10", False, "dropout 0.1"),
    ],
)
def test_a_property_of_the_net_is_compared_with_its_layers(said: str, net: str, holds: bool, found: str) -> None:
    """Repeats are counted, unused layers are not; a net that had to be assumed refutes nothing."""
    result, words = net_has(said, parse_net(net))

    assert result == holds
    assert words.startswith(found)


def test_what_documents_say_of_their_nets() -> None:
    """Four properties are wrong, and one is of a net that had to be assumed."""
    kinds = {
        (one.step.name, claim.claim.reported): claim.kind
        for story in documents()
        for one in judge(story, (), hashes={step.name: "hash" for step in story.all_steps})
        for claim in one.claims
        if claim.claim.what == "net"
    }

    assert kinds == {
        ("001-10", "3 convolutions"): "not derivable",
        ("003-5", "2 max pools"): "refuted",
        ("003-17", "8 layers"): "refuted",
        ("003-17", "dropout 0.15"): "refuted",
        ("003-17", "1 dropout"): "refuted",
    }


def test_a_rounder_figure_that_a_more_exact_one_of_the_document_contradicts_is_refuted() -> None:
    """The other way round it is not: "above 99.4 %" says nothing against 99.17 %."""
    exact = replace(REPORTED, reported="99.17 %", on="train")
    above = replace(exact, reported="above 99.4 %")
    step = replace(STEP, claims=(exact, above))

    assert verdict(above, step=step) == ("refuted", "the document itself also says 99.17 %")
    assert verdict(exact, step=step)[0] == "not run"
    assert verdict(replace(above, reported="above 99 %"), step=step)[0] == "not run"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0.990, 0.991, 0.992), (0.9905, 0.991, 0.9915), "confirmed"),  # the errors are 0.9 points
        ((0.970, 0.991, 0.998), (0.985, 0.991, 0.995), "not contradicted"),
        ((0.80, 0.99, 0.995), (0.985, 0.991, 0.995), "undecided"),
        ((0.980, 0.981, 0.982), (0.990, 0.991, 0.992), "not reproduced"),
    ],
)
def test_unchanged_is_confirmed_only_where_a_change_would_have_shown(
    before: tuple[float, ...], after: tuple[float, ...], expected: str
) -> None:
    """A change of half the errors of the step before must lie outside the interval of the difference."""
    claim = Claim(what="outcome", reported="unchanged", mark="stated", epoch=1)
    kind, sentence = verdict(
        claim,
        *(replay([value], seed=seed) for seed, value in enumerate(after)),
        before=tuple(replay([value], seed=seed) for seed, value in enumerate(before)),
    )

    assert kind == expected
    assert ("would show" in sentence) == (expected == "not contradicted")


@pytest.mark.parametrize(("percent", "answer", "correct"), [(9.87, 0, 5923), (10.44, 7, 6265), (11.24, 1, 6742)])
def test_constant_predictions_are_known(percent: float, answer: int, correct: int) -> None:
    """The three figures of the documents are the shares of three classes among the training images."""
    assert constant_prediction(correct, TRAIN_COUNTS) == answer
    assert round(100 * correct / sum(TRAIN_COUNTS), 2) == percent
    assert constant_prediction(correct + 4, TRAIN_COUNTS) is None


def test_a_net_without_numbers_answers_zero_to_every_image() -> None:
    """So 9.87 % of the training images is what divergence gives, and 12.34 % is not."""
    claim = replace(REPORTED, reported="9.87 %", epoch=1, images=60_000, correct=5923)
    other = replace(claim, reported="12.34 %", correct=7404)
    loss = Claim(what="loss", reported="not a number", mark="source", on="test", epoch=1)

    assert verdict(claim, diverged(), diverged(seed=1))[0] == "confirmed"
    assert "5,923 of 60,000 = 9.87 %" in verdict(claim, diverged())[1]
    assert verdict(other, diverged(), diverged(seed=1))[0] == "not reproduced"
    assert verdict(loss, diverged())[0] == "confirmed"
    assert verdict(loss, replay([0.9]), replay([0.9], seed=1))[0] == "not reproduced"


def test_a_collapse_is_confirmed_by_a_collapse_to_any_class() -> None:
    """Which class it falls to is chance; that it falls is the claim."""
    claim = replace(REPORTED, reported="10.44 %", epoch=1, images=60_000, correct=6265)
    fallen = replay([5851 / 60_000], images=60_000, counts=TRAIN_COUNTS)
    standing = replay([0.9], images=60_000, counts=TRAIN_COUNTS)

    assert verdict(claim, fallen, standing)[0] == "confirmed"
    assert (
        "prediction 7 for every image; 1 of 2 seeds ended with a constant prediction: 8"
        in verdict(claim, fallen, standing)[1]
    )
    assert verdict(claim, standing, replace(standing, seed=1))[0] == "not reproduced"
    assert verdict(claim, diverged())[0] == "undecided"  # a net of NaN has no loss, and the document's had one
    assert verdict(claim, diverged(), diverged(seed=1))[0] == "not reproduced"


@pytest.mark.parametrize(("mean", "sd"), [(0.9, 0.01), (0.99, 0.0005), (0.5, 0.05)])
@pytest.mark.parametrize("on", ["test", "train"])
def test_a_figure_of_the_same_process_is_inside_19_times_of_20(mean: float, sd: float, on: Split) -> None:
    """Three seeds and a claim drawn alike, 2,000 times: the range holds what it promises, and is not just wide.

    Also where the images' noise (0.1 points at 99 %) is larger than the spread of the seeds: they share the images.
    """
    draw = random.Random(0)

    def accuracy() -> float:
        return draw.gauss(mean, sd)

    kinds = []
    for _ in range(2000):
        reported = Claim(what="accuracy", reported=f"{100 * accuracy():.3f} %", mark="stated", on=on, epoch=1)
        kinds.append(verdict(reported, *(replay([accuracy()], seed=seed) for seed in range(3)))[0])

    outside = kinds.count("not reproduced") / len(kinds)
    assert 0.035 <= outside <= 0.065
    assert set(kinds) <= {"confirmed", "not contradicted", "not reproduced"}


def test_what_could_hardly_have_failed_is_not_confirmed() -> None:
    """Above 95 % by a mean below it; a loss judged by a range from 0 to a multiple of it."""
    above = Claim(what="accuracy", reported="above 95 %", mark="stated", on="test", epoch=1)
    loss = Claim(what="loss", reported="0.0274", mark="source", on="test", epoch=1)
    accuracies = [replay([one], seed=seed) for seed, one in enumerate((0.9465, 0.9405, 0.9520))]
    losses = [replay([0.99], seed=seed, loss=one) for seed, one in enumerate((0.01, 0.5, 0.1))]

    kind, sentence = verdict(above, *accuracies)

    assert kind == "not contradicted"
    assert sentence.endswith("only a deviation of more than 2.86 points would show")
    assert verdict(loss, *losses)[0] == "not contradicted"
    assert verdict(above, *(replay([one], seed=seed) for seed, one in enumerate((0.96, 0.961))))[0] == "confirmed"
    near = [replay([0.99], seed=seed, loss=one) for seed, one in enumerate((0.0273, 0.0276, 0.0275))]
    assert verdict(loss, *near)[0] == "confirmed"


@given(st.floats(0.3, 0.97), st.integers(3, 6))
def test_a_figure_far_away_is_not_reproduced(mean: float, n: int) -> None:
    """Whatever the level and however many seeds: two points off where they agree within a tenth."""
    near = [replay([mean + 0.0005 * seed], seed=seed) for seed in range(n)]
    reported = Claim(what="accuracy", reported=f"{100 * mean + 2.5:.2f} %", mark="stated", on="test", epoch=1)

    kind, sentence = verdict(reported, *near)

    assert kind == "not reproduced"
    assert sentence.startswith("less than reported: ")


def test_a_figure_that_hangs_on_what_is_not_told_cannot_be_derived() -> None:
    """The same replays give another verdict where the net had to be assumed, and say so."""
    assumed = replace(STEP, marks={"model.net": "assumed", "train.gamma": "assumed"})
    runs = [replay([0.9, 0.91], seed=seed) for seed in range(3)]

    assert verdict(REPORTED, *runs)[0] == "not reproduced"
    kind, sentence = verdict(REPORTED, *runs, step=assumed)
    assert kind == "not derivable"
    assert sentence.endswith("; the document does not say model.net")


def test_the_best_epoch_by_test_is_compared_with_the_best() -> None:
    """A figure that was picked is held against figures picked alike, else against its own epoch."""
    run = replay([0.9946, 0.9000, 0.9001])
    picked = replace(REPORTED, is_best=True, epoch=3)

    best = best_by_test(run)
    assert best is not None
    assert best.epoch == 1
    assert verdict(picked, run)[0] == "confirmed"
    assert verdict(replace(REPORTED, epoch=3), run, replace(run, seed=1))[0] == "not reproduced"


def test_one_seed_refuses_nothing() -> None:
    """Its spread is unknown: what lies inside the noise of its images is confirmed, and nothing else is decided."""
    inside, outside = verdict(REPORTED, replay([0.9, 0.9943])), verdict(REPORTED, replay([0.9, 0.98]))

    assert inside == (
        "confirmed",
        "replayed 99.43 % by one seed; 95 % sampling error of the images: 99.22 % to 99.64 %",
    )
    assert outside[0] == "undecided"
    several = verdict(REPORTED, *(replay([0.9, 0.994 + 0.0005 * seed], seed=seed) for seed in range(3)))
    assert several[1].startswith("replayed 99.45 ± 0.05 % by 3 seeds; 95 % of further runs: ")
    assert outside[1].startswith("less than reported: replayed 98.00 % by one seed")


def test_outcomes_are_how_the_seeds_ended() -> None:
    """Diverged and collapsed seeds have not converged; all must have learnt to have converged."""
    diverges = Claim(what="outcome", reported="diverges", mark="stated")
    converges = Claim(what="outcome", reported="converges", mark="stated")
    unchanged = Claim(what="outcome", reported="unchanged", mark="stated")
    learnt = [replay([0.93 + 0.002 * seed], seed=seed) for seed in range(3)]
    better = [replay([0.97 + 0.002 * seed], seed=seed) for seed in range(3)]

    assert verdict(diverges, diverged(), diverged(seed=1)) == ("confirmed", "2 of 2 seeds diverged")
    assert verdict(diverges, *learnt)[0] == "not reproduced"
    assert verdict(diverges, learnt[0])[0] == "undecided"
    assert verdict(converges, *learnt)[0] == "confirmed"
    assert verdict(converges, *learnt, diverged(seed=3))[0] == "not reproduced"
    assert verdict(unchanged, *learnt, before=tuple(learnt))[0] == "confirmed"
    assert verdict(unchanged, *better, before=tuple(learnt))[0] == "not reproduced"
    scattered = [replay([0.4]), replay([0.9], seed=1), replay([0.95], seed=2)]
    assert verdict(unchanged, *scattered, before=tuple(learnt))[0] == "undecided"
    assert verdict(unchanged, *learnt)[0] == "not run"


@pytest.mark.parametrize(
    ("reported", "value", "expected"),
    [
        ("95.68 %", 0.95684, True),
        ("95.68 %", 0.95690, False),
        ("about 9.9 %", 0.0987, True),
        ("about 9.9 %", 0.1044, False),
        ("above 95 %", 0.95, False),
        ("above 95 %", 0.9501, True),
        ("0.0023", 0.00234, True),
    ],
)
def test_words_agree_with_figures_to_their_last_digit(reported: str, value: float, expected: bool) -> None:
    """Half a digit for a plain figure, a whole one for about, a side for above."""
    assert agrees(Claim(what="accuracy", reported=reported, mark="stated"), value) is expected


def test_the_same_records_give_the_same_verdicts_in_any_order() -> None:
    """A verdict is a function of claims and records; every kind of it is one of five."""
    story = document("003")
    hashes = {step.name: "hash" for step in story.all_steps}
    runs = [
        replay([0.9 + 0.0004 * seed] * step.recipe.train.epochs, step=step.name, seed=seed)
        for step in story.steps
        for seed in range(2)
    ]

    once = judge(story, runs, hashes=hashes)
    again = judge(story, runs[::-1], hashes=hashes)

    assert [one.claims for one in once] == [one.claims for one in again]
    assert len(once) == 21
    assert sum(len(one.claims) for one in once) == 115
    assert {claim.kind for one in once for claim in one.claims} <= set(KINDS)
    assert all(one.clean is not None and one.clean.n == 2 for one in once[:18])


def test_runs_of_another_recipe_are_not_counted() -> None:
    """A step that was changed since is not judged by what it was before."""
    story = document("004")
    stale = replay([0.99] * 20, step="004-1", recipe_hash="older")

    (found,) = judge(story, [stale], hashes={"004-1": "newer", "004-2": "other"})[:1]

    assert found.replays == ()
    assert {claim.kind for claim in found.claims} == {"confirmed", "not run"}


def test_a_step_is_known_by_the_figure_that_was_picked() -> None:
    """Its best test accuracy, else the last one reported, else how it ended."""
    claims = {step.name: headline(step.claims) for story in documents() for step in story.steps}

    assert claims["003-17"] is not None
    assert (claims["003-17"].reported, claims["003-17"].is_best) == ("99.49 %", True)
    assert claims["000-1"] is not None
    assert claims["000-1"].reported == "diverges"
    assert claims["002-3b"] is not None
    assert claims["002-3b"].reported == "92.40 %"
    assert None not in claims.values()
    assert len(claims) == 48
    assert TEST_COUNTS[1] == 1135
