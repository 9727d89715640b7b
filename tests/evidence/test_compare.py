"""Two results held against each other, from rows and folders on record."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from recorded import BASE, N_TEST, hash_of, record_seeds, rights
from scipy import stats

from flyweight.errors import UsageError
from flyweight.evidence.ablation import ablation_path
from flyweight.evidence.compare import compare
from flyweight.evidence.groups import groups
from flyweight.recipe import Recipe, diff, factor, override
from flyweight.records.store import Store

GOOD, BETTER = [980, 981, 979, 980, 982], [990, 991, 989, 990, 992]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path)


def result(store: Store, *changes: str):
    (found,) = groups(store.runs(recipe_hash=hash_of(*changes)))
    return found


def compared(store: Store, *changes: str, **options):
    return compare(store, result(store), result(store, *changes), **options)


def test_a_clear_effect_is_better_with_the_figures_of_scipy(store):
    """Effect, interval and p are those of Welch's test, and the verdict says them."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    welch = stats.ttest_ind([n / 1000 for n in BETTER], [n / 1000 for n in GOOD], equal_var=False)
    assert found.effect.effect == pytest.approx(0.010)
    assert found.effect.p == pytest.approx(welch.pvalue)
    assert (found.effect.low, found.effect.high) == pytest.approx(tuple(welch.confidence_interval()))
    assert found.verdict.kind == "better"
    assert found.verdict.sentence.startswith("better: +1.00 points (95% interval +0.8")
    assert found.is_settled
    assert [(change.key, change.old, change.new) for change in found.changes] == [("train.lr", 0.1, 0.2)]


def test_the_other_way_round_it_is_worse(store):
    """A comparison is antisymmetric: effect and interval change their sign, p stays."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")

    one = compare(store, result(store), result(store, "train.lr=0.2"))
    other = compare(store, result(store, "train.lr=0.2"), result(store))

    assert other.verdict.kind == "worse"
    assert other.effect.effect == pytest.approx(-one.effect.effect)
    assert (other.effect.low, other.effect.high) == pytest.approx((-one.effect.high, -one.effect.low))
    assert other.effect.p == pytest.approx(one.effect.p)
    assert (other.images.gained, other.images.lost) == (one.images.lost, one.images.gained)


def test_no_evidence_says_what_the_seeds_can_show(store):
    """And how many would show half of that."""
    record_seeds(store, [980, 990, 985])
    record_seeds(store, [981, 991, 986], "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    assert found.verdict.kind == "no evidence"
    assert f"n = 3 seeds can show {100 * found.outlook.shows:.2f} points" in found.verdict.sentence
    assert found.outlook.more > 3
    assert found.outlook.more_shows <= found.outlook.shows / 2
    assert not found.is_settled


def test_one_seed_each_reports_of_two_nets_only(store):
    """The exact McNemar test is named, and nothing is claimed over seeds however great the effect."""
    record_seeds(store, [900])
    record_seeds(store, [990], "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    assert found.verdict.kind == "one seed"
    assert found.effect.p is None
    assert "these two nets differ on these images (exact McNemar test" in found.verdict.sentence
    assert found.images.mcnemar.only_b - found.images.mcnemar.only_a == 90
    assert found.permutation is None
    assert not found.is_settled


def test_one_seed_against_many_is_no_verdict_either(store):
    """The spread of one side is not known."""
    record_seeds(store, GOOD)
    record_seeds(store, [900], "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    assert found.verdict.kind == "one seed"
    assert "5 and 1 seeds" in found.verdict.sentence


def test_several_changes_are_confounded_and_have_an_ablation_path(store):
    """The recipes between change one factor a step, and together make the whole way."""
    changes = ("train.lr=0.2", "train.epochs=6", "augment.rotate=7.0", "train.schedule=step", "train.gamma=0.5")
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, *changes)

    found = compared(store, *changes)

    assert found.verdict.kind == "confounded"
    assert found.verdict.sentence.startswith("confounded: rotate, epochs, lr and schedule changed together")
    ends = [Recipe.model_validate(group.first.recipe) for group in (found.baseline, found.changed)]
    way = [ends[0], *found.ablation_path, ends[1]]
    steps = [{factor(change.key) for change in diff(old, new)} for old, new in pairwise(way)]
    assert [len(step) for step in steps] == [1, 1, 1, 1]
    assert set().union(*steps) == {"lr", "epochs", "rotate", "schedule"}
    assert len({bridge.name for bridge in found.ablation_path}) == 3


def test_a_recipe_of_the_path_that_would_be_none_is_left_out():
    """From a crop of 30 in 32 pixels to one of 24 in 28 there is no way over a crop of 30 in 28."""
    old = override(BASE, ["data.resize=32", "augment.crop_size=30", "augment.crop_probability=0.5"])
    new = override(old, ["data.resize=28", "augment.crop_size=24"])

    assert ablation_path(new.model_dump(), diff(old, new)) == ()


def test_a_change_without_effect_confounds_nothing(store):
    """A budget or the size of an evaluation batch is reported and blamed for nothing."""
    changes = ("train.lr=0.2", "budget.params=20k", "train.eval_batch_size=500")
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, *changes)

    found = compared(store, *changes)

    assert len(found.changes) == 3
    assert found.verdict.kind == "better"
    assert found.ablation_path == ()


def test_images_are_counted_by_the_predictions_of_the_runs(store):
    """Gained and lost are those that most seeds of one side alone read."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    ours = np.mean([rights(correct, N_TEST, seed) for seed, correct in enumerate(GOOD)], axis=0)
    theirs = np.mean([rights(correct, N_TEST, seed) for seed, correct in enumerate(BETTER)], axis=0)
    gained = np.flatnonzero((theirs > 0.5) & (ours < 0.5))
    assert found.images.gained == len(gained) > 0
    assert {one.index for one in found.images.differing if one.changed > one.baseline} == set(gained.tolist())
    for one in found.images.differing:
        assert (one.baseline, one.changed) == (ours[one.index], theirs[one.index])
        assert one.label == one.index % 10
    assert found.images.bootstrap.low < found.effect.effect < found.images.bootstrap.high


def test_without_predictions_the_seeds_still_speak(store):
    """What cannot be reported is named with the folder that is not there."""
    record_seeds(store, GOOD, with_files=False)
    record_seeds(store, BETTER, "train.lr=0.2")

    found = compared(store, "train.lr=0.2")

    assert found.verdict.kind == "better"
    assert found.images is None
    (caveat,) = [caveat for caveat in found.caveats if "has no predictions" in caveat]
    assert "the effect over seeds needs none" in caveat


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_damaged_predictions_are_reported_not_trusted(store, content):
    """An empty, a foreign and a cut-off file alike."""
    runs = record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")
    (store.folder(runs[0].id).path / "predictions.npz").write_bytes(content)

    found = compared(store, "train.lr=0.2")

    assert found.images is None
    assert any("must hold a row of probabilities" in caveat for caveat in found.caveats)


def test_a_pickle_among_the_predictions_is_never_loaded(store):
    """An array of objects is refused, since loading it would run code."""
    runs = record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")
    np.savez(store.folder(runs[0].id).path / "predictions.npz", test_labels=np.array([{}], dtype=object))

    found = compared(store, "train.lr=0.2")

    assert found.images is None
    assert any("must hold a row of probabilities" in caveat for caveat in found.caveats)


def test_figures_that_cannot_be_read_are_reported(store):
    """Memory and bytes are then those of the other runs."""
    runs = record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")
    (store.folder(runs[0].id).path / "result.json").write_text("[]")

    found = compared(store, "train.lr=0.2")

    assert any("base: 1 run without readable figures" in caveat for caveat in found.caveats)
    assert {line.baseline for line in found.cost if line.name == "weights"} == {6_304}


def test_results_on_other_images_are_refused(store):
    """No figure compares them; the line says which images they were."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2", data_hash="e" * 64)

    with pytest.raises(
        UsageError, match=r"same images, found mnist \(hash dddddddddddd\) and mnist \(hash eeeeeeeeeeee\)"
    ):
        compared(store, "train.lr=0.2")


def test_other_splits_are_refused_on_validation_and_reported_on_test(store):
    """The validation images are not the same ones then; the test images are."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "data.split_seed=1", split_hash="6" * 64)

    with pytest.raises(UsageError, match="validated on the same images"):
        compared(store, "data.split_seed=1", part="validation")

    assert any("different splits" in caveat for caveat in compared(store, "data.split_seed=1").caveats)


def test_a_result_is_not_compared_with_itself(store):
    """Two of its seeds are no two recipes."""
    record_seeds(store, GOOD)

    with pytest.raises(UsageError, match="found base on both sides: its runs are seeds of one result"):
        compared(store)


def test_other_differences_are_listed(store):
    """Threads, versions, other code, other epochs, repeats, diverged and open runs: each has its line."""
    changes = ("train.epochs=6", "train.lr=0.2")
    record_seeds(store, GOOD)
    record_seeds(store, [982], first_seed=0)
    record_seeds(store, BETTER, *changes, environment={"threads": 2, "torch": "2.12.0", "code": "a"})
    other = {"threads": 2, "torch": "2.12.0", "code": "b"}
    record_seeds(store, [990], *changes, first_seed=5, environment=other)
    record_seeds(store, [0], *changes, first_seed=6, status="diverged", environment=other)
    record_seeds(store, [0], *changes, first_seed=7, status="interrupted")

    reported = "\n".join(compared(store, *changes).caveats)

    assert "threads differ: 1 and 2" in reported
    assert "torch differ: 2.13.0 and 2.12.0" in reported
    assert "different versions of flyweight's code" in reported
    assert "epochs 5 → 6: the effect includes the other length of training" in reported
    assert "1 run of seeds that ran again" in reported
    assert "1 of 7 seeds of base diverged" in reported
    assert "1 run not over or without a result" in reported


@pytest.mark.parametrize(
    ("fact", "one", "other"),
    [
        ("precision", "bfloat16", "float32"),
        ("kernels", "3f2a", "torch alone: there is no compiler"),
        ("device", "cpu", "NVIDIA H100"),
        ("threads", 1, 2),
        ("stacked", 5, 3),
    ],
)
def test_seeds_that_were_computed_otherwise_are_not_pooled_silently(store, fact, one, other):
    """Within a result as between two: what decides the bits and differs is named with its values and counts."""
    record_seeds(store, [980, 981], environment={fact: one})
    record_seeds(store, [982], first_seed=2, environment={fact: other})
    record_seeds(store, BETTER, "train.lr=0.2", environment={fact: other})

    caveats = "\n".join(compared(store, "train.lr=0.2").caveats)

    assert f"the seeds of base were computed with different {fact}" in caveats
    assert f"{one} (2 runs)" in caveats
    assert f"{other} (1 run)" in caveats
    assert f"{fact} differ: {' or '.join(sorted((str(one), str(other))))} and {other}" in caveats


def test_a_precision_that_the_machine_does_not_have_is_named(store):
    """The recipe wants bfloat16, the machine computed float32: the comparison says what really ran."""
    wanted = ("train.precision=bfloat16",)
    record_seeds(store, GOOD, environment={"precision": "float32"})
    record_seeds(store, BETTER, *wanted, environment={"precision": "float32"})

    caveats = compared(store, *wanted).caveats

    assert "base: the recipe has precision bfloat16, computed in float32" in caveats


def test_a_precision_that_is_the_change_needs_no_caveat(store):
    """float32 against bfloat16, as the recipes have it."""
    record_seeds(store, GOOD, environment={"precision": "float32"})
    record_seeds(store, BETTER, "train.precision=bfloat16", environment={"precision": "bfloat16"})

    assert compared(store, "train.precision=bfloat16").caveats == ()


def test_a_longer_training_that_is_the_change_needs_no_caveat(store):
    """It is what was asked about."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.epochs=6")

    assert compared(store, "train.epochs=6").caveats == ()


def test_a_side_that_diverged_has_no_effect(store):
    """The verdict says so; nothing is computed from what is not there."""
    record_seeds(store, GOOD)
    record_seeds(store, [0, 0], "train.lr=9.0", status="diverged")

    found = compared(store, "train.lr=9.0")

    assert found.verdict.kind == "diverged"
    assert (found.effect, found.images, found.permutation) == (None, None, None)
    assert json.dumps(found.as_dict())


def test_a_plan_lowers_the_level_for_good(store):
    """Seeds that were added until the answer was clear are judged by what was planned, whoever looks later."""
    record_seeds(store, [980, 982, 984])
    record_seeds(store, [987, 989, 991], "train.lr=0.2")
    before = compared(store, "train.lr=0.2")
    question = {"data_hash": "d" * 64, "part": "test"}
    store.notebook.make_plan(
        hash_of(), hash_of("train.lr=0.2"), looks=[(3, 3), (4, 4)], level=before.effect.p / 2, **question
    )

    after = compared(store, "train.lr=0.2")

    assert (before.level, after.level) == (0.05, before.effect.p / 2)
    assert (after.effect.effect, after.effect.p) == (before.effect.effect, before.effect.p)
    assert after.effect.low < 0 < before.effect.low
    assert after.verdict.kind == "no evidence"
    assert any("2 planned tests" in caveat for caveat in after.caveats)


def test_a_plan_that_looked_at_other_images_is_reported(store):
    """The number of seeds was chosen by what the test images said; the validation images are not free of that."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")
    question = {"data_hash": "d" * 64, "part": "test"}
    store.notebook.make_plan(hash_of(), hash_of("train.lr=0.2"), looks=[(5, 5)], level=0.05, **question)

    found = compared(store, "train.lr=0.2", part="validation")

    assert found.plan is None
    assert any("looked at the test images; it does not hold for these" in caveat for caveat in found.caveats)


def test_the_same_records_give_the_same_comparison(store):
    """Twice the same, to the last digit of every resampled figure."""
    record_seeds(store, GOOD)
    record_seeds(store, BETTER, "train.lr=0.2")

    assert compared(store, "train.lr=0.2").as_dict() == compared(store, "train.lr=0.2").as_dict()


def test_a_notebook_shows_it_escaped(store):
    """Names are text, whatever they hold."""
    record_seeds(store, GOOD, name="<script>alert(1)</script>")
    record_seeds(store, BETTER, "train.lr=0.2", name="<b>")

    shown = compared(store, "train.lr=0.2")._repr_html_()

    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "better: +1.00 points" in shown


def test_two_groups_of_ten_are_compared_without_torch(store):
    """Neither torch nor matplotlib is loaded for the figures."""
    record_seeds(store, [980 + seed for seed in range(10)])
    record_seeds(store, [985 + seed for seed in range(10)], "train.lr=0.2")
    script = (
        "import sys; from pathlib import Path; from flyweight.records.store import Store\n"
        "from flyweight.evidence.compare import compare; from flyweight.evidence.groups import groups\n"
        f"store = Store.open(home=Path({str(store.home)!r})); found = compare(store, *groups(store.runs()))\n"
        "print(found.effect.n_a, found.effect.n_b, {'torch', 'matplotlib'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "10 10 set()"
