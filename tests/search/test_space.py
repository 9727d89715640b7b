"""Every design of a space is within every limit, none comes twice, and the budget is nearly used up."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flyweight.errors import DataError, UsageError
from flyweight.model.budget import Budget, needs, overruns
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.recipe import load
from flyweight.search.design import Design, design_of
from flyweight.search.known import known_designs
from flyweight.search.space import Bounded, Space, read_space, space_of
from flyweight.search.widths import COUNTED, filled, read_widths
from tests.model.random_nets import nets

MNIST = (1, 28, 28)
BUDGETS = (500, 1_000, 5_000, 20_000)


def bounded(budget: Budget, space: Space | None = None, shape: tuple[int, int, int] = MNIST) -> Bounded:
    return Bounded(space=space or Space(), shape=shape, n_classes=10, budget=budget)


@given(case=nets())
def test_the_sums_of_widths_are_the_counts_of_the_net(case: tuple[str, tuple[int, int, int]]) -> None:
    """The closed form over widths is an independent count of parameters, MACs, flash and activation memory."""
    net, shape = case
    try:
        model = read_widths(parse_net(str(net)), shape)
    except UsageError:
        assume(False)
    cost = count(str(net), shape)

    assert {kind: model.need(kind, model.base) for kind in COUNTED} == {kind: needs(cost)[kind] for kind in COUNTED}


@pytest.mark.parametrize("budget", BUDGETS)
def test_draws_fit_come_once_and_fill_the_budget(budget: int) -> None:
    check_draws(budget, n=150)


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
def test_ten_thousand_draws_fit_come_once_and_fill_the_budget(budget: int) -> None:
    check_draws(budget, n=10_000)


def check_draws(budget: int, *, n: int) -> None:
    designs = list(islice(bounded(Budget(params=budget)).draws(Random(0)), n))
    params = [count(design.net).params for design in designs]

    assert len(designs) == n
    assert max(params) <= budget
    assert len({design.hash for design in designs}) == n
    assert sum(params) / n > 0.95 * budget


@given(
    seed=st.integers(0, 10_000),
    params=st.integers(600, 9_000),
    macs=st.integers(30_000, 900_000),
    activation=st.integers(8_000, 60_000),
    flash=st.integers(4_000, 60_000),
)
def test_every_limit_holds_for_draws_and_for_edits(
    seed: int, params: int, macs: int, activation: int, flash: int
) -> None:
    limits = Budget(params=params, macs=macs, activation=activation, flash=flash)
    space, random = bounded(limits), Random(seed)
    design = space.draw(random)
    assume(design is not None)
    assert design is not None
    found = [design]
    for _ in range(3):
        child = space.mutate(found[-1], random, seen={one.hash for one in found})
        assert child is not None
        found.append(child)

    assert all(not overruns(limits, count(one.net)) for one in found)
    assert len({one.hash for one in found}) == len(found)
    assert all(count(one.net).out_shape == (10,) for one in found)
    assert all(one.recipe(load("own/8k")).model.net == one.net for one in found)


def test_an_edit_is_small() -> None:
    """A child has one other setting, or a net of a similar depth."""
    space, random = bounded(Budget(params=5_000)), Random(3)
    parent = space.draw(random)
    assert parent is not None
    depth = len(parse_net(parent.net).nodes)
    children = [space.mutate(parent, random) for _ in range(60)]
    changed_settings = 0
    for child in children:
        assert child is not None
        if child.net == parent.net:
            before = dict(parent.settings)
            changed = {key for key, value in child.settings if before[key] != value}
            assert len(changed) == 1 or changed >= {"train.optimizer"}
            changed_settings += 1
        else:
            assert child.settings == parent.settings
            assert abs(len(parse_net(child.net).nodes) - depth) <= 6
    assert 5 < changed_settings < 40


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2(c4 r) flat fc10", "c4 r c4 r flat fc10"),
        ("c4 m2 r flat fc10", "c4 m2s2 r flat fc10"),
        ("c4 do0 r gap flat fc10", "c4 relu aap1 flat fc10"),
        ("c4 +(c4p1 | c4/1) flat fc10", "c4 +(c4/1 | c4p1) flat fc10"),
    ],
)
def test_two_spellings_of_a_net_are_one_design(one: str, other: str) -> None:
    assert Design(net=one).hash == Design(net=other).hash
    assert Design(net=one).hash != Design(net=one.replace("c4", "c5")).hash


def test_the_order_of_settings_does_not_count() -> None:
    design = Design(net="flat fc10", settings=(("train.lr", 0.1), ("augment.rotate", 5.0)))

    assert design == Design(net="flat fc10", settings=design.settings[::-1]) == design_of(design.as_dict())


@pytest.mark.parametrize("budget", [*BUDGETS, 8_000])
def test_known_designs_begin_with_the_recipe_scaled_to_the_budget(budget: int) -> None:
    recipe = load("own/8k")
    found = list(known_designs(recipe, bounded(Budget(params=budget))))

    assert [is_first for _, is_first in found] == [True] + [False] * (len(found) - 1)
    assert len(found) > 3
    assert all(0.9 * budget < count(one.net).params <= budget for one, _ in found)
    shapes = [re.sub(r"\bc\d+", "c", net) for net in (found[0][0].net, recipe.model.net)]
    assert shapes[0] == shapes[1]


def test_tied_widths_stay_equal() -> None:
    net = parse_net("c6p1 r +(c9p1 r c6p1) 2@(c6p1 r) gap flat fc10")
    whole = filled(read_widths(net, MNIST), Budget(params=4_000))

    assert whole is not None
    assert 3_800 < count(whole, MNIST).params <= 4_000


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(params=20), "parameters: the smallest needs 53, the budget is 20"),
        (Budget(params=5_000, macs=100), "MACs: the smallest needs"),
        (Budget(flash=100), "bytes of flash"),
    ],
)
def test_a_budget_that_nothing_fits_ends_with_the_reason(budget: Budget, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(UsageError, match=reason):
        bounded(budget).require_feasible()

    assert time.process_time() - began < 5
    assert bounded(replace(budget, params=9_000, macs=None, flash=None)).require_feasible() is None


def test_a_search_needs_a_limit_that_can_be_counted() -> None:
    with pytest.raises(UsageError, match="needs a limit on one of params, macs, activation, flash"):
        bounded(Budget(epochs=5))


def test_a_file_narrows_the_space(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        """
        [search]
        blocks = ["conv"]
        depth = [2, 3]
        kernels = [3]
        activations = ["silu"]
        heads = ["gap"]
        [search.rates]
        adamw = [0.02]
        [search.keys]
        train.batch_size = [64]
        "augment.rotate" = [0.0, 10.0]
        """
    )
    space = read_space(path)
    designs = list(islice(bounded(Budget(params=2_000), space).draws(Random(0)), 40))

    assert space.keys == {"train.batch_size": (64,), "augment.rotate": (0.0, 10.0)}
    for design in designs:
        assert " gap flat fc10" in design.net
        assert "dw" not in design.net
        assert 2 <= design.net.count("nb") <= 3
        assert dict(design.settings)["train.optimizer"] == "adamw"
        assert design.settings[0][0] == "augment.rotate"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"width": [1]}, "has no key 'width'"),
        ({"blocks": ["transformer"]}, "'transformer' is not known"),
        ({"depth": [5, 2]}, r"depth must be \[least, largest\]"),
        ({"kernels": []}, "kernels must be a list of one or more"),
        ({"activations": ["c5 r"]}, "must be single layers"),
        ({"keys": {"train.speed": [1]}}, "'train.speed' is not known"),
        ({"rates": {"adam": [0.1]}}, "adam is missing"),
    ],
)
def test_a_wrong_table_is_one_line(table: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        space_of(table)

    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_no_space_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    with pytest.raises(DataError, match="cannot read"):
        read_space(path)
    path.write_text("[train]\nlr = 1")
    with pytest.raises(UsageError, match=r"must have the one table \[search\], found train"):
        read_space(path)


def test_other_images_have_other_nets() -> None:
    designs = list(islice(bounded(Budget(params=3_000), shape=(3, 12, 12)).draws(Random(0)), 30))

    assert all(count(one.net, (3, 12, 12)).params <= 3_000 for one in designs)
    assert len({one.hash for one in designs}) == 30
