"""Rows in their forms: aligned for people, escaped for what reads them next."""

from __future__ import annotations

import csv
import io
import json

import pytest

from flyweight.cli.output import Form, csv_table, markdown_table, say_json, text_table
from flyweight.errors import UsageError

ROWS = [
    {"run": "1m7yk", "name": "=cmd|' /C calc'!A0", "params": 19378, "test %": "99.45"},
    {"run": "1m7ym", "name": "<b>tiny</b>", "params": 900, "test %": None},
]


def test_text_sets_numbers_to_the_right():
    """Columns are as wide as their widest cell, and thousands have commas."""
    head, first, second = text_table(ROWS).splitlines()

    assert head.index("params") + len("params") == first.index("19,378") + len("19,378") == second.index("900") + 3
    assert text_table([]) == ""


def test_markdown_is_one_table_whatever_stands_in_it():
    """A bar or a tag in a cell neither ends the cell nor is one."""
    lines = markdown_table(ROWS).splitlines()

    assert {line.replace("\\|", "").count("|") for line in lines} == {5}
    assert "<b>" not in "".join(lines)


def test_csv_is_read_back_and_holds_no_formula():
    """A name that a spreadsheet would run is kept a text; numbers stay numbers."""
    first, second = csv.DictReader(io.StringIO(csv_table(ROWS)))

    assert first["name"].startswith("'=")
    assert [first["params"], second["params"]] == ["19378", "900"]
    assert csv_table([]) == ""


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
