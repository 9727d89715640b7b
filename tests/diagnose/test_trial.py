"""A remedy that is tried: what helps is shown to help, what does not is told, and all of it is honestly measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_rel

from flyweight.diagnose.trial import try_remedy
from flyweight.diagnose.trial_record import Expense, Trial, keep_trials, read_trials, read_tried
from flyweight.doctor.diagnosis import Tried
from flyweight.doctor.finding import Finding, Gain, Remedy
from flyweight.errors import DataError, OverBudgetError, RecipeError, UsageError
from flyweight.evidence.paired import Paired, paired
from flyweight.execute.process_executor import Processes
from flyweight.experiment.events import EpochDone, Event
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from tiny import tiny_recipe

# 120 images train and 120 validate; the net reads 80 % of them after half a second, and nothing at a rate of 20.
LEARNING = ("data.validation=120", "model.net=m2 m2 c6 r flat fc10", "train.epochs=4")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def finding(*changes: str, gain: Gain = "accuracy", code: str = "XX01") -> Finding:
    """A finding as a rule would make it, whose remedy is to be tried."""
    return Finding(
        code=code,
        title="planted",
        severity="fault",
        rank=1,
        evidence=(),
        explanation="Planted. It was. Take it out.",
        remedy=Remedy(changes=changes, gain=gain, expected="It is gone."),
    )


def records(store: Store, trial: Trial) -> list[RunRecord]:
    return [store.get(run_id) for run_id in trial.run_ids]


def test_a_rate_that_is_far_too_high_is_proved_to_be_mended(tmp_path, store):
    """Both arms have the same seeds and differ in the rate alone; p is that of scipy, and the runs are the doctor's."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=20.0")

    trial = try_remedy(recipe, finding("train.lr=0.05"), store=store)

    assert trial is not None
    assert trial.has_helped
    assert trial.seeds == (0, 1, 2, 3, 4)
    assert trial.paired is not None
    assert trial.paired.p == pytest.approx(ttest_rel(trial.after, trial.before).pvalue, rel=1e-6)
    runs = records(store, trial)
    assert [(run.recipe["train"]["lr"], run.seed) for run in runs] == [(lr, n) for lr in (20.0, 0.05) for n in range(5)]
    assert {run.study for run in runs} == {"doctor"}
    assert [run.validation_accuracy for run in runs[5:]] == list(trial.after)
    assert {run.parent_hash for run in runs[5:]} == {runs[0].recipe_hash}
    assert trial.line.startswith("validation 10.00 % → ")
    assert "points (95 % interval +" in trial.line
    assert "p < 0.001, n = 5: helps" in trial.line
    assert "\n" not in trial.line
    assert trial.budget == "in full: 120 training images, 4 epochs"


def test_a_run_that_diverged_counts_as_guessing(tmp_path, store):
    """It has no answers; one of ten classes is what chance gets right, and the line says so."""
    recipe = tiny_recipe(tmp_path, "train.lr=1e30")

    trial = try_remedy(recipe, finding("train.lr=0.05"), store=store, seeds=2)

    assert trial is not None
    assert {run.status for run in records(store, trial)[:2]} == {"diverged"}
    assert trial.before == (0.1, 0.1)
    assert trial.line.endswith("(2 of 2 unchanged runs diverged; they count as guessing, 10 %)")


def test_a_change_that_does_nothing_is_reported_as_no_help(tmp_path, store):
    """Equal runs give p = 1 and no rank."""
    trial = try_remedy(tiny_recipe(tmp_path), finding("train.eval_batch_size=7"), store=store, seeds=3)

    assert trial is not None
    assert not trial.has_helped
    assert trial.before == trial.after
    assert trial.paired is not None
    assert (trial.paired.effect, trial.paired.p) == (0, pytest.approx(1))
    assert trial.line.endswith(": does not help")


def test_a_change_for_the_worse_is_reported_as_no_help(tmp_path, store):
    """However sure a loss is, it is no gain."""
    recipe = tiny_recipe(tmp_path, *LEARNING)

    trial = try_remedy(recipe, finding("train.lr=1e30"), store=store)

    assert trial is not None
    assert not trial.has_helped
    assert trial.paired is not None
    assert trial.paired.p is not None
    assert trial.paired.p < 0.05
    assert trial.paired.effect < 0


def test_what_is_never_called_is_taken_out_for_nothing(tmp_path, store):
    """A layer that forward does not use costs registered parameters; without it every run is the same."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "model.net=m2 flat fc10 unused(fc8)")

    trial = try_remedy(recipe, finding("model.net=m2 flat fc10", gain="cost"), store=store, seeds=5)

    assert trial is not None
    assert trial.has_helped
    assert trial.cost_before.params == trial.cost_after.params
    assert trial.cost_before.registered_params > trial.cost_after.registered_params
    assert "registered parameters; validation" in trial.line


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("model.net=m2 m2 m2 flat fc10", "may lose 0.5 points or more"),
        ("train.eval_batch_size=7", "nothing gets cheaper"),
    ],
)
def test_less_is_no_gain_where_accuracy_pays_for_it_or_nothing_is_saved(tmp_path, store, change, why):
    """A net that sees nine pixels costs less and reads worse; a change of no net saves nothing."""
    recipe = tiny_recipe(tmp_path, *LEARNING)

    trial = try_remedy(recipe, finding(change, gain="cost"), store=store, seeds=3)

    assert trial is not None
    assert not trial.has_helped
    assert why in trial.line


@pytest.mark.parametrize("judged_on", ["test", "train"])
def test_accuracy_is_measured_on_held_out_images_for_every_protocol(tmp_path, store, judged_on):
    """A recipe that is judged on test or training images is tried with validation images, both arms alike."""
    recipe = tiny_recipe(
        tmp_path,
        "data.validation=none",
        f"protocol.evaluate_on={judged_on}",
        "protocol.evaluate_augmented=true",
        "protocol.test_every_epoch=true",
        "protocol.seed_after_split=true",
    )

    trial = try_remedy(recipe, finding("train.lr=0.02"), store=store, seeds=2)

    assert trial is not None
    runs = records(store, trial)
    assert len(runs) == 4
    assert {run.validation_count for run in runs} == {40}
    assert len({run.split_hash for run in runs}) == 1
    assert all(not store.folder(run.id).has("reported") for run in runs)


def test_a_lost_augmentation_stays_lost_in_the_unchanged_arm(tmp_path, store):
    """The one switch that changes what a net learns from is part of what is tried."""
    recipe = tiny_recipe(tmp_path, "protocol.shared_transform=evaluation")

    trial = try_remedy(recipe, finding("protocol.shared_transform=none"), store=store, seeds=2)

    assert trial is not None
    shown = [run.recipe["protocol"]["shared_transform"] for run in records(store, trial)]
    assert shown == ["evaluation"] * 2 + ["none"] * 2


# Each slip of a protocol, the change that ends it, and how the two figures follow from the files of a run.
SLIPS: Mapping[str, tuple[str, Callable[..., float], Callable[..., float]]] = {
    "protocol.evaluate_augmented=true": (
        "protocol.evaluate_augmented=false",
        lambda rows, **_: share(rows[-1]["validation"]),
        lambda epochs, **_: epochs[-1].validation_accuracy,
    ),
    "protocol.shared_transform=training": (
        "protocol.shared_transform=none",
        lambda rows, **_: share(rows[-1]["validation"]),
        lambda epochs, **_: epochs[-1].validation_accuracy,
    ),
    "protocol.evaluate_on=train": (
        "protocol.evaluate_on=validation",
        lambda rows, result, **_: share(rows[result["best_epoch"] - 1]["test"]),
        lambda result, **_: share(result["test"]),
    ),
    "protocol.evaluate_on=test": (
        "protocol.evaluate_on=validation",
        lambda rows, **_: max(share(row["test"]) for row in rows),
        lambda rows, **_: share(rows[-1]["test"]),
    ),
    "protocol.test_every_epoch=true": (
        "protocol.test_every_epoch=false",
        lambda rows, **_: max(share(row["test"]) for row in rows),
        lambda result, **_: share(result["test"]),
    ),
    "train.keep=best": (
        "train.keep=last",
        lambda epochs, **_: max(epoch.validation_accuracy for epoch in epochs),
        lambda epochs, **_: epochs[-1].validation_accuracy,
    ),
    "protocol.last_batch_loss=true": (
        "protocol.last_batch_loss=false",
        lambda rows, **_: rows[-1]["train"]["loss"],
        lambda epochs, **_: epochs[-1].train_loss,
    ),
    "protocol.loss_divided_twice=true": (
        "protocol.loss_divided_twice=false",
        lambda rows, **_: rows[-1]["validation"]["loss"],
        lambda epochs, **_: epochs[-1].validation_loss,
    ),
}


def share(figures: Mapping[str, Any]) -> float:
    return float(figures["correct"] / figures["count"])


@pytest.mark.parametrize("slip", SLIPS)
def test_a_remedy_for_honesty_compares_figures_of_the_same_runs(tmp_path, store, slip):
    """Only the unchanged recipe runs; what it reported and what is clean follow from its files, and the change
    helps."""
    end, was_told, is_honest = SLIPS[slip]
    nothing_held_out = ["data.validation=none"] if "evaluate_on" in slip else []
    kept = ["train.keep=last"] if "test_every_epoch" in slip else []
    restless = ["augment.rotate=60.0", "train.lr=0.1", "train.schedule=constant", "train.epochs=8"]
    recipe = tiny_recipe(tmp_path, *LEARNING, *restless, slip, *nothing_held_out, *kept)

    trial = try_remedy(recipe, finding(end, gain="honesty"), store=store, seeds=2)

    assert trial is not None
    assert trial.has_helped
    runs = records(store, trial)
    assert [run.seed for run in runs] == [0, 1]
    files = [
        {
            "rows": store.folder(run.id).reported().as_dict()["epochs"],
            "result": store.folder(run.id).result().as_dict(),
            "epochs": store.epochs(run.id),
        }
        for run in runs
    ]
    reported, clean = ([figure(**one) for one in files] for figure in (was_told, is_honest))
    assert reported != clean, "the slip must show, or this test shows nothing"
    assert (trial.reported, trial.clean) == (pytest.approx(reported), pytest.approx(clean))
    assert (trial.before, trial.after) == ((), ())
    assert trial.paired is not None
    assert trial.paired.effect == pytest.approx((sum(reported) - sum(clean)) / 2)


def test_nothing_is_trained_if_no_reported_figure_would_differ(tmp_path, store):
    """Splits that differ from seed to seed tell no figure wrongly: the change is right and costs nothing to try."""
    recipe = tiny_recipe(tmp_path, "protocol.seed_after_split=true")

    trial = try_remedy(recipe, finding("protocol.seed_after_split=false", gain="honesty"), store=store)

    assert trial is not None
    assert trial.has_helped
    assert (trial.run_ids, trial.paired) == ((), None)
    assert "equal the clean ones" in trial.line
    assert store.runs(purpose="all") == ()


def test_a_change_that_leaves_the_switch_on_is_no_help(tmp_path, store):
    """From the test images to the training images is no way to an clean figure."""
    recipe = tiny_recipe(tmp_path, "data.validation=none", "protocol.evaluate_on=test")

    trial = try_remedy(recipe, finding("protocol.evaluate_on=train", gain="honesty"), store=store, seeds=2)

    assert trial is not None
    assert not trial.has_helped


def test_trials_of_one_recipe_share_its_runs(tmp_path, store):
    """What is on record is not trained again: the second remedy costs only its own arm."""
    recipe = tiny_recipe(tmp_path)

    first = try_remedy(recipe, finding("train.lr=0.02"), store=store, seeds=2)
    second = try_remedy(recipe, finding("train.lr=0.01"), store=store, seeds=2)

    assert first is not None
    assert second is not None
    assert first.run_ids[:2] == second.run_ids[:2]
    assert len(store.runs(purpose="all")) == 6


def test_a_stopped_trial_continues_where_it_stood(tmp_path, store):
    """There is no trial until every seed is over; what is finished is kept, and what was stopped is resumed."""
    recipe, seen = tiny_recipe(tmp_path, "train.epochs=12"), list[Event]()

    stopped = try_remedy(
        recipe,
        finding("train.lr=0.02"),
        store=store,
        seeds=2,
        executor=Processes(at_once=2),
        watch=lambda event: seen.append(event) if isinstance(event, EpochDone) else None,
        should_stop=lambda: len(seen) >= 3,
    )
    begun = {run.id for run in store.runs(purpose="all")}
    trial = try_remedy(recipe, finding("train.lr=0.02"), store=store, seeds=2)

    assert stopped is None
    assert begun
    assert trial is not None
    assert begun <= set(trial.run_ids)
    assert len(store.runs(purpose="all")) == 4


@pytest.mark.parametrize(
    ("changes", "seeds", "error", "shown"),
    [
        (("train.lr=0.02",), 1, UsageError, "2 seeds or more"),
        ((), 0, UsageError, "found 0"),
        (("train.lr=fast",), 2, RecipeError, "train.lr"),
        (("model.net=c6 flat fc3",), 2, RecipeError, "must have 10 outputs"),
        (("model.net=flat fc500 fc10",), 2, OverBudgetError, "parameters"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_spent(tmp_path, store, changes, seeds, error, shown):
    """Too few seeds, a change that no recipe can have, a net that cannot answer or that the budget does not allow."""
    with pytest.raises(error, match=shown):
        try_remedy(tiny_recipe(tmp_path), finding(*changes), store=store, seeds=seeds)

    assert store.runs(purpose="all") == ()


def test_advice_alone_cannot_be_tried(tmp_path, store):
    """The message passes the advice on."""
    only_advice = Finding(
        code="DA01", title="", severity="fault", rank=1, evidence=(), explanation="", advice="take the doubles out"
    )

    with pytest.raises(UsageError, match="take the doubles out"):
        try_remedy(tiny_recipe(tmp_path), only_advice, store=store)


def made(code: str, *, has_helped: bool = True, found: Paired | None = None) -> Trial:
    """A trial as it might have come out."""
    cost = Expense(params=100, registered_params=110, macs=1_000)
    return Trial(
        code=code,
        gain="accuracy",
        changes=("train.lr=0.02",),
        seeds=(0, 1),
        before=(0.1, 0.2),
        after=(0.8, 0.95),
        reported=(),
        clean=(),
        cost_before=cost,
        cost_after=cost,
        paired=found,
        has_helped=has_helped,
        line=f"{code} was tried",
        budget="in full",
        run_ids=("a", "b"),
    )


def test_trials_are_kept_one_a_code_and_read_again(tmp_path):
    """They come back equal; a newer trial of a code replaces the older, and a diagnosis gets the short of each."""
    first, second = made("LR02", found=paired([0.1, 0.2], [0.8, 0.95])), made("LR01")
    newer = made("LR02", has_helped=False)

    keep_trials(RunFolder(path=tmp_path / "run"), [first, second])
    before = read_trials(RunFolder(path=tmp_path / "run"))
    keep_trials(RunFolder(path=tmp_path / "run"), [newer])

    assert before == (second, first)
    assert read_trials(RunFolder(path=tmp_path / "run")) == (second, newer)
    assert read_tried(RunFolder(path=tmp_path / "run")) == (
        Tried(code="LR01", has_helped=True, line="LR01 was tried"),
        Tried(code="LR02", has_helped=False, line="LR02 was tried"),
    )


def test_trials_that_version_0_1_0_kept_are_read(tmp_path):
    """It called the two figures of a run reported and clean."""
    folder, one = RunFolder(path=tmp_path), replace(made("EV08"), reported=(0.1,), clean=(0.2,))
    keep_trials(folder, [one])
    path = folder.file("trials")
    path.write_text(path.read_text().replace('"reported"', '"told"').replace('"clean"', '"honest"'))

    assert read_trials(folder) == (one,)


DAMAGED: Sequence[bytes] = (b"", b"{", b"{}", b"[1]", b'[{"code": "LR01"}]', b"\xff\xfe", b"null", b"[" * 10_000)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_trials_are_reported_and_stop_no_diagnosis(tmp_path, content):
    """Whoever asks for trials hears of the damage in one line; a diagnosis continues as if nothing had been tried."""
    RunFolder(path=tmp_path).file("trials").write_bytes(content)

    with pytest.raises(DataError, match="must hold trials") as raised:
        read_trials(RunFolder(path=tmp_path))

    assert "\n" not in str(raised.value)
    assert read_tried(RunFolder(path=tmp_path)) == ()


def test_damaged_trials_are_written_again(tmp_path):
    """What cannot be read cannot be kept, and a new trial is."""
    RunFolder(path=tmp_path).file("trials").write_bytes(b"{")

    keep_trials(RunFolder(path=tmp_path), [made("LR01")])

    assert read_trials(RunFolder(path=tmp_path)) == (made("LR01"),)


def test_a_run_that_was_never_tried_has_no_trials(tmp_path):
    """No file is no damage."""
    assert read_trials(RunFolder(path=tmp_path)) == read_tried(RunFolder(path=tmp_path)) == ()


@pytest.mark.slow
def test_a_short_proof_trains_both_arms_on_the_same_few_images(tmp_path, store):
    """60 epochs of 1,000 images each are what is left of a long recipe, and the budget says so."""
    recipe = tiny_recipe(
        tmp_path,
        "data.name=mnist",
        "model.net=m2 m2 flat fc10",
        "data.validation=5000",
        "train.epochs=60",
        "train.batch_size=1000",
        "augment.rotate=0.0",
        "augment.translate=0.0",
    )

    trial = try_remedy(recipe, finding("train.lr=0.2"), store=store, seeds=2)

    assert trial is not None
    assert trial.budget == "short: 1,000 of 55,000 training images, 60 epochs"
    assert {run.recipe["data"]["train_limit"] for run in records(store, trial)} == {1000}
    assert all(math.isfinite(value) for value in (*trial.before, *trial.after))


def test_json_of_a_proof_is_plain(tmp_path):
    """Anyone can read it: a list of tables of numbers and words."""
    keep_trials(RunFolder(path=tmp_path), [made("LR01", found=paired([0.1, 0.2], [0.8, 0.95]))])

    (table,) = json.loads(RunFolder(path=tmp_path).file("trials").read_text())
    assert table["code"] == "LR01"
    assert table["after"] == [0.8, 0.95]
    assert table["paired"]["n"] == 2
