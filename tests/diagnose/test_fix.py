"""The guided walk: from a recipe with planted faults to one without, and what becomes of remedies that do not help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flyweight.diagnose.fix import FixOutcome, FixStep, examiner, fix_recipe
from flyweight.doctor.finding import Diagnosis, Finding, Gain, Remedy, Severity
from flyweight.errors import OverBudgetError, UsageError
from flyweight.experiment.run import run
from flyweight.recipe import Recipe, diff
from flyweight.records.store import Store
from tiny import tiny_recipe

LEARNING = ("data.validation=120", "model.net=m2 m2 c6 r flat fc10", "train.epochs=4")

Check = Callable[[Recipe], Finding | None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def finding(code: str, *changes: str, gain: Gain = "accuracy", severity: Severity = "fault") -> Finding:
    remedy = Remedy(changes=changes, gain=gain, expected="It is gone.") if changes else None
    return Finding(
        code=code, title=code, severity=severity, rank=1, evidence=(), explanation="", remedy=remedy, advice="look"
    )


def slow_rate(recipe: Recipe) -> Finding | None:
    return finding("LOW", "train.lr=0.05") if recipe.train.lr < 0.001 else None


def idle_layer(recipe: Recipe) -> Finding | None:
    net = recipe.model.net.removesuffix(" unused(fc8)")
    return finding("IDLE", f"model.net={net}", gain="cost") if net != recipe.model.net else None


def late_seed(recipe: Recipe) -> Finding | None:
    change = "protocol.seed_after_split=false"
    return finding("SEED", change, gain="honesty") if recipe.protocol.seed_after_split else None


def last_batch(recipe: Recipe) -> Finding | None:
    change = "protocol.last_batch_loss=false"
    return finding("BATCH", change, gain="honesty") if recipe.protocol.last_batch_loss else None


def few_steps(recipe: Recipe) -> Finding | None:
    return finding("FEW", "train.batch_size=8") if recipe.train.batch_size > 8 else None


def high_rate(recipe: Recipe) -> Finding | None:
    return finding("HIGH", "train.lr=0.05") if recipe.train.lr > 1 else None


def useless(recipe: Recipe) -> Finding:
    """A rule that always cries wolf: its remedy changes nothing that can be seen."""
    return finding("WOLF", f"train.eval_batch_size={recipe.train.eval_batch_size + 1}")


def examining(*checks: Check) -> Callable[[Recipe], Diagnosis]:
    """What examines by these checks, in their order."""
    return lambda recipe: Diagnosis(findings=tuple(found for check in checks if (found := check(recipe))))


def walked(steps: Sequence[FixStep]) -> list[tuple[str, bool]]:
    return [(" + ".join(one.code for one in step.findings), step.has_helped) for step in steps]


def test_a_recipe_with_three_faults_is_mended_one_after_the_other(tmp_path, store):
    """Accuracy, cost and honesty are each accepted by their own rule; each step is reported as it happens."""
    faults = ["train.lr=1e-6", "model.net=m2 m2 c6 r flat fc10 unused(fc8)", "protocol.seed_after_split=true"]
    recipe, steps = tiny_recipe(tmp_path, *LEARNING, *faults), list[FixStep]()

    outcome = fix_recipe(recipe, store=store, examine=examining(slow_rate, idle_layer, late_seed), on_step=steps.append)

    assert outcome.is_done
    assert walked(outcome.steps) == [("LOW", True), ("IDLE", True), ("SEED", True)]
    assert tuple(steps) == outcome.steps
    assert [change.key for change in diff(recipe, outcome.recipe)] == [
        "model.net",
        "train.lr",
        "protocol.seed_after_split",
    ]
    assert [step.recipe for step in outcome.steps][-1] == outcome.recipe
    assert outcome.start == recipe
    assert outcome.left == ()


def test_a_remedy_that_does_not_help_is_tried_once_and_left(tmp_path, store):
    """The walk continues with the next finding, tries the first again on the changed recipe, and ends when all
    failed."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=1e-6")

    outcome = fix_recipe(recipe, store=store, examine=examining(useless, slow_rate), seeds=2)

    assert walked(outcome.steps) == [("WOLF", False), ("LOW", True), ("WOLF", False)]
    assert outcome.is_done
    assert outcome.recipe.train.lr == 0.05
    assert outcome.recipe.train.eval_batch_size == recipe.train.eval_batch_size
    assert [alarm.code for alarm in outcome.left] == ["WOLF"]


def test_the_runs_of_a_step_are_those_of_the_next(tmp_path, store):
    """The changed arm of a remedy that helped is the unchanged arm of the remedy after it."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=1e-6")

    outcome = fix_recipe(recipe, store=store, examine=examining(slow_rate, useless), seeds=2)

    first, second = (step.trial for step in outcome.steps)
    assert first is not None
    assert second is not None
    assert first.run_ids[2:] == second.run_ids[:2]
    assert len(store.runs(purpose="all")) == 6


def test_a_fix_never_returns_to_an_earlier_recipe(tmp_path, store):
    """Two rules that contradict each other end the walk: a recipe that was left is not gone back to."""

    def larger(recipe: Recipe) -> Finding | None:
        small = "unused" not in recipe.model.net
        return finding("A", f"model.net={recipe.model.net} unused(fc8)", gain="honesty") if small else None

    outcome = fix_recipe(tiny_recipe(tmp_path, *LEARNING), store=store, examine=examining(larger, idle_layer), seeds=2)

    assert outcome.is_done
    assert walked(outcome.steps) == [("A", True)]
    assert [alarm.code for alarm in outcome.left] == ["IDLE"]


def test_a_clean_protocol_is_no_reason_to_try_again(tmp_path, store):
    """Remedies are compared cleanly anyway: with another protocol they would be the same runs once more."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "protocol.last_batch_loss=true")

    outcome = fix_recipe(recipe, store=store, examine=examining(last_batch, useless), seeds=2)

    assert outcome.is_done
    assert walked(outcome.steps) == [("WOLF", False), ("BATCH", True)]
    assert [alarm.code for alarm in outcome.left] == ["WOLF"]


def test_all_that_switches_the_protocol_is_one_step_and_no_try(tmp_path, store):
    """It comes last, each figure that differs is reported, and the most tries are not used up by it."""
    faults = ["train.lr=1e-6", "protocol.seed_after_split=true", "protocol.last_batch_loss=true"]
    recipe = tiny_recipe(tmp_path, *LEARNING, *faults)

    found = fix_recipe(recipe, store=store, examine=examining(late_seed, last_batch, slow_rate), seeds=3, max_steps=1)

    assert found.is_done
    assert walked(found.steps) == [("LOW", True), ("SEED + BATCH", True)]
    assert found.recipe.protocol == type(recipe.protocol)()
    assert found.steps[-1].trial is not None
    assert found.steps[-1].trial.code == "SEED + BATCH"
    assert found.steps[-1].line.startswith("training loss of the last epoch reported as ")


def test_two_faults_that_hide_each_other_are_mended_together(tmp_path, store):
    """With either alone the net learns nothing, so neither remedy helps on its own; both at once do."""
    hidden = ["train.lr=1e6", "train.batch_size=120", "train.epochs=1", "train.schedule=constant"]
    recipe = tiny_recipe(tmp_path, *LEARNING, *hidden)

    outcome = fix_recipe(recipe, store=store, examine=examining(high_rate, few_steps), seeds=3)

    assert outcome.is_done
    assert walked(outcome.steps) == [("HIGH", False), ("FEW", False), ("HIGH + FEW", True)]
    assert (outcome.recipe.train.lr, outcome.recipe.train.batch_size) == (0.05, 8)
    assert outcome.left == ()


def test_remedies_of_one_key_are_not_put_together(tmp_path, store):
    """Of two that change the same key, one would only overwrite the other."""
    same = Diagnosis(findings=tuple(finding(f"N{n}", f"train.eval_batch_size={n}") for n in (10, 20)))

    outcome = fix_recipe(tiny_recipe(tmp_path), store=store, examine=lambda _: same, seeds=2)

    assert outcome.is_done
    assert walked(outcome.steps) == [("N10", False), ("N20", False)]


def test_what_failed_before_is_tried_again_after_what_was_never_tried(tmp_path, store):
    """A change that was kept makes other recipes of the same remedies; the new ones come first."""

    def another(recipe: Recipe) -> Finding | None:
        return finding("NEW", "train.patience=3") if recipe.train.lr == 0.05 else None

    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=1e-6")

    outcome = fix_recipe(recipe, store=store, examine=examining(useless, slow_rate, another), seeds=2)

    codes = [code for code, _ in walked(outcome.steps)]
    assert codes == ["WOLF", "LOW", "NEW", "WOLF", "WOLF + NEW"]


def test_the_same_fix_again_continues_after_the_maximum_number_of_steps(tmp_path, store):
    """What is on record is reported and is no try, so nothing is trained twice and the walk comes to its end."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=1e-6")

    def begin() -> FixOutcome:
        return fix_recipe(recipe, store=store, examine=examining(useless, slow_rate), seeds=2, max_steps=1)

    first, n_first = begin(), len(store.runs(purpose="all"))
    second, n_second = begin(), len(store.runs(purpose="all"))
    third = begin()

    assert walked(first.steps) == [("WOLF", False)]
    assert walked(second.steps) == [("WOLF", False), ("LOW", True)]
    assert walked(third.steps) == [("WOLF", False), ("LOW", True), ("WOLF", False)]
    assert [walk.is_done for walk in (first, second, third)] == [False, False, True]
    assert (n_first, n_second, len(store.runs(purpose="all"))) == (4, 6, 8)


def test_notes_and_advice_are_not_tried(tmp_path, store):
    """A note is no alarm, and what no change can mend is left with its advice."""
    found = Diagnosis(findings=(finding("ADVICE"), finding("NOTE", "train.lr=0.02", severity="note")))

    outcome = fix_recipe(tiny_recipe(tmp_path), store=store, examine=lambda _: found)

    assert outcome.is_done
    assert outcome.steps == ()
    assert [alarm.code for alarm in outcome.left] == ["ADVICE"]
    assert store.runs(purpose="all") == ()


def test_a_remedy_that_makes_no_recipe_is_reported_and_left(tmp_path, store):
    """A change that is too dear or none at all stops no walk."""
    wrong = [
        finding("DEAR", "model.net=flat fc500 fc10"),
        finding("NONE", "train.lr=fast"),
        finding("NET", "model.net=x"),
    ]

    outcome = fix_recipe(
        tiny_recipe(tmp_path), store=store, examine=lambda _: Diagnosis(findings=tuple(wrong)), seeds=2, max_steps=1
    )

    assert outcome.is_done, "they are no tries, since nothing was trained"
    assert walked(outcome.steps) == [("DEAR", False), ("NONE", False), ("NET", False)]
    assert all(step.line.startswith("cannot be tried: ") and "\n" not in step.line for step in outcome.steps)
    assert store.runs(purpose="all") == ()


def test_a_fix_stops_on_request(tmp_path, store):
    """What was tried until then stands; the fix is not finished."""
    stop = list[FixStep]()
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=1e-6")

    outcome = fix_recipe(
        recipe,
        store=store,
        examine=examining(slow_rate, useless),
        seeds=2,
        on_step=stop.append,
        should_stop=lambda: bool(stop),
    )

    assert not outcome.is_done
    assert walked(outcome.steps) == [("LOW", True)]
    assert outcome.recipe.train.lr == 0.05


def test_a_fix_has_a_maximum_number_of_steps(tmp_path, store):
    """Whoever cries wolf with a new remedy each time is not listened to for ever."""
    recipe = tiny_recipe(tmp_path, "protocol.seed_after_split=true")
    changes = (f"train.eval_batch_size={n}" for n in range(1, 100))

    outcome = fix_recipe(
        recipe,
        store=store,
        examine=lambda _: Diagnosis(findings=(finding("MORE", next(changes), gain="honesty"),)),
        seeds=2,
        max_steps=3,
    )

    assert len(outcome.steps) == 3
    assert not outcome.is_done


@pytest.mark.parametrize(
    ("overrides", "options", "error"),
    [((), {"seeds": 1}, UsageError), ((), {"max_steps": 0}, UsageError), (("budget.params=10",), {}, OverBudgetError)],
)
def test_invalid_input_of_a_fix_is_refused_at_once(tmp_path, store, overrides, options, error):
    """One seed proves nothing, no step leads nowhere, and a recipe over its budget is not trained."""

    def examine(_recipe: Recipe) -> Diagnosis:
        raise AssertionError("nothing is examined")

    with pytest.raises(error):
        fix_recipe(tiny_recipe(tmp_path, *overrides), store=store, examine=examine, **options)


def test_by_default_the_newest_run_is_looked_at_and_else_the_recipe_with_probes(tmp_path, store):
    """A run reports more than a recipe; without one, rules that need images and first steps can still speak."""
    recipe = tiny_recipe(tmp_path)
    look = examiner(store)

    before = {unjudged.code for unjudged in look(recipe).unjudged}
    run(recipe, seed=0, store=store, threads=1)
    after = {unjudged.code for unjudged in look(recipe).unjudged}

    assert after < before


@pytest.mark.slow
def test_the_doctors_own_rules_lead_to_a_recipe_that_learns(tmp_path, store):
    """With the real rules, a rate far too high is mended on the way, and the fixed recipe reads digits."""
    recipe = tiny_recipe(tmp_path, *LEARNING, "train.lr=20.0")

    outcome: FixOutcome = fix_recipe(recipe, store=store, seeds=3)

    assert any(step.has_helped for step in outcome.steps)
    last = run(outcome.recipe, seed=7, store=store, threads=1)
    assert last.validation_accuracy is not None
    assert last.validation_accuracy > 0.6
