"""A journal as table, README, rows and page: true to the value, quick, and safe whatever people wrote."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from made_runs import OFTEN, SELDOM, recipe, train
from markdown_it import MarkdownIt
from test_comparison_page import BROWSER, HOSTILE, Page, rendered_width, too_wide

from flyweight.evidence.journal import Journal, journal
from flyweight.recipe import recipe_hash
from flyweight.records.store import Store
from flyweight.report.journal.page import MAX_DRAWN, write_journal
from flyweight.report.journal.scales import Scale
from flyweight.report.journal.text import journal_markdown, journal_rows, journal_text
from flyweight.tables import plain


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'records.db'}", tmp_path / "home")


def made(store: Store, *, study: str = "widths", words: str = "half the lr") -> Journal:
    """Five steps: a start from outside the study, a better one with notes, a confounded, a single, a diverged one."""
    base, slower = recipe(), recipe("train.lr=0.05")
    others = recipe("train.lr=0.02", "train.batch_size=32", "train.shuffle=false")
    train(store, base, OFTEN)
    store.notebook.write_note(recipe_hash(slower), "before", words, author="Ada", study=study)
    train(store, slower, SELDOM, study=study, parent=base)
    store.notebook.write_note(recipe_hash(slower), "after", f"{words} is enough", author=f"Ada {words}", study=study)
    train(store, others, OFTEN, study=study, parent=slower)
    train(store, recipe("train.epochs=1", "train.lr=0.2"), OFTEN[:1], study=study, parent=base, epochs=1)
    train(store, recipe("train.lr=5"), OFTEN[:2], study=study, parent=base, status="diverged")
    return journal(store, study)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Journal]:
    """A journal with its store, for the tests that leave the runs as they are."""
    home = tmp_path_factory.mktemp("home")
    store = Store.open(f"sqlite:///{home / 'records.db'}", home)
    return store, made(store)


def test_a_step_is_a_line(known):
    """Where it came from, what it changed, its result, effect and verdict, in 80 columns, and the words below."""
    _, found = known

    text = journal_text(found)

    lines = text.splitlines()
    assert lines[0].split() == ["#", "from", "params", "test", "%", "n", "effect", "verdict", "what", "changed"]
    assert re.match(r"1 .* start: own/base", lines[1])
    assert re.match(r"2 +1 +\S+  99.12 ± 0.08  5 +\+1.26  better +lr 0.1 → 0.05", lines[2])
    assert re.search(r"-1.26  confounded", lines[3])
    assert any(re.search(r"98.00 +1 .* one seed ", line) for line in lines)
    assert any(re.search(r" - +0 +diverged", line) for line in lines)
    assert not too_wide(text)
    reported = " ".join(text.split())
    assert re.search(r"step 2 expected: half the lr \(Ada, \d{4}-\d\d-\d\d\)", reported)
    assert "found: half the lr is enough" in reported
    assert "step 4 note: epochs 3 → 1: the effect includes the other length of training" in reported
    assert all(f"note {flag}" in reported for flag in found.flags)


def test_a_wider_terminal_shows_more(known):
    """The run and the seconds come where there is room; what changed is wrapped, and never cut."""
    _, found = known

    narrow, wide = journal_text(found), journal_text(found, width=140)

    assert "…" not in narrow
    for word in found.rows[2].changed.split():
        assert word in narrow
    assert "lr 0.05 → 0.02, shuffle yes → no" in wide.splitlines()[3]
    assert wide.splitlines()[0].split()[-4:] == ["run", "s", "what", "changed"]
    assert f"{found.rows[2].run[:12]}  12" in wide.splitlines()[3]


def test_a_step_of_several_seeds_is_not_said_to_have_one(store):
    """The verdict says which of the two steps has one seed alone."""
    base = recipe()
    train(store, base, OFTEN[:1], study="few")
    train(store, recipe("train.lr=0.2"), SELDOM[:2], study="few", parent=base)
    found = journal(store, "few")

    assert re.search(r"one seed in 1  ", journal_text(found).splitlines()[2])
    assert "one seed in 1" in journal_markdown(found)
    assert found.rows[1].verdict.kind == "one seed"


def test_columns_that_say_nothing_are_left_out(store):
    """Runs that come from nowhere have no effect; an empty journal says what fills it."""
    empty = journal(store)
    train(store, recipe(), OFTEN)

    alone = journal(store)

    assert journal_text(empty) == journal_markdown(empty) != ""
    assert "effect" not in journal_text(alone)
    assert "effect" not in journal_markdown(alone)
    assert alone.rows[0].run[:12] in journal_text(alone)


def test_ten_thousand_steps_are_quick(known):
    """The table of a very long journal is made in well under a second."""
    _, found = known
    long = replace(found, rows=tuple(replace(row, number=place) for place, row in enumerate(found.rows * 2000)))

    began = time.process_time()
    text = journal_text(long)
    seconds = time.process_time() - began

    assert len(text.splitlines()) > 10_000
    assert seconds < 1.5  # 0.2 s of an idle core


def test_rows_are_for_programs(known):
    """Fractions, full ids and whole words, the same keys in each row, and JSON takes them."""
    _, found = known

    rows = journal_rows(found)

    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert json.loads(json.dumps(rows)) == rows
    step = rows[1]
    assert (step["parent"], step["changed"], step["n"], step["verdict"]) == (1, "lr 0.1 → 0.05", 5, "better")
    assert (step["accuracy"], step["effect"]) == (found.rows[1].result.mean, found.rows[1].effect.effect)
    assert (step["run"], step["expected"], step["found_by"]) == (found.rows[1].run, "half the lr", "Ada half the lr")
    assert rows[4]["accuracy"] is None


def rendered(markdown: str) -> tuple[list[list[str]], list[str]]:
    """What a reader of the Markdown sees: the cells of its tables and its list items; nothing but text in them."""
    rows, items, is_cell = [], [], False
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        is_cell = token.type in ("th_open", "td_open") or (is_cell and token.type == "inline")
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            assert {child.type for child in token.children} <= {"text", "text_special", "code_inline"}
            (rows[-1] if is_cell else items).append("".join(child.content for child in token.children))
    return rows, items


@pytest.mark.parametrize("words", ["half the lr", HOSTILE, "=cmd()", "+1|2", "`a` *b* _c_ [d](e) ~~f~~ \\| <g> &amp;"])
def test_markdown_shows_what_was_written(store, words):
    """Rendered, each row has all its cells, and notes read as they were typed: no markup, link, formula or HTML."""
    found = made(store, words=words)

    rows, items = rendered(journal_markdown(found))

    assert len(rows) == 1 + len(found.rows)
    assert {len(row) for row in rows} == {10}
    heads = rows[0]
    assert heads[:4] == ["step", "what changed", "parameters", "test accuracy, %"]
    assert rows[2][heads.index("expected")].startswith(f"{plain(words)} (Ada, ")
    assert rows[2][heads.index("found")].startswith(f"{plain(words)} is enough (Ada {plain(words)}, ")
    assert rows[2][3].startswith("99.12 ± 0.08 (5) [99.02 to 99.22]")
    assert set(found.flags) <= set(items)
    assert "step 4: epochs 3 → 1: the effect includes the other length of training" in items


def test_a_page_shows_every_step(store):
    """Verdicts in words and signs, notes, a dot on the common axis, a line a seed, and links to the runs' reports."""
    found = made(store)
    for run in store.runs():
        (store.folder(run.id).path / "report.html").write_text(f"report of {run.id}")

    path = write_journal(store, found)

    page, source = Page(path), path.read_text(encoding="utf-8")
    assert path == store.home / "journals" / "widths.html"
    assert source.count("<polyline") == 5 + 5 + 5
    assert source.count('class="reach"') == 4
    assert source.count('class="many"') == 3 + 1
    assert source.count('class="single"') == 1
    for expected in (
        "▲ better",
        "◆ confounded",
        "· one seed",
        "✕ diverged",
        "expected: half the lr",
        "+1.26",
        "seeds 0",
    ):
        assert expected in " ".join(page.words.split())
    links = [target for target in page.targets if target.endswith("report.html")]
    assert len(links) == 5 + 5 + 5 + 1 + 2
    assert {(path.parent / unquote(link)).read_text() for link in links} == {
        f"report of {run.id}" for run in store.runs()
    }
    assert {target for target in page.targets if target not in links} <= {f"#step-{n}" for n in range(6)} | {"#ticks"}


def test_hostile_words_stay_text(store):
    """Studies, notes and authors called like scripts break neither page, table nor file name."""
    found = made(store, study=HOSTILE, words=HOSTILE)

    path = write_journal(store, found)

    page = Page(path)
    assert path.parent == store.home / "journals"
    assert "script" not in page.tags
    assert "<script>alert(1)" in page.words
    text = journal_text(found)
    assert "\x1b" not in text + path.read_text(encoding="utf-8")
    assert not too_wide(text)


def test_studies_never_share_a_page(store):
    """Names that are written alike on a disk, and one called as the page of everything."""
    empty = Journal(study=None, part="test", rows=(), test_openings=0, flags=())

    pages = {write_journal(store, replace(empty, study=name)).name for name in (None, "all", "a b", "a/b", "a-b", "…")}

    assert len(pages) == 6
    assert {"all.html", "a-b.html"} <= pages


def test_missing_runs_are_left_out(known):
    """A page of steps whose runs are no longer on record is written without their lines."""
    store, found = known
    gone = replace(found, rows=tuple(replace(row, runs=tuple(run[::-1] for run in row.runs)) for row in found.rows))

    source = write_journal(store, gone).read_text(encoding="utf-8")

    assert "<polyline" not in source
    assert source.count('class="reach"') == 4


def test_a_very_long_journal_draws_less(known):
    """Beyond some hundred steps how each learned is not drawn, and the page says so."""
    store, found = known
    rows = tuple(replace(row, number=place) for place, row in enumerate(found.rows * (MAX_DRAWN // 5 + 1), 1))

    page = write_journal(store, replace(found, rows=rows)).read_text(encoding="utf-8")

    assert "<polyline" not in page
    assert f"more than {MAX_DRAWN} steps" in page
    assert page.count('class="reach"') == len(rows) // 5 * 4


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("words", ["half the lr", "a-word-without-a-blank-" * 8])
def test_nothing_is_wider_than_the_window(store, words, width):
    """On a desk the table fits, on a phone each step is a card."""
    page = write_journal(store, made(store, words=words))

    assert rendered_width(page, width) == width


def test_an_axis_of_errors():
    """Halving the mistakes is the same way everywhere, what lies outside stands at the end, and ticks are round."""
    scale = Scale(min=0.002, max=0.2)

    places = [scale.at(error) for error in (0.2, 0.1, 0.05, 0.002, 0.0, 1.0)]
    assert places[0] == places[5] == 0
    assert places[3] == places[4] == 1
    assert places[1] == pytest.approx(places[2] / 2)
    assert [round(error, 6) for error in scale.ticks()] == [0.01, 0.1]
    assert len(Scale(min=0.0041, max=0.0062).ticks()) == 2
