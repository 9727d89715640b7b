"""Edits are nets that were counted, not estimates."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from random_nets import nets

from flyweight.model.budget import KINDS, Budget, needs, overruns
from flyweight.model.count import count
from flyweight.model.edits import Edit, edits
from flyweight.model.notation import parse_net
from flyweight.model.spec import Net

WIDE = "c16 r c16 r c10 r m2 c10/1 r c24 r flat fc10 ls"  # 25,674 parameters
MNIST = (1, 28, 28)


def described(net: str, budget: Budget) -> dict[str, Edit]:
    return {edit.description: edit for edit in edits(net, MNIST, budget)}


@given(nets(), st.sampled_from(["params", "macs", "activation", "flash"]), st.floats(0.05, 0.99))
def test_every_edit_is_a_counted_net_with_the_same_classes(
    drawn: tuple[Net, tuple[int, ...]], kind: str, share: float
) -> None:
    """Its text parses and walks; classes stay; saving, parameters and "enough" are what counting says."""
    net, image = drawn
    before = count(net, image)
    needed = needs(before)[kind]
    assume(needed > 1)
    budget = Budget(**{kind: max(int(needed * share), 1)})

    found = edits(net, image, budget)

    for edit in found:
        after = count(parse_net(edit.net), image)
        assert after.out_shape == before.out_shape
        assert after.params == edit.params
        assert edit.saves == needed - needs(after)[kind] > 0
        assert edit.is_enough == (not overruns(budget, after))
    assert len({edit.net for edit in found}) == len(found)
    assert [edit.is_enough for edit in found] == sorted((edit.is_enough for edit in found), reverse=True)


@given(nets(), st.integers(1, 30))
def test_several_limits_at_once_are_met_by_enough(drawn: tuple[Net, tuple[int, ...]], divisor: int) -> None:
    """An edit is enough only when every limit holds."""
    net, image = drawn
    before = count(net, image)
    budget = Budget(**{kind: max(value // divisor, 1) for kind, value in needs(before).items()}, epochs=1)

    for edit in edits(net, image, budget):
        assert edit.is_enough == (not overruns(budget, count(edit.net, image)))


def test_net_that_fits_needs_no_edit() -> None:
    """At its own count there is nothing to change."""
    assert edits(WIDE, MNIST, Budget(params=25_674)) == ()
    assert edits(WIDE, MNIST, Budget(epochs=1, seconds=1)) == ()


def test_global_average_pooling_is_proposed_with_what_it_saves() -> None:
    """240 inputs to the last layer instead of 1,944: 10 * (1,944 - 24) = 19,200 fewer weights."""
    edit = described(WIDE, Budget(params=25_000))["global average pooling instead of flatten"]

    assert str(edit) == "global average pooling instead of flatten: -19,200"
    assert edit.params == 6_474
    assert edit.is_enough


def test_bias_before_batch_norm_is_found_in_blocks_too() -> None:
    """One value per channel of a layer that batch norm follows; other biases stay."""
    net = "c8p1 bn r 2(c8p1 bn r) +(c8p1 r c8p1 bn) flat fc10"
    edit = described(net, Budget(params=100))["no bias before batch norm (4 layers)"]

    assert edit.net == "c8p1nb bn r 2(c8p1nb bn r) +(c8p1 r c8p1nb bn) flat fc10"
    assert edit.saves == 4 * 8


def test_scaled_widths_use_the_largest_factor_that_fits() -> None:
    """A thousandth more would be over the budget; the classes keep their width."""
    found = described(WIDE, Budget(params=20_000))
    edit = next(edit for text, edit in found.items() if text.startswith("all widths"))

    assert edit.description == "all widths x 0.812 (c24 to c19)"
    assert edit.net == "c13 r c13 r c8 r m2 c8/1 r c19 r flat fc10 ls"
    assert count("c13 r c13 r c8 r m2 c8/1 r c20 r flat fc10 ls").params > 20_000


def test_grouped_convolutions_still_divide_when_widths_are_scaled() -> None:
    """Widths are multiples of the groups."""
    found = described("c12p1 r c12p1g4 r gap flat fc10", Budget(params=400))
    edit = next(edit for text, edit in found.items() if text.startswith("all widths"))

    assert edit.net == "c8p1 r c8p1g4 r gap flat fc10"
    assert edit.is_enough


def test_thinner_layer_is_as_wide_as_fits() -> None:
    """One channel more is over."""
    found = described(WIDE, Budget(params=25_000))

    assert found["conv2 13 wide instead of 16"].params == 24_969
    assert count("c16 r c14 r c10 r m2 c10/1 r c24 r flat fc10 ls").params > 25_000


@pytest.mark.parametrize(
    ("net", "budget", "change", "text"),
    [
        ("c8p1 r c16p1 r gap flat fc10", "params", "conv2 depthwise-separable", "c8p1 r dwp1nb c16/1 r gap flat fc10"),
        (
            "c8p1 r do.1 flat do.2 fc10nb ls",
            "params",
            "a 1x1 convolution and global average pooling instead of fc10nb",
            "c8p1 r do.1 do.2 c10/1nb gap flat ls",
        ),
        ("c8p1 bn r c8p1 bn r gap flat fc10", "params", "without conv2", "c8p1 bn r gap flat fc10"),
        ("c8p1 r c8p1 r gap flat fc10", "activation", "a max pool after relu1", "c8p1 r m2 c8p1 r gap flat fc10"),
        ("c8p1 r c8p1 r gap flat fc10", "macs", "a max pool after relu1", "c8p1 r m2 c8p1 r gap flat fc10"),
    ],
)
def test_structural_edits_change_one_place(net: str, budget: str, change: str, text: str) -> None:
    """The text of the changed net, to the character."""
    needed = needs(count(net))[budget]

    assert described(net, Budget(**{budget: int(needed * 0.6)}))[change].net == text


def test_every_kind_that_a_net_has_can_be_the_unit_of_a_saving() -> None:
    """For bytes and MACs the saving names its unit."""
    budgets = [Budget(macs=10_000), Budget(activation=10_000), Budget(flash=10_000)]
    units = [str(edits(WIDE, MNIST, budget)[0]).rpartition("-")[2].partition(" ")[2] for budget in budgets]

    assert [unit.removesuffix(" (not enough alone)") for unit in units] == [
        KINDS[kind].noun for kind in ("macs", "activation", "flash")
    ]


def test_no_layer_is_thinned_to_a_sliver():
    """Where only a few channels would fit, half the width is proposed, and said to be not enough."""
    net = "c16 bn r c32 bn r m2 c64 bn r flat fc100 r fc10"

    thinned = [edit for edit in edits(net, MNIST, Budget(params=20_000)) if " wide instead of " in edit.description]

    assert thinned
    for edit in thinned:
        words = edit.description.split()
        assert int(words[1]) * 8 >= int(words[-1])
        assert not edit.is_enough
