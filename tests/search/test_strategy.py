"""What is tried next: promotions by rank, parents by accuracy, and nothing that needs the trials' files."""

from __future__ import annotations

from typing import Any

import pytest

from flyweight.errors import UsageError
from flyweight.model.budget import Budget
from flyweight.records.search_record import NewTrial, TrialFigures
from flyweight.search.design import Design, design_of
from flyweight.search.front import parse_aims
from flyweight.search.space import Bounded, Space
from flyweight.search.strategy import FIRST_RANDOM, STRATEGIES, Strategy, hopeless, promotable, rungs_of

BOUNDED = Bounded(space=Space(), shape=(1, 28, 28), n_classes=10, budget=Budget(params=1_000))
KNOWN = Design(net="c4 r m2 gap flat fc10", settings=(("train.optimizer", "sgd"),))


def trial(number: int, *accuracies: float, status: str = "paused", **changes: Any) -> TrialFigures:
    values: dict[str, Any] = {
        "number": number,
        "design_hash": f"hash {number}",
        "origin": "random",
        "parent": None,
        "params": 1_000,
        "macs": 1,
        "activation_bytes": 1,
        "flash_bytes": 1,
        "status": status,
        "accuracies": accuracies,
        "seconds": 1.0,
        "group_id": f"group {number}",
        "attempt": 1,
        "message": "",
    }
    return TrialFigures(**(values | changes))


def test_the_best_third_is_promoted_one_by_one() -> None:
    trials = [trial(number, accuracy) for number, accuracy in enumerate((0.3, 0.9, 0.5, 0.8, 0.1, 0.2), start=2)]

    assert promotable(trials[:2], 3) is None
    assert promotable(trials, 3) == 3
    after = [trial(3, 0.9, 0.95) if one.number == 3 else one for one in trials]
    assert promotable(after, 3) == 5
    after = [trial(5, 0.8, 0.7) if one.number == 5 else one for one in after]
    assert promotable(after, 3) is None


def test_the_first_trial_goes_on_whatever_it_reaches() -> None:
    assert promotable([trial(1, 0.1), trial(2, 0.9)], 3) == 1
    assert promotable([trial(1, 0.1, 0.2)], 3) == 1
    assert promotable([trial(1, 0.1, 0.2, 0.3, status="finished")], 3) is None


def test_with_two_aims_the_front_is_promoted() -> None:
    """A small net that no other beats in both goes on, though larger ones are more accurate."""
    sizes = {2: (100, 0.7), 3: (900, 0.9), 4: (950, 0.85), 5: (980, 0.8), 6: (990, 0.75), 7: (999, 0.72)}
    trials = [trial(number, accuracy, params=params) for number, (params, accuracy) in sizes.items()]

    assert promotable(trials, 3) == promotable(trials, 3, "params") == 3
    after = [trial(3, 0.9, 0.95, params=900) if one.number == 3 else one for one in trials]
    assert promotable(after, 3) == 4
    assert promotable(after, 3, "params") == 2


def test_two_aims_make_nets_of_all_sizes() -> None:
    strategy = Strategy(name="random", bounded=BOUNDED, known=(KNOWN,), rungs=(1,), pareto="params")
    params, trials = list[int](), list[TrialFigures]()
    for number in range(1, 40):
        chosen = strategy.choose(trials, {}.__getitem__)
        assert isinstance(chosen, NewTrial)
        params.append(chosen.params)
        trials.append(trial(number, 0.5, status="finished", design_hash=chosen.design_hash))

    assert max(params) <= 1_000
    assert min(params) < 300
    assert len({size // 100 for size in params}) >= 6


@pytest.mark.parametrize(
    ("text", "message"),
    [("accuracy", "must be accuracy and one of"), ("macs,accuracy", "needs a limit on macs"), ("a,b", "must be")],
)
def test_other_aims_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_aims(text, Budget(params=1_000))
    assert parse_aims("accuracy, params", Budget(params=1_000)) == "params"


def test_what_others_train_or_have_given_up_is_not_promoted() -> None:
    trials = [trial(number, number / 10, status="halved") for number in range(2, 8)]

    assert promotable(trials, 3) is None
    assert promotable([trial(2, status="running")], 3) is None


def test_trials_far_below_are_given_up_and_never_one_that_can_be_promoted() -> None:
    trials = [trial(number, number / 100) for number in range(2, 42)]

    given_up = hopeless(trials, 3)

    assert given_up == tuple(range(21, 1, -1))
    assert hopeless(trials[:9], 3) == ()
    assert promotable(trials, 3) not in given_up


@pytest.mark.parametrize("epochs", range(1, 60))
def test_rungs_rise_and_end_at_the_full_length(epochs: int) -> None:
    rungs = rungs_of(epochs)

    assert list(rungs) == sorted(set(rungs))
    assert rungs[-1] == epochs
    assert rungs[0] >= 1
    assert len(rungs) <= 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_begins_with_what_is_known_and_draws_from_then_on(name: Any) -> None:
    """Random search is the control: it has the same first designs, and no mutations."""
    strategy = Strategy(name=name, bounded=BOUNDED, known=(KNOWN,), rungs=(1, 3), seed=4)
    designs: dict[int, dict[str, Any]] = {}
    trials = list[TrialFigures]()
    for number in range(1, 30):
        chosen = strategy.choose(trials, designs.__getitem__)
        assert isinstance(chosen, NewTrial)
        designs[number] = chosen.design
        figures = {"origin": chosen.origin, "parent": chosen.parent, "design_hash": chosen.design_hash}
        trials.append(trial(number, 0.5 + number / 100, status="halved", **figures))

    assert design_of(designs[1]) == KNOWN
    assert [one.origin for one in trials[1 : 1 + FIRST_RANDOM]] == ["random"] * FIRST_RANDOM
    rest = trials[1 + FIRST_RANDOM :]
    mutated = [one for one in rest if one.origin == "mutation"]
    assert (len(mutated) == 0) if name == "random" else (len(mutated) > len(rest) / 2)
    assert all(one.parent in designs for one in mutated)
    assert len({one.design_hash for one in trials}) == len(trials)
    again = strategy.choose(trials, designs.__getitem__)
    assert again == strategy.choose(trials, designs.__getitem__)
