"""What a command prints: strict JSON, in the one format that was chosen."""

from __future__ import annotations

import json

import pytest

from flyweight.cli.output import Form, say_json
from flyweight.errors import UsageError


def test_json_is_strict(capsys):
    """A figure that is no number is null."""
    say_json({"loss": float("nan"), "best": float("inf"), "epochs": [1, 2.5]})

    assert json.loads(capsys.readouterr().out) == {"loss": None, "best": None, "epochs": [1, 2.5]}


def test_one_form_is_chosen():
    """Text without a flag; two flags are refused by name."""
    assert Form().name == "text"
    assert Form(md=True).name == "md"
    with pytest.raises(UsageError, match="--json and --csv"):
        _ = Form(json=True, csv=True).name
