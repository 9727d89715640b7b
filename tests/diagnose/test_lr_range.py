"""The range test: what a curve says, and that real nets are tested without a crash, however wild the rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flyweight.diagnose.lr_range import (
    LrRange,
    SeedRange,
    is_normalised,
    lr_range,
    read_curve,
    smoothed,
    summed_up,
)
from flyweight.errors import OverBudgetError, UsageError
from flyweight.experiment.run import run
from flyweight.model.count import count
from flyweight.recipe import OptimizerName, Recipe, optimizer_traits
from flyweight.records.store import Store
from tiny import tiny_recipe

RATES = tuple(float(rate) for rate in np.geomspace(1e-5, 10, 100))
PLAIN = ("data.validation=60", "model.net=m2 m2 c6 r flat fc10", "augment.rotate=0.0", "augment.translate=0.0")


def valley(bottom: float, *, depth: float = 2.0, ends_at: float = math.inf) -> tuple[float | None, ...]:
    """A loss that begins at 2.3, is lowest at one rate, and is as it was a decade and a half to each side of it."""

    def loss(rate: float) -> float:
        return 2.3 - depth * max(0.0, 1 - (math.log10(rate / bottom) / 1.5) ** 2)

    return tuple(loss(rate) for rate in RATES if rate <= ends_at)


def seed_of(losses: tuple[float | None, ...], *, margin: float = 1.0) -> SeedRange:
    return read_curve(RATES, losses, seed=0, margin=margin)


@given(st.floats(0.01, 0.5))
def test_a_valley_is_found_where_it_is(bottom: float) -> None:
    """The lowest loss is found within two steps, the steepest fall and the halfway point lie before it."""
    found = seed_of(valley(bottom))

    assert found.lowest is not None
    assert found.halfway is not None
    assert found.steepest is not None
    assert found.low is not None
    assert found.high is not None
    assert found.lowest == pytest.approx(bottom, rel=0.35)
    assert bottom / 10**1.5 < found.halfway < found.lowest
    assert bottom / 10**1.5 < found.steepest < found.lowest
    assert found.low < found.high == found.lowest
    assert found.diverges is None


@given(st.floats(0.01, 0.5), st.floats(1.1, 4.0))
def test_a_margin_moves_the_upper_end_and_leaves_a_range(bottom: float, margin: float) -> None:
    """What a net without batch norm bears lies so much lower; the lower end never gets nearer than half of it."""
    without, with_margin = seed_of(valley(bottom)), seed_of(valley(bottom), margin=margin)

    assert without.high is not None
    assert with_margin.high == pytest.approx(without.high / margin)
    assert with_margin.low is not None
    assert with_margin.low <= with_margin.high / 2


@pytest.mark.parametrize(
    "losses",
    [
        (),
        (None,),
        (2.3, None),
        (2.3,) * 100,
        (2.3,) * 50 + (None,),
        tuple(2.3 + 0.01 * step for step in range(100)),
        (1e30, 1e-30) * 50,
        (2.3,) * 20 + (1e38,) * 3,
        (0.0,) * 100,
    ],
    ids=range(9),
)
def test_a_curve_that_does_not_fall_has_no_range_and_no_crash(losses: tuple[float | None, ...]) -> None:
    """Empty, flat, rising, exploding or no numbers at all: nothing is advised, and the reason says so."""
    found = seed_of(losses)

    if found.low is not None:
        assert losses == (1e30, 1e-30) * 50, "a zigzag may look like anything"
        return
    summary = summed_up([found], 0.1, margin=1.0)
    assert (summary.low, summary.high, summary.suggestion, summary.where) == (None, None, None, "unknown")
    assert "there is no range" in summary.reason


def test_the_rate_at_which_a_seed_ended_is_reported() -> None:
    """At the step whose loss was no number, or at the last before it had exploded."""
    exploded = seed_of(valley(0.05, ends_at=1.0))
    without_number = seed_of((*valley(0.05, ends_at=1.0), None))

    n = len(valley(0.05, ends_at=1.0))
    assert exploded.diverges == RATES[n - 1]
    assert without_number.diverges == RATES[n]
    assert without_number.lrs == RATES[: n + 1]


@pytest.mark.parametrize(("lr", "where"), [(0.0001, "below"), (0.04, "inside"), (3.0, "above")])
def test_the_position_of_the_rate_of_the_recipe_is_shown(lr: float, where: str) -> None:
    """Below, inside or above the range, in a field and in the reason."""
    found = summed_up([seed_of(valley(bottom)) for bottom in (0.08, 0.1, 0.12)], lr, margin=1.0)

    assert found.where == where
    assert f"the rate of the recipe, {lr:g}, is {where.replace('inside', 'in')}" in found.reason
    assert found.low is not None
    assert found.high is not None
    assert found.suggestion == pytest.approx(math.sqrt(found.low * found.high))


def test_one_seed_that_disagrees_moves_nothing_and_is_reported() -> None:
    """The range is that of the middle seed; the spread is the factor between the seeds' upper ends."""
    alike, odd = [valley(0.02), valley(0.02)], valley(0.5)

    found = summed_up([seed_of(losses) for losses in (*alike, odd)], 0.01, margin=1.0)

    assert found.high == pytest.approx(0.02, rel=0.35)
    assert found.spread == pytest.approx(25, rel=0.5)
    assert "differ by a factor" in found.reason


@given(st.lists(st.floats(0.1, 5), min_size=12, max_size=60))
def test_smoothing_stays_within_what_it_smooths_and_has_no_direction(losses: list[float]) -> None:
    """No smoothed loss is outside the losses, and one that is the same everywhere stays what it is."""
    found = smoothed(losses)

    assert len(found) == len(losses)
    assert min(losses) - 1e-9 <= found.min()
    assert found.max() <= max(losses) + 1e-9
    assert smoothed([losses[0]] * 20) == pytest.approx([losses[0]] * 20)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ("c8nb bn r m2 c8nb bn r flat fc10", True),
        ("c8nb m2 bn r gap flat fc10", True),
        ("c8 r m2 flat fc10", False),
        ("c8nb bn r m2 c8 r flat fc10", False),
        ("c8nb bn r flat fc25 r fc10", False),
        ("c8nb bn r flat fc10 unused(fc9 fc8)", True),
        ("flat fc10", False),
    ],
)
def test_a_net_is_normalised_if_every_layer_but_the_last_is(net: str, expected: bool) -> None:
    """Batch norm may stand after a pool, layers that never run do not count, and one layer alone is not normalised."""
    assert is_normalised(count(net)) is expected


def test_a_module_of_the_users_own_is_normalised_like_the_same_net_in_notation() -> None:
    """What the user calls a layer does not matter."""
    layers = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(5408, 10))

    assert is_normalised(count(nn.Sequential(*layers)))
    assert not is_normalised(count(nn.Sequential(*(one for one in layers if not isinstance(one, nn.BatchNorm2d)))))


def range_of(tmp_path: Path, *overrides: str, **options: float) -> tuple[Recipe, LrRange]:
    recipe = tiny_recipe(tmp_path, *overrides)
    found = lr_range(recipe, **options)  # type: ignore[arg-type]
    assert found is not None
    return recipe, found


def test_rates_at_which_a_net_dies_are_out_of_its_range(tmp_path: Path) -> None:
    """A plain net learns at the suggested rate, and not at ten times the rate at which its test exploded."""
    _, found = range_of(tmp_path, *PLAIN)

    assert found.suggestion is not None
    assert found.high is not None
    assert found.low is not None
    ended = [one.diverges for one in found.seeds if one.diverges is not None]
    assert ended, "without a seed that explodes this test shows nothing"
    assert found.low < found.high < min(ended)
    store = Store.open(home=tmp_path / "home")
    good, bad = (
        run(tiny_recipe(tmp_path, *PLAIN, "train.epochs=4", f"train.lr={lr}"), store=store, threads=1)
        for lr in (found.suggestion, 10 * min(ended))
    )
    assert good.validation_accuracy is not None
    assert good.validation_accuracy > 0.5
    assert bad.status == "diverged" or (bad.validation_accuracy or 0) < 0.3


def test_a_net_whose_loss_is_never_a_number_is_reported_and_does_not_crash(tmp_path: Path) -> None:
    """From rates of 1e20 on the second step has no loss: every seed ends there, and nothing is advised."""
    _, found = range_of(tmp_path, *PLAIN, low=1e20, high=1e30)

    assert found.where == "unknown"
    assert len(found.seeds) == 3
    assert all(one.diverges is not None and one.losses[-1] is None for one in found.seeds)


def test_the_curve_is_that_of_the_recipes_own_training(tmp_path: Path) -> None:
    """The first step is taken before any rate could matter, so its loss is that of a new net on the first batch."""
    from flyweight.experiment.setup import prepare

    recipe, found = range_of(tmp_path, "train.label_smoothing=0.1", steps=20, seeds=2)

    for one in found.seeds:
        bench = prepare(recipe, seed=one.seed, device="cpu", threads=1)
        batch = bench.batches(1, 0)
        bench.training.model.train()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            # The net has dropout of 10 % in the middle: near enough, and another net or batch is not.
            loss = torch.nn.functional.cross_entropy(
                bench.training.model(batch.images), batch.labels, label_smoothing=0.1
            )
        assert one.losses[0] == pytest.approx(loss.item(), rel=0.05)


def test_a_summed_loss_is_reported_per_image_and_asks_for_rates_smaller_by_the_batch(tmp_path: Path) -> None:
    """Sixteen times the loss at a sixteenth of the rate is the same training, so the range is a sixteenth, too."""
    _, mean = range_of(tmp_path, *PLAIN, "train.batch_size=15")
    _, summed = range_of(tmp_path, *PLAIN, "train.batch_size=15", "train.loss_reduction=sum")

    assert mean.high is not None
    assert summed.high == pytest.approx(mean.high / 15, rel=0.1)
    assert summed.seeds[0].losses[:20] == pytest.approx(mean.seeds[0].losses[:20], rel=1e-3)


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_the_same_recipe_has_the_same_range(tmp_path: Path, optimizer: str) -> None:
    """A curve is a function of recipe and seed, bit for bit, whatever was asked before."""
    asked = (f"train.optimizer={optimizer}", "train.lr=0.01")

    first, second = (range_of(tmp_path, *asked, seeds=2, steps=30)[1] for _ in range(2))

    assert first == second
    assert first.seeds[0].lrs[0] == optimizer_traits(optimizer).swept_lrs[0]


def test_what_is_heard_of_each_seed_is_what_comes_out(tmp_path: Path) -> None:
    """Somebody who watches has all seeds, in their order, when it is over."""
    heard: list[SeedRange] = []

    found = lr_range(tiny_recipe(tmp_path), seeds=2, first_seed=3, steps=20, watch=heard.append)

    assert found is not None
    assert tuple(heard) == found.seeds
    assert [one.seed for one in heard] == [3, 4]


@pytest.mark.parametrize(("asked", "n_seeds"), [(10, 0), (30, 1)])
def test_a_stopped_test_says_what_it_has(tmp_path: Path, asked: int, n_seeds: int) -> None:
    """Seeds that are over count; without one there is no range at all."""
    found = lr_range(tiny_recipe(tmp_path), steps=20, should_stop=after(asked))

    assert (0 if found is None else len(found.seeds)) == n_seeds


def after(n: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= n


@pytest.mark.parametrize(
    "options",
    [{"low": 0.0}, {"low": 1.0, "high": 0.1}, {"high": math.inf}, {"low": math.nan}, {"steps": 5}, {"seeds": 0}],
)
def test_invalid_arguments_are_refused(tmp_path: Path, options: dict[str, float]) -> None:
    """Rates that do not rise or are none, too few steps to see a curve, no seed."""
    with pytest.raises(UsageError, match="found"):
        lr_range(tiny_recipe(tmp_path), **options)  # type: ignore[arg-type]


def test_a_recipe_over_its_budget_is_refused(tmp_path: Path) -> None:
    """The gate stands before the first step."""
    with pytest.raises(OverBudgetError):
        lr_range(tiny_recipe(tmp_path, "budget.params=10"))


@pytest.mark.slow
def test_the_range_of_our_own_recipe_holds_its_rate() -> None:
    """own/20k-fast was tuned by hand; the test finds a range around its rate."""
    from flyweight.recipe import load

    found = lr_range(load("own/20k-fast"))

    assert found is not None
    assert found.where == "inside"
    assert found.spread is not None
    assert found.spread < 5
