"""The folder of a document's pages: what it keeps is evidence, and stays unless somebody asks otherwise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_replays import replay

from flyweight.report.reproduction.folder import write_pages
from flyweight.reproductions.document import document
from flyweight.reproductions.runs import Replay, read, to_json

STEP = "004-1"
HASHES = {"004": {STEP: "hash"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """It keeps a replay of the recipe as it is, and one of a recipe from before."""
    replays = [replay([0.98], step=STEP), replay([0.97], step=STEP, recipe_hash="older")]
    (tmp_path / "004.json").write_text(to_json(replays))
    return tmp_path


def written(folder: Path, *, replace: bool = False) -> tuple[dict[str, float], str]:
    """The clean accuracies of the folder by recipe after a run of another machine joined, and what was said."""
    new: Replay = dataclasses.replace(replay([0.99], step=STEP), machine={"processor": "Another"})
    said: list[str] = []
    found = document("004")
    write_pages([(found, [new])], folder, known=[found], hashes=HASHES, replace=replace, say=said.append)
    kept = {one.recipe_hash: one.clean.accuracy for one in read(folder / "004.json") if one.clean}
    return kept, "\n".join(said)


def test_kept_evidence_stays_and_the_difference_is_shown(folder):
    """A newer run of another machine does not take its place, nor does a changed recipe drop it."""
    kept, said = written(folder)

    assert kept == {"hash": 0.98, "older": 0.97}
    assert f"{STEP} seed 0: kept 98.00%" in said
    assert "on record 99.00% (Another)" in said
    assert "1 kept replay unchanged; --replace" in said
    assert "1 kept replay of recipes that have changed since: left out of the page" in said


def test_kept_evidence_is_replaced_on_request(folder):
    """With the same lines about the difference."""
    kept, said = written(folder, replace=True)

    assert kept == {"hash": 0.99}
    assert "kept 98.00%" in said
    assert "replaced by those on record" in said
