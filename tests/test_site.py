"""The site: every part of the reference has its text, every page its place, and every link leads somewhere."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import flyweight
from flyweight.cli.app import VERBS
from flyweight.code_check.table import FAULTS
from flyweight.doctor.table import RULES
from flyweight.errors import EXIT_CODES
from flyweight.recipe import Recipe
from flyweight.recipe.keys import keys_of
from website.__main__ import main
from website.reference import docstring, entries, reference_pages
from website.stage import KINDS, ROOT, menu, stage


class Page(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("img", "script") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and "href" in given:
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage")
    stage(folder)
    return folder


def test_everything_that_the_reference_lists_has_its_text():
    """Commands, options, public names, recipe keys, rules, faults and exit codes; none is missing from the list."""
    found = list(entries())

    assert [name for name, text in found if not text.strip()] == []
    names = {name for name, _ in found}
    assert {f"command flyweight {verb}" for verb in VERBS} <= names
    assert {f"flyweight.{name}" for name in flyweight.__all__} <= names
    assert {f"key {key.key}" for key in keys_of(Recipe)} <= names
    assert {f"rule {one.code}" for one in RULES} | {f"fault {one.code}" for one in FAULTS} <= names
    assert {f"exit code {code}" for code in EXIT_CODES} <= names
    assert sum(", --" in name for name in names) >= 100


def test_a_command_is_written_as_it_is_typed():
    """Its usage and its examples; nothing of the generator's own table of contents is left."""
    text = reference_pages()["commands"]

    assert "\nflyweight train [OPTIONS] [RECIPE]\n" in text
    assert "```console\n$ flyweight train own/20k-fast --seeds 5\n" in text
    assert "](#" not in text


def test_a_docstring_becomes_markdown():
    """Examples are code, arguments are a list, errors are set apart."""

    def f() -> None:
        """What it does.

        low, high: the rates. steps: how many.

        >>> 1 + 1
        2

        Raises:
            UsageError: never.
        """

    found = docstring(f)

    assert "```pycon\n>>> 1 + 1\n2\n```" in found
    assert "- `low, high`: the rates.\n- `steps`: how many." in found
    assert "**Raises**\n\nUsageError: never." in found


def test_every_page_stands_in_the_menu_once(staged):
    """A page that the table does not name is shown, too."""
    (staged / "docs" / "new.md").write_text("# New\n")
    found = Counter(page for pages in menu(staged, ("commands",)).values() for page in pages)
    (staged / "docs" / "new.md").unlink()

    assert set(found.values()) == {1}
    assert {f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md")} | {"docs/new", "reference/commands"} <= set(
        found
    )
    assert list(KINDS)[:4] == ["Tutorials", "How to", "Explanation", "Reference"]


def test_links_that_leave_the_site_are_plain_text(staged):
    """A folder of the repository is named, not linked; links to pages stay."""
    text = (staged / "docs" / "speed.md").read_text(encoding="utf-8")

    assert "(`benchmarks/device`)" in text
    assert "](../benchmarks/" not in text
    assert "](docs/doctor.md)" in (staged / "index.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_its_links_lead_somewhere(tmp_path):
    """Pages, anchors and pictures; nothing is loaded from a network, search included."""
    pytest.importorskip("furo")
    assert main(tmp_path) == 0

    pages = {path: Page(path) for path in tmp_path.rglob("*.html")}
    checked = 0
    for path, page in pages.items():
        assert not [one for one in page.loaded if one.startswith(("http:", "https:", "//"))], path
        for link in [*page.links, *(one.partition("?")[0] for one in page.loaded)]:
            if link.startswith(("http:", "https:", "mailto:")):
                continue
            target, _, anchor = link.partition("#")
            there = (path.parent / unquote(target)).resolve() if target else path
            assert there.is_file(), f"{path.name}: {link}"
            if anchor and there in pages:
                assert unquote(anchor) in pages[there].anchors, f"{path.name}: {link}"
            checked += 1
    assert len(pages) >= 25
    assert checked >= 1000
    assert (tmp_path / "searchindex.js").is_file()
