"""What the documents of notation and counting show is what happens."""

import doctest
import re
from pathlib import Path

import pytest

from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.model.spec import FORMS, MODIFIERS, WORDS

DOCS = Path(__file__).parents[2] / "docs"
NOTATION = (DOCS / "notation.md").read_text(encoding="utf-8")


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table that starts with `header`, without their backticks; '|' in a cell is written '\\|'."""
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("name", ["notation.md", "counting.md"])
def test_examples_of_the_documents_are_true(name: str) -> None:
    """Every line at a prompt gives what stands under it."""
    result = doctest.testfile(str(DOCS / name), module_relative=False)

    assert result.failed == 0
    assert result.attempted >= 8


def test_every_token_is_in_the_table_with_an_example_that_parses() -> None:
    """No word or form is left out, none is invented, and each example is the layer of its own line."""
    table_rows = rows(NOTATION, "| token | layer |")
    tokens = [token for cells in table_rows for token in re.findall(r"`([^`]+)`", cells[0])]
    examples = [cells[-1].strip("`") for cells in table_rows]
    heads = {re.sub(r"[A-Z]$", "", token) for token in tokens if "(" not in token}

    assert heads == set(WORDS) | {form.head for form in FORMS}
    assert len(examples) == len(table_rows) >= 30
    for example in examples:
        assert str(parse_net(example)) == example


def test_every_modifier_is_in_the_table_with_its_layers() -> None:
    """The layers named are those that take it, and no others."""
    reported = {
        cells[0].strip("`").rstrip("N"): set(re.findall(r"`(\w+)`", cells[2])) for cells in rows(NOTATION, "| modifier")
    }
    taken = {
        letter: {form.head for form in FORMS if letter in form.modifiers.replace("n", "")} for letter in MODIFIERS
    } | {"nb": {form.head for form in FORMS if "n" in form.modifiers}}

    assert reported == taken


def test_first_net_of_the_document_is_the_first_one_counted() -> None:
    """The net under the first sentence is a whole one."""
    first = re.search(r"```\n(.+)\n```", NOTATION)

    assert first
    assert count(first[1]).out_shape == (10,)
