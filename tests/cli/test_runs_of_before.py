"""Runs and databases that flyweight 0.1.0 wrote still open: rows, folders, and a run that was stopped."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from flyweight.recipe import load
from flyweight.records.store import Store

STORED = Path(__file__).parent.parent / "runs_of_before" / "lab-0.1.0.tar.xz"
PLAIN, WITH_PROTOCOL, STOPPED = "1m8fptkjvk0046n0dvyb", "1m8fptm9fvvq9dzrdw47", "1m8fptn7aw1t8etxzr5p"
N_TRIALS = 11  # rows alone: their folders were deleted


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that version 0.1.0 left, unpacked."""
    folder = tmp_path_factory.mktemp("lab")
    with tarfile.open(STORED) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(autouse=True)
def home(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWEIGHT_HOME", str(lab))
    monkeypatch.delenv("FLYWEIGHT_DATABASE", raising=False)


def test_the_database_is_migrated_and_every_row_is_there(lab):
    """Runs that people asked for and runs of trials are distinguished by their purpose."""
    store = Store.open(home=lab)

    assert {run.id for run in store.runs(purpose="run")} == {PLAIN, WITH_PROTOCOL, STOPPED}
    assert len(store.runs(purpose="trial")) == N_TRIALS
    assert store.get("@best").id == WITH_PROTOCOL


@pytest.mark.parametrize("run", [PLAIN, WITH_PROTOCOL])
def test_a_finished_run_reports_predicts_and_is_diagnosed(flyweight, lab, run, tmp_path):
    """Every file of its folder is read: figures, curves, predictions, weights, reported metrics, probes and trials."""
    picture = tmp_path / "seven.png"
    drawn = Image.new("L", (100, 100), 255)
    ImageDraw.Draw(drawn).line([(30, 25), (70, 25), (45, 80)], fill=0, width=6)
    drawn.save(picture)

    assert load(lab / "runs" / run / "recipe.toml").model.net == "c4 bn r m2 c6 bn r gap flat fc10"
    for command in (("report", run), ("predict", run, str(picture)), ("doctor", run)):
        code, out, err = flyweight(*command)
        assert (code, bool(out)) == (0, True), err
    assert (lab / "runs" / run / "report.html").stat().st_size > 10_000


def test_figures_are_those_that_were_printed_when_it_was_trained(flyweight):
    """The test accuracy of the row and of the folder, and the metrics that the protocol of the recipe reported."""
    code, out, _ = flyweight("report", WITH_PROTOCOL, "--json")

    figures = json.loads(out)
    assert code == 0
    assert (figures["test"]["correct"], figures["test"]["count"], figures["test_openings"]) == (979, 10_000, 2)


def test_trials_of_before_are_known_to_the_doctor(flyweight):
    """What came of remedies that were tried is read from the folder again."""
    code, out, _ = flyweight("doctor", PLAIN, "--json")

    assert code == 0
    assert any("n = 2" in json.dumps(finding) for finding in json.loads(out)["findings"])


def test_a_run_that_was_stopped_continues(flyweight, lab):
    """Its checkpoint is read, and it ends with a result."""
    code, _, err = flyweight("train", "--resume", STOPPED)

    assert code == 0, err
    assert Store.open(home=lab).get(STOPPED).status == "finished"
