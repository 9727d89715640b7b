"""What a command prints: strict JSON, in the one format that was chosen."""

from __future__ import annotations

import json

import pytest

from flyweight.cli.output import OutputFormat, say_json, talk, wrapped
from flyweight.errors import UsageError


def test_json_is_strict(capsys):
    """A figure that is no number is null."""
    say_json({"loss": float("nan"), "best": float("inf"), "epochs": [1, 2.5]})

    assert json.loads(capsys.readouterr().out) == {"loss": None, "best": None, "epochs": [1, 2.5]}


def test_one_form_is_chosen():
    """Text without a flag; two flags are refused by name."""
    assert OutputFormat().name == "text"
    assert OutputFormat(md=True).name == "md"
    with pytest.raises(UsageError, match="--json and --csv"):
        _ = OutputFormat(json=True, csv=True).name


LONG = "flyweight: own/8k has no ended run; train it with `flyweight train own/8k --seeds 3`, or give a run, or "
LONG += "another recipe; list them with: flyweight runs --purpose all --limit 100 --name own/8k"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_messages_are_broken_between_words_and_commands_stay_whole(width):
    """No line is wider than the terminal but one with a longer command; nothing is lost."""
    lines = wrapped(LONG, width).splitlines()

    assert " ".join(line.strip() for line in lines) == LONG
    assert all(len(line) <= width or "flyweight" in line for line in lines)
    for command in ("`flyweight train own/8k --seeds 3`", "flyweight runs --purpose all --limit 100 --name own/8k"):
        assert any(command in line for line in lines)


def test_a_net_with_a_marked_position_is_not_broken():
    """The line with the carets points at the same token on any terminal."""
    text = "flyweight: net, position 4: 'x9' is not a layer.\n  " + "c8 " * 60 + "\n     ^^"

    assert wrapped(text, 60).splitlines()[-2:] == text.splitlines()[-2:]


def test_messages_in_a_pipe_stay_on_one_line(capsys):
    """So that programs and grep find them."""
    talk(LONG)

    assert capsys.readouterr().err == LONG + "\n"
