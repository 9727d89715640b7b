"""Lay out what Sphinx reads: the repository's pages at the places they have there, the generated reference, the index.

A page of docs/ that no table names is shown all the same, under "Explanation".
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from website.reference import reference_pages

ROOT: Final = Path(__file__).parent.parent
TOP: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")

# The four kinds of page, in the order of the menu: what is read once, done, understood, looked up.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Tutorials": ("first-net", "own-pictures", "budget-to-page"),
    "How to": ("install", "recipes", "data", "search", "evidence", "doctor", "export", "page", "journeys", "records"),
    "Explanation": ("notation", "counting", "speed"),
    "Reference": (),
    "The project": ("architecture", "journeys/README", "notebook"),
}
REST: Final = "Explanation"
_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)#:\s]+)(#[^)]*)?\)")


def stage(folder: Path) -> None:
    """Fill an empty folder with all that the site is made of."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.json", "__pycache__"))
    for name in TOP:
        shutil.copy2(ROOT / name, folder / name)
    reference = reference_pages()
    (folder / "reference").mkdir()
    for name, text in reference.items():
        (folder / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    for page in [*folder.glob("*.md"), *(folder / "docs").rglob("*.md")]:
        page.write_text(without_outside_links(page, folder), encoding="utf-8")
    (folder / "index.md").write_text(index(folder, tuple(reference)), encoding="utf-8")


def without_outside_links(page: Path, folder: Path) -> str:
    """The text of a page; links to files of the repository that are not of the site become their names."""

    def shown(found: re.Match[str]) -> str:
        target = (page.parent / found[2]).resolve()
        if target.is_file() and target.suffix == ".md":
            return found[0]
        place = target.relative_to(folder.resolve())
        return found[0] if target.is_file() or not (ROOT / place).exists() else f"{found[1]} (`{place}`)"

    return _LINK.sub(shown, page.read_text(encoding="utf-8"))


def menu(folder: Path, reference: tuple[str, ...]) -> dict[str, list[str]]:
    """Each kind with the pages that are there; every page stands in one place."""
    pages = {
        str(page.relative_to(folder / "docs").with_suffix(""))
        for page in (folder / "docs").rglob("*.md")
    }  # fmt: skip
    named = {kind: [name for name in names if name in pages] for kind, names in KINDS.items()}
    rest = pages - {name for names in named.values() for name in names}
    found = {kind: [f"docs/{name}" for name in names] for kind, names in named.items()}
    found[REST] += sorted(f"docs/{name}" for name in rest if "/" not in name)
    found["The project"][2:2] = sorted(f"docs/{name}" for name in rest if "/" in name)
    found["Reference"] += [f"reference/{name}" for name in reference]
    found["The project"] += [Path(name).stem for name in TOP if name != "README.md"]
    return found


def index(folder: Path, reference: tuple[str, ...]) -> str:
    """The README, and the menu under it."""
    trees = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: {kind}", "", *pages, "```"])
        for kind, pages in menu(folder, reference).items()
    )
    text = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").unlink()
    return text + "\n\n" + "\n\n".join(trees) + "\n"
