"""Counting in closed form against hand-computed cases; tests of every kind of net are in test_proofs.py."""

import subprocess
import sys

import pytest

from flyweight.errors import NotationError
from flyweight.model.count import count


def test_published_net_of_19348_parameters_is_counted_to_the_digit() -> None:
    """s003-17: 19,348 executed, 21,700 registered (an idle conv and its batch norm)."""
    net = (
        "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 "
        "c16p1 bn r c16p1 bn r unused(c16p1 bn) gap flat do.1 fc50 r fc10 ls"
    )

    cost = count(net)

    assert cost.params == 19_348
    assert cost.registered_params == 21_700
    assert cost.buffers == 2 * (3 * 14 + 2 * 24 + 2 * 16)
    assert cost.flash_bytes == 4 * (19_348 + 244)
    assert cost.int8_bytes == 19_348 + 244


def test_rows_add_up_to_the_total() -> None:
    """A small net by hand."""
    cost = count("c8 r m2 flat fc10")

    assert [row.params for row in cost.rows] == [80, 0, 0, 0, 13_530]
    assert cost.params == 13_610


@pytest.mark.parametrize(
    ("net", "params", "macs"),
    [
        ("c8", 8 * 10, 26 * 26 * 8 * 9),
        ("c8nb", 8 * 9, 26 * 26 * 8 * 9),
        ("c8/5s2p1d2", 8 * 26, 11 * 11 * 8 * 25),
        ("c8/1 c8g4", 16 + 8 * (2 * 9 + 1), 28 * 28 * 8 + 26 * 26 * 8 * 2 * 9),
        ("c8/1 dw", 16 + 8 * 10, 28 * 28 * 8 + 26 * 26 * 8 * 9),
        ("c8/1 dw2nb", 16 + 16 * 9, 28 * 28 * 8 + 26 * 26 * 16 * 9),
        ("c8/1 bn prelu bn0", 16 + 16 + 8, 28 * 28 * 8),
        ("flat fc10", 7_850, 7_840),
        ("flat fc10nb", 7_840, 7_840),
        ("2(c2/1)", 4 + 6, 28 * 28 * (2 + 4)),
        ("c2/1 3@(c2/1)", 4 + 6, 28 * 28 * (2 + 3 * 4)),
        ("+(c2/1 | c2/1nb)", 4 + 2, 28 * 28 * 4),
        ("c2/1 unused(c9) r", 4, 28 * 28 * 2),
    ],
)
def test_layers_count_as_by_hand(net: str, params: int, macs: int) -> None:
    """Parameters and MACs of one image of 28 x 28, one kind of layer at a time."""
    cost = count(net)

    assert (cost.params, cost.macs) == (params, macs)


@pytest.mark.parametrize(
    ("net", "values"),
    [
        ("c8p1", 784 + 6272),  # reads and writes
        ("c8p1 bn r do.1", 784 + 6272),  # in place
        ("c8p1 m2", 6272 + 1568),
        ("flat fc10", 794),
        ("c8p1 +(c8p1 r)", 6272 + 6272),  # the identity is held while the body writes
        ("c8p1 +(c8p1 r c8p1)", 3 * 6272),
        ("+(c8p1 | c8/1)", 784 + 6272 + 6272),  # the body's answer waits, the entry is read
        ("+(+(c8p1 | c8p1) | c8p1)", 784 + 6272 + 6272),  # the outer entry is the inner one: held once
        ("c8p1 2@(c8p1)", 6272 + 6272),
        ("c8p1 unused(c100p1)", 784 + 6272),
    ],
)
def test_peak_memory_is_what_is_alive_at_the_worst_moment(net: str, values: int) -> None:
    """Values of one image that are needed at once, by hand."""
    cost = count(net)

    assert cost.activations == values
    assert cost.activation_bytes == 4 * values


@pytest.mark.parametrize(
    ("net", "reported"),
    [
        ("c8 fc10", "linear1: needs a flat input"),
        ("c8 ls", "needs a flat input"),
        ("flat c8", "must stand before 'flat'"),
        ("c8/29", "window spans 29 pixels"),
        ("c8d14", "window spans 29 pixels"),
        ("m2p2", "at most half the window"),
        ("c8 c9g2", "multiples of groups=2"),
        ("c8 +(c9p1)", "body and shortcut must have equal output shapes"),
        ("2@(c8)", "conv1 sees 1x28x28 first"),
        ("1000(1000(r))", "at most 10,000 layers, repetitions counted; found 1,000,000"),
    ],
)
def test_layers_that_do_not_fit_are_reported_by_name(net: str, reported: str) -> None:
    """Which layer, what it needs, what it found."""
    with pytest.raises(NotationError) as caught:
        count(net)

    assert reported in str(caught.value)


@pytest.mark.parametrize("image", [(28, 28), (0, 28, 28), (1, 28, -1)])
def test_image_has_three_sides(image: tuple[int, ...]) -> None:
    """Channels, height and width, each at least 1."""
    with pytest.raises(NotationError):
        count("c8", image)


def test_counting_needs_no_torch() -> None:
    """Budget, edits and table count without importing torch, numpy or rich."""
    code = (
        "import sys; from flyweight.model import budget, edits, table; from flyweight.model.count import count; "
        "b = budget.Budget(params=100); c = count('c8 r flat fc10'); "
        "table.cost_text(c, b, edits.edits('c8 r flat fc10', (1, 28, 28), b)); "
        "print([name for name in ('torch', 'numpy', 'rich', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
