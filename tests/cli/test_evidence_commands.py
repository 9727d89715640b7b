"""compare, journal, note, sync and what train keeps for them, from the outside."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.cli.app import run
from flyweight.records.store import Store
from tiny import write_recipe

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything happens in an empty folder with a home of its own, 80 columns wide."""
    for name in ("FLYWEIGHT_DATABASE", "FLYWEIGHT_TRACK", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYWEIGHT_AUTHOR", "Ada")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(write_recipe(tmp_path))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home of two results with two seeds each, the second changed from the first, and their recipe."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = str(write_recipe(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWEIGHT_HOME", str(folder / "home"))
        for seed in ("0", "1"):
            common = ["train", recipe, "--seed", seed, "--study", "rates"]
            assert run(common) == run([*common, "--set", "train.lr=0.02", "--set", "name=low"]) == 0
    return folder


@pytest.fixture
def study(trained: Path, home: Path) -> str:
    """The study in a home of this test alone."""
    shutil.copytree(trained / "home", home)
    shutil.copy(trained / "tiny.toml", home.parent)
    return "rates"


def test_compare_prints_the_difference_and_writes_its_page(flyweight, study):
    """By names, in 80 columns; the page it names is there."""
    code, out, _ = flyweight("compare", "tiny", "low")

    assert code == 0
    assert "lr 0.05 → 0.02" in out
    assert "no evidence of a difference" in out or "better" in out or "worse" in out
    pages = list((Path(os.environ["FLYWEIGHT_HOME"]) / "comparisons").glob("*/comparison.html"))
    assert len(pages) == 1
    assert all(len(line) <= 80 or "/" in line or "flyweight compare" in line for line in out.splitlines())
    assert "--until-sure --study rates" in out or "no evidence" not in out


def test_compare_as_json_has_every_figure(flyweight, study):
    """Strict JSON, one value for each result after the first."""
    code, out, _ = flyweight("compare", "tiny", "low", "--json", "--on", "validation")

    (found,) = json.loads(out)
    assert code == 0
    assert found["part"] == "validation"
    assert found["baseline"]["seeds"] == found["changed"]["seeds"] == [0, 1]
    assert [change["key"] for change in found["changes"]] == ["train.lr"]
    assert Path(found["page"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["tiny"], "needs two results, found one"),
        (["tiny", "lo"], "no run 'lo'"),
        (["tiny", "tiny"], "its runs are seeds of one result"),
        (["tiny", "low", "--max-seeds", "4"], "--max-seeds needs --until-sure"),
        (["tiny", "low", "low", "--until-sure"], "--until-sure compares two results, found 3"),
        (["tiny", "low", "--study", "rate"], "Did you mean 'rates'"),
        (["tiny", "low", "--until-sure", "--max-seeds", "2"], "--max-seeds must be 3 or more"),
    ],
)
def test_an_invalid_comparison_is_refused_in_one_line(flyweight, study, arguments, reported):
    """With exit code 2, nothing on stdout, and no page written."""
    code, out, err = flyweight("compare", *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("flyweight: ")
    assert reported in err
    assert not (Path(os.environ["FLYWEIGHT_HOME"]) / "comparisons").exists()


def test_until_sure_reports_each_look(flyweight, study):
    """On stderr, with the seeds so far; the result on stdout is the last one's."""
    code, out, err = flyweight("compare", "tiny", "low", "--until-sure", "--max-seeds", "3", "--json")

    (found,) = json.loads(out)
    assert code == 0
    assert "1 of 1, 3 and 3 seeds: " in err
    assert found["baseline"]["seeds"] == [0, 1, 2]
    assert "tiny seed 2  run " in err
    assert "low seed 2  run " in err


def test_a_journal_in_every_form(flyweight, study):
    """Text, Markdown, CSV and JSON tell the same steps; the page is written where it says."""
    forms = {form: flyweight("journal", study, f"--{form}") for form in ("md", "csv", "json", "html")}
    code, text, _ = flyweight("journal", study)

    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    rows = json.loads(forms["json"][1])["rows"]
    assert [row["changed"] for row in rows] == ["start", "lr 0.05 → 0.02"]
    assert len(list(csv.DictReader(io.StringIO(forms["csv"][1])))) == 2
    for reported in (text, forms["md"][1], forms["csv"][1], Path(forms["html"][1].strip()).read_text()):
        assert "lr 0.05 → 0.02" in reported
        assert "one seed" not in reported
    assert {code for code, *_ in forms.values()} == {0}


def test_an_empty_journal_says_how_to_begin(flyweight):
    """Nothing on record is no error; an unknown study is."""
    code, out, err = flyweight("journal", "--json")
    assert (code, json.loads(out)["rows"]) == (0, [])
    assert "no runs yet" in err

    code, _, err = flyweight("journal", "rates")
    assert code == 2
    assert "`flyweight train --study NAME` starts one" in err


def test_notes_stand_in_the_journal_with_their_author(flyweight, study):
    """The expectation of train comes before the run; the newest note of a kind is shown."""
    flyweight("train", "tiny.toml", "--study", study, "--set", "train.lr=0.2", "--expect", "it | breaks")
    code, _, err = flyweight("journal", "note", "@latest", "--after", "it did not", "--author", "Grace")
    assert (code, "noted after, by Grace" in err) == (0, True)

    rows = json.loads(flyweight("journal", study, "--json")[1])["rows"]

    assert (rows[2]["before"]["text"], rows[2]["before"]["author"]) == ("it | breaks", "Ada")
    assert (rows[2]["after"]["text"], rows[2]["after"]["author"]) == ("it did not", "Grace")
    assert not any("written after" in flag for flag in rows[2]["flags"])
    assert "it \\| breaks" in flyweight("journal", study, "--md")[1]


def test_a_note_goes_to_the_study_of_the_run_that_is_named(flyweight, study, tmp_path):
    """Also of a run that was stopped; of a recipe in several studies it must be said which."""
    first = Store.open().runs(study=study)[-1]
    flyweight("train", "tiny.toml", "--seed", "5", "--study", "more")

    assert flyweight("journal", "note", first.id, "--after", "one")[0] == 0
    code, _, err = flyweight("journal", "note", "tiny", "--after", "two")
    assert (code, "is in the studies more, rates; choose one with --study" in err) == (2, True)
    assert flyweight("journal", "note", "tiny", "--after", "two", "--study", "more")[0] == 0
    stopped = Store.open().start(**{**STARTED, "study": "stopped"})
    assert flyweight("journal", "note", stopped.id, "--before", "three")[0] == 0

    assert [(note.text, note.study) for note in Store.open().notebook.notes()] == [
        ("one", "rates"),
        ("two", "more"),
        ("three", "stopped"),
    ]


STARTED = {
    "name": "by hand",
    "seed": 0,
    "recipe": {},
    "recipe_hash": "ab",
    "params": 1,
    "macs": 1,
    "registered_params": 1,
    "data_name": "mnist",
    "data_hash": "d",
    "split_hash": "s",
    "environment": {},
    "epochs_planned": 1,
}


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["@latest"], "--before"),
        (["@latest", "--after", "  "], "note is empty"),
        (["nobody", "--after", "x"], "no run 'nobody'"),
        (["@latest", "--after", "x", "--author", " "], "--author must be a name"),
    ],
)
def test_an_invalid_note_is_not_stored(flyweight, study, arguments, reported):
    """Exit code 2 and one line."""
    code, _, err = flyweight("journal", "note", *arguments)

    assert code == 2
    assert reported in err
    assert Store.open().notebook.notes() == ()


def test_a_step_knows_what_it_was_changed_from(flyweight, recipe, tmp_path):
    """By --set, by --budget and by extends; a recipe on its own has no parent, nor has a change of nothing."""
    (tmp_path / "child.toml").write_text('extends = "tiny.toml"\n[train]\nlr = 0.02\n')
    flyweight("train", recipe)
    flyweight("train", recipe, "--set", "train.lr=0.02")
    flyweight("train", "child.toml")
    flyweight("train", "child.toml", "--budget", "1900")
    flyweight("train", recipe, "--set", "train.lr=0.05")

    same, limited, child, changed, root = Store.open().runs()

    assert root.parent_hash is None
    assert changed.parent_hash == child.parent_hash == root.recipe_hash
    assert limited.parent_hash == child.recipe_hash
    assert same.parent_hash is None


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["--study", " "], "--study must be a name"),
        (["--study", "note"], "--study must be a name other than 'note'"),
        (["--expect", ""], "--expect is empty"),
        (["--track", "clipboard"], "clipboard"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_trained(flyweight, recipe, arguments, reported):
    """Exit code 2 and no run on record."""
    code, _, err = flyweight("train", recipe, *arguments)

    assert code == 2
    assert reported in err
    assert Store.open().runs() == ()


def test_a_resumed_run_keeps_its_study(flyweight, recipe):
    """To give another is refused."""
    code, _, err = flyweight("train", "--resume", "@latest", "--study", "other", "--expect", "x")

    assert code == 2
    assert "--study, --expect" in err


def test_runs_of_a_study_go_out_as_one_file(flyweight, study, tmp_path):
    """All of them, whatever the list shows; an unknown suffix is refused."""
    code, out, _ = flyweight("runs", "--study", study, "--out", "runs.csv")

    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert (code, out.strip(), len(rows)) == (0, "runs.csv", 4)
    assert {row["recipe.train.lr"] for row in rows} == {"0.05", "0.02"}
    assert {row["study"] for row in rows} == {study}
    assert flyweight("runs", "--out", "runs.xlsx")[0] == 2


def test_runs_are_listed_by_their_purpose(flyweight, home):
    """By default those that people asked for; where only others match, the line says how to see them."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "evidence"))
    from recorded import record_seeds

    record_seeds(Store.open(), [980], study="mine")
    record_seeds(Store.open(), [981, 982], study="003", purpose="reproduction")

    def purposes(*arguments: str) -> list[str]:
        return [row["purpose"] for row in json.loads(flyweight("runs", *arguments, "--json")[1])]

    assert purposes() == ["run"]
    assert purposes("--purpose", "reproduction") == ["reproduction"] * 2
    assert purposes("--purpose", "all") == ["reproduction"] * 2 + ["run"]
    code, out, err = flyweight("runs", "--study", "003")
    assert (code, "981" in out) == (0, False)
    assert "--purpose reproduction" in err
    assert flyweight("runs", "--purpose", "trail")[0] == 2
    journals = [json.loads(flyweight("journal", *some, "--json")[1]) for some in ([], ["003"])]
    assert [len(found["rows"][0]["runs"]) for found in journals] == [1, 2]


def test_runs_are_reported_to_trackers_as_they_happen(flyweight, recipe, home, monkeypatch):
    """By option and by setting; what could not be sent waits, and sync sends it."""
    pytest.importorskip("tensorboard")
    blocked = home / "trackers" / "tensorboard"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")

    code, _, err = flyweight("train", recipe, "--track", "tensorboard")
    assert code == 0
    assert err.count("tensorboard: ") == 1
    code, out, _ = flyweight("sync")
    assert (code, "still waiting" in out) == (1, True)
    blocked.unlink()
    assert flyweight("sync")[:2] == (0, f"sent: 1 to tensorboard at {blocked}\n")
    assert flyweight("sync", "tensorboard", "--json")[0] == 0
    monkeypatch.setenv("FLYWEIGHT_TRACK", "tensorboard")
    flyweight("train", recipe)

    assert len(list(blocked.glob("*/events.*"))) == 2
    assert flyweight("sync")[1] == "nothing was waiting\n"


@pytest.mark.slow
def test_ten_thousand_runs_are_reported_in_about_a_second(home):
    """The journal of 10,000 runs costs less than ten times that of one: no work per run but arithmetic."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "evidence"))
    from recorded import record_seeds

    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "flyweight", "journal"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    store = Store.open()
    record_seeds(store, [980], with_files=False)
    single = min(seconds() for _ in range(3))
    many(store)

    assert min(seconds() for _ in range(3)) < 10 * single


def many(store: Store) -> None:
    """10,000 finished runs of 2,500 recipes in one transaction: started one by one they would take a minute."""
    from sqlalchemy import create_engine, insert

    from flyweight.records.tables import runs

    engine = create_engine(store.url)
    with engine.begin() as connection:
        (first,) = connection.execute(runs.select()).mappings()
        rows = [
            {
                **first,
                "id": f"1m{number:018}",
                "seed": number % 4,
                "recipe_hash": f"{number // 4:064x}",
                "recipe": {**first["recipe"], "train": {**first["recipe"]["train"], "lr": 0.1 + number // 4 / 1e5}},
                "parent_hash": f"{max(0, number // 4 - 1):064x}",
                "test_correct": 900 + number * 7 % 90,
            }
            for number in range(10_000)
        ]
        connection.execute(insert(runs), rows)
