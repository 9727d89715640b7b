"""A net is one line of text; what is wrong with the text is told with its place."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.errors import NotationError
from flyweight.model.notation import EXAMPLES, is_own_module, parse_net
from flyweight.model.spec import FORMS, WORDS, Activation, Conv, Dropout, Net, Pool, Residual


@pytest.mark.parametrize(
    ("text", "net"),
    [
        ("c8", Net((Conv(8),))),
        ("c8/5s2p1d3g2nb", Net((Conv(8, 5, 2, 1, 3, 2, bias=False),))),
        ("c8nbg2d3p1s2/5", Net((Conv(8, 5, 2, 1, 3, 2, bias=False),))),
        ("m3s2p1", Net((Pool("max", 3, 2, 1),))),
        ("do0.25 do.25", Net((Dropout(0.25), Dropout(0.25)))),
        ("leaky leaky.2", Net((Activation("leaky_relu"), Activation("leaky_relu", 0.2)))),
        ("+(c8p1|c8/1)", Net((Residual((Conv(8, padding=1),), (Conv(8, kernel=1),)),))),
        ("\n c8\t\n", Net((Conv(8),))),
    ],
)
def test_text_is_read_as_meant(text: str, net: Net) -> None:
    """Modifiers come in any order, blanks do not matter."""
    assert parse_net(text) == net


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("c8 rleu flat", 4, "Did you mean 'relu'?"),
        ("c8 drop.1", 4, "Did you mean 'do.1'?"),
        ("c8 conv16", 4, "Did you mean 'c16'?"),
        ("c8 maxpool2", 4, "Did you mean 'm2'?"),
        ("c8 gapp", 4, "Did you mean 'gap'?"),
        ("c8 bn1", 4, "Did you mean 'bn'?"),
        ("c8 fc", 4, "Did you mean 'fc10'?"),
        ("c8 m2d2", 4, "'d2' does not apply to 'm' layers"),
        ("c8p1p1", 1, "padding is given twice"),
        ("c8nbnb", 1, "bias is given twice"),
        ("c0", 1, "must be 1 to 65536, found 0"),
        ("c8/0", 1, "kernel must be 1 to 65536"),
        ("c99999999999", 1, "must be 1 to 65536"),
        ("c" + "9" * 5000, 1, "must be 1 to 65536"),
        ("9" * 5000 + "(c8)", 1, "1 to 1000"),
        ("r do1.5", 3, "at least 0 and below 1, found 1.5"),
        ("r do1", 3, "at least 0 and below 1"),
        ("2(c8", 1, "never closed"),
        ("c8 )", 4, "does not start or end a block"),
        ("c8 (r)", 4, "does not start or end a block"),
        ("c8 | r", 4, "does not start or end a block"),
        ("2()", 1, "at least one layer"),
        ("+()", 1, "at least one layer"),
        ("+(c8 |)", 6, "leave '|' out"),
        ("0(c8)", 1, "1 to 1000, found 0"),
        ("9999@(c8)", 1, "1 to 1000"),
        ("+(" * 60 + "c8" + ")" * 60, 101, "at most 50 deep"),
        ("unused (c8)", 1, "'unused' is not a layer"),
        ("ĉ8", 1, "is not a layer"),
    ],
)
def test_wrong_text_is_told_with_its_position_and_the_nearest_token(text: str, position: int, told: str) -> None:
    """The message counts from 1, and a caret stands under the token."""
    with pytest.raises(NotationError) as caught:
        parse_net(text)

    message = str(caught.value)
    assert f"position {position}:" in message
    assert told in message
    assert message.splitlines()[-1].index("^") == position - 1 + 2


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty_text_is_no_net(text: str) -> None:
    """There is nothing to point at, so the message gives an example that works."""
    with pytest.raises(NotationError, match="at least one layer") as caught:
        parse_net(text)

    example = re.findall(r"'(.+)'", str(caught.value))[0]
    assert parse_net(example)


@given(st.text("c8rmdfnbgp/s2.@+()|u x0", max_size=30))
def test_any_text_parses_or_is_a_notation_error(text: str) -> None:
    """No other exception, whatever is typed; what parses prints and parses again to the same."""
    try:
        net = parse_net(text)
    except NotationError:
        return

    assert parse_net(str(net)) == net


@given(st.floats(0, 1, exclude_max=True, allow_subnormal=True))
def test_every_fraction_reads_back_as_the_same_float(value: float) -> None:
    """Down to the smallest float, without an exponent."""
    net = Net((Dropout(value), replace(Activation("leaky_relu"), slope=value)))

    assert parse_net(str(net)) == net


def test_examples_are_tokens() -> None:
    """Each example that a message can propose parses alone."""
    assert len(EXAMPLES) == len(WORDS) + len(FORMS) >= 27
    for example in EXAMPLES:
        assert parse_net(example)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "c8 " * 300_000 + "what " + "r " * 300_000, "c8 \x1b[2J\u202ewhat\nr"]
)
def test_a_fault_quotes_at_most_some_lines(text: str) -> None:
    """And no control characters; the mark stands below the fault."""
    with pytest.raises(NotationError) as caught:
        parse_net(text)

    said, shown, marks = str(caught.value).split("\n")
    assert len(str(caught.value)) < 2_000
    assert (said + shown + marks).isprintable()
    assert shown[marks.index("^")] in "xw "


def test_own_module_is_told_from_a_net() -> None:
    """A colon is in no net."""
    assert is_own_module("nets:Tiny")
    assert not any(is_own_module(example) for example in EXAMPLES)


@pytest.mark.parametrize(("written", "meant"), [("C8", "c8"), ("c8,", "c8"), ("GAP;", "gap"), ("BN", "bn")])
def test_capitals_and_commas_are_told_as_such(written, meant):
    """What would be a layer in small letters and without commas is named."""
    with pytest.raises(NotationError, match=f"Did you mean '{meant}'.*lowercase"):
        parse_net(f"{written} r")
