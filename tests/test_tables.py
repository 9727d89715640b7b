"""Tables in their forms: aligned for people, escaped for what reads them next, the same cells in each."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from flyweight.tables import (
    Column,
    Markdown,
    Table,
    as_csv,
    as_markdown,
    as_text,
    cut,
    in_markdown,
    plain,
    table_of,
)

ROWS = [
    {"run": "1m7yk", "name": "=cmd|' /C calc'!A0", "params": 19378, "test %": "99.45"},
    {"run": "1m7ym", "name": "<b>tiny</b>", "params": 900, "test %": None},
]
SIGNS = st.text(alphabet="ab1 \\`*_[]()#|~$<>&!-=+.:\n\t\"'é数", max_size=30)


def cells_of(markdown: str) -> list[list[str]]:
    """What a reader of a Markdown table sees; nothing but text may be in it."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            assert {child.type for child in token.children or ()} <= {"text", "text_special"}
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_text_sets_numbers_to_the_right():
    """Columns are as wide as their widest cell, and thousands have commas."""
    header, first, second = as_text(table_of(ROWS)).splitlines()

    assert header.index("params") + len("params") == first.index("19,378") + len("19,378") == second.index("900") + 3


def test_no_rows_are_no_table():
    """Nothing is printed, in any form."""
    assert as_text(table_of([])) == as_markdown(table_of([])) == as_csv(table_of([])) == ""


def test_wide_characters_are_counted_as_a_terminal_shows_them():
    """Chinese characters fill two columns, so what follows them stands below what follows others."""
    lines = as_text(table_of([{"name": "数字", "run": "a"}, {"name": "tiny", "run": "b"}])).splitlines()

    assert [cell_len(line[:-1]) for line in lines[1:]] == [6, 6]


def test_text_moves_no_cursor():
    """A name with a line break or an escape sequence stays in its row."""
    text = as_text(table_of([{"name": "two\nlines \x1b[2J"}]))

    assert text.splitlines() == ["name", "two lines \ufffd[2J"]


@pytest.mark.parametrize("width", range(20, 60))
def test_a_table_keeps_within_a_width(width):
    """First the optional columns go, the last of them first, then what may be cut is cut; the rest is whole."""
    table = Table(
        columns=(
            Column(header="step", min_width=6, wanted=12),
            Column(header="params", is_number=True),
            Column(header="run", is_optional=True),
            Column(header="seconds", is_number=True, is_optional=True),
        ),
        rows=(("a long name of a step", 19378, "1m7yk8", 12),),
    )

    header, row = as_text(table, width=width).splitlines()

    assert max(len(header), len(row)) <= width
    assert "19,378" in row
    assert ("run" in header) == (width >= 28)
    assert ("seconds" in header) == (width >= 37)
    assert ("…" in row) == (width < 46)


def test_the_last_column_runs_on_below_itself():
    """A long sentence is broken at blanks, each line under the one before, and no word is lost."""
    why = "a sentence that says in several words why something is so and nothing else"
    lines = as_text(table_of([{"step": "1", "why": why}], wraps=True), width=40).splitlines()

    assert max(map(len, lines)) <= 40
    assert {line[:6] for line in lines[2:]} == {" " * 6}
    assert " ".join(line[6:] for line in lines[1:]) == why


def test_markdown_is_one_table_whatever_stands_in_it():
    """A bar or a tag in a cell neither ends the cell nor is one; numbers are set to the right."""
    lines = as_markdown(table_of(ROWS)).splitlines()

    assert {line.replace("\\|", "").count("|") for line in lines} == {5}
    assert "<b>" not in "".join(lines)
    assert lines[1] == "| --- | --- | ---: | ---: |"


@given(st.lists(SIGNS, min_size=1, max_size=3), SIGNS)
def test_markdown_shows_text_as_it_was_written(texts, header):
    """Rendered, every cell reads as the text it was made of: no markup, link, formula or HTML."""
    table = as_markdown(Table(columns=(Column(header="#"), Column(header=header)), rows=tuple((1, t) for t in texts)))

    assert [row[1] for row in cells_of(table)] == [plain(header), *map(plain, texts)]


def test_markdown_of_ones_own_keeps_its_marks():
    """Only what would end the cell is escaped in it."""
    table = table_of([{"net": Markdown("`c8 +(c8 | c8/1)` *new*")}])

    assert as_markdown(table).splitlines()[2] == "| `c8 +(c8 \\| c8/1)` *new* |"


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@a", "a$b$c", "a#b", "1|2", "<b>"])
def test_markdown_cells_are_no_formulas(text):
    """A cell that is pasted into a spreadsheet is not computed, and still reads as it was written."""
    assert in_markdown(text)[0] not in "=+-@"
    assert cells_of(f"| a |\n|---|\n| {in_markdown(text)} |")[1] == [text]


def test_signed_numbers_are_numbers():
    """An effect is pasted as the number it is."""
    assert [in_markdown(text) for text in ("-1.23", "+0.5", "-1,000")] == ["-1.23", "+0.5", "-1,000"]


def test_csv_is_read_back_and_holds_no_formula():
    """A name that a spreadsheet would run is kept a text; numbers stay numbers."""
    first, second = csv.DictReader(io.StringIO(as_csv(table_of(ROWS))))

    assert first["name"].startswith("'=")
    assert [first["params"], second["params"]] == ["19378", "900"]


@pytest.mark.parametrize("width", range(1, 30))
def test_what_is_cut_fits(width):
    """Cut texts are never wider than asked, Chinese ones included, and say that something is missing."""
    for text in ("lr 0.1 → 0.05, batch_size", "学习率 0.1 → 0.05 学习率学习率"):
        found = cut(text, width)

        assert cell_len(found) <= width
        assert found == text or found.endswith("…")


@pytest.mark.parametrize("text", ["see https://evil.example/x", "ftp://a", "www.evil.example", "a WWW.evil.example b"])
def test_a_bare_address_in_a_cell_is_no_link_on_github(text):
    """Its extension of Markdown links what has :// or www. in it; escaped, a reader sees the same text."""
    escaped = in_markdown(text)

    assert not re.search(r"(?<!\\)://", escaped)
    assert "www." not in escaped.lower()
    assert re.sub(r"\\(.)", r"\1", escaped) == text


def test_a_wrapped_column_gives_way_in_a_narrow_terminal():
    """As `flyweight runs` in 60 columns: fixed columns of 40, and words that are wrapped beside them."""
    row = {"run": "1m8gk8778eww", "status": "interrupted", "val %": "99.41", "test %": "99.38"}
    row |= {"recipe and images": "own/20k-fast + epochs 1, lr 100, mnist 2,000 images, in float32"}

    text = as_text(table_of([row], gap=1, wraps=True), width=60)

    assert max(map(len, text.splitlines())) <= 60
    assert "float32" in text
