"""flyweight journey from the outside: what it lists, tells, trains, judges, keeps and reads."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.cli.watch import Overall, time_left
from flyweight.experiment.events import Ended, EpochDone, Started, Stepped
from flyweight.records.store import Store
from flyweight.reproductions import replay as replays_of
from flyweight.train.metrics import EpochMetrics
from forked import ForkedCommand

Command = Callable[..., tuple[int, str, str]]
TABLE = """
| # | change | params | test acc |
|---|---|---|---|
| 1 | start | 12,026 | 97.10 |
| 2 | batch norm added | 12,026 | 98.005 |
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything happens in an empty folder with a home of its own, 80 columns wide, on few images."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FLYWEIGHT_DATABASE", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, count in (("TRAIN", 1600), ("TEST", 100), ("VALIDATION", 100)):
        monkeypatch.setattr(replays_of, f"QUICK_{name}", count)
    return tmp_path / "home"


def test_journeys_are_listed_with_how_much_of_them_is_on_record(flyweight: Command) -> None:
    """Five of them; a new home has replayed none."""
    code, out, _ = flyweight("journey", "--json")

    rows = json.loads(out)
    assert code == 0
    assert [(row["name"], row["steps"], row["replayed"]) for row in rows] == [
        ("000", 5, 0),
        ("001", 10, 0),
        ("002", 14, 0),
        ("003", 18, 0),
        ("004", 1, 0),
    ]


@pytest.mark.parametrize(("name", "steps"), [("000", 5), ("001", 11), ("002", 15), ("003", 21), ("004", 2)])
def test_a_story_has_a_line_for_each_step_within_80_columns(flyweight: Command, name: str, steps: int) -> None:
    """With its count, what was reported, and what was changed in words."""
    code, out, _ = flyweight("journey", "show", name)

    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert len(re.findall(rf"^{name}-|^002-b1", out, re.M)) == steps


def test_a_step_is_reported_in_full(flyweight: Command) -> None:
    """Every marked key with its value, every claim, and what the marks mean."""
    code, out, _ = flyweight("journey", "show", "001", "10")

    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^train.batch_size +assumed +48 +\(or 128 or 64; 48 is the last", out, re.M)
    assert re.search(r"^test accuracy, epoch 1 +stated +95.50 %$", out, re.M)
    assert "assumed: chosen here" in out


def test_without_runs_only_counts_are_judged(flyweight: Command) -> None:
    """Each claim by a line of its own; nothing is trained, and twice gives the same."""
    code, out, _ = flyweight("journey", "verify", "003", "10", "--claims", "--json")
    again = flyweight("journey", "verify", "003", "10", "--claims", "--json")

    rows = json.loads(out)
    assert code == 0
    assert again[1] == out
    assert len(rows) == 5
    assert sorted({row["verdict"] for row in rows}) == ["not run", "refuted"]
    assert [row["low"] for row in rows] == [None] * 5
    assert Store.open().runs() == ()


def test_a_quick_run_trains_and_is_no_evidence(flyweight: Command) -> None:
    """Each step once, one of which diverges; it says what it is, and no verdict rests on it."""
    code, out, err = flyweight("journey", "run", "000", "1", "5", "--quick")

    assert code == 0
    assert re.search(r"^000-1 +1 +diverged$", out, re.M)
    assert re.search(r"^000-5 +1 +finished +\d+\.\d%$", out, re.M)
    assert "2 of 2 runs" in err
    assert "no evidence" in err
    assert "is no evidence" in err.splitlines()[-1]
    _, verified, _ = flyweight("journey", "verify", "000", "--claims", "--json")
    assert {row["verdict"] for row in json.loads(verified)} == {"confirmed", "not run"}


def test_pages_are_made_again_from_what_they_keep(flyweight: Command, tmp_path: Path) -> None:
    """Page, picture and records for each document and a list of them; a second time, without a run, the same bytes."""
    code, out, _ = flyweight("journey", "report", "--out", "pages")
    first = {path.name: path.read_bytes() for path in (tmp_path / "pages").iterdir()}
    flyweight("journey", "report", "002", "003", "--out", "pages", "--home", str(tmp_path / "elsewhere"))
    second = {path.name: path.read_bytes() for path in (tmp_path / "pages").iterdir()}

    assert code == 0
    assert len(out.splitlines()) == 16
    assert sorted(first) == sorted(
        ["README.md", *(f"00{n}.{kind}" for n in range(5) for kind in ("json", "md", "png"))]
    )
    assert first == second
    code, out, _ = flyweight("journey", "verify", "004", "--records", "pages", "--json")
    assert code == 0
    code, _, err = flyweight("journey", "verify", "004", "--records", "nowhere")
    assert code == 6
    assert "found no 004.json in nowhere" in err


def test_a_page_that_flyweight_did_not_write_is_kept(flyweight: Command, tmp_path: Path) -> None:
    """Nor is anything else written then; a folder that keeps one document lists one."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my notes")

    code, _, err = flyweight("journey", "report", "004", "--out", "mine")
    other, out, _ = flyweight("journey", "report", "004", "--out", "pages")

    assert code == 2
    assert "was not written by flyweight" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]
    assert (tmp_path / "mine" / "README.md").read_text() == "my notes"
    assert other == 0
    assert len(out.splitlines()) == 4
    assert "000.md" not in (tmp_path / "pages" / "README.md").read_text()


def test_a_journey_by_its_name_alone_is_shown(flyweight: Command) -> None:
    """As `show` does, steps included."""
    assert flyweight("journey", "003") == flyweight("journey", "show", "003")
    assert flyweight("journey", "003", "17") == flyweight("journey", "show", "003", "17")


def test_someones_table_is_read_and_doubted(flyweight: Command, tmp_path: Path) -> None:
    """A count that cannot have stayed and an accuracy that 10,000 images cannot give, by row."""
    (tmp_path / "log.md").write_text(TABLE)

    code, out, err = flyweight("journey", "import", "log.md", "--json")

    doubts = json.loads(out)
    assert code == 0
    assert {(doubt["row"], doubt["column"]) for doubt in doubts} >= {(2, "params"), (2, "test acc")}
    assert "2 rows read" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "009"], 2, "Documents are 000, 001, 002, 003, 004"),
        (["shwo", "003"], 2, "Did you mean 'show'?"),
        (["show", "003-9"], 2, "For a step write 003 9."),
        (["run", "000", "9"], 2, "Steps are 000-1, 000-2, 000-3, 000-4, 000-5"),
        (["verify", "000", "x"], 2, "Steps are 000-1"),
        (["run", "000", "--seeds", "0"], 2, "--seeds must be 1 to 10,000, found 0"),
        (["import", "none.md"], 6, "cannot read none.md"),
        (["import", "."], 6, ". must be a file, found a folder"),
        (["report", "009", "--out", "pages"], 2, "Documents are"),
        (["verify", "000", "--records", "nowhere"], 6, "no 000.json in nowhere"),
        (["import", "ragged.md"], 6, "ragged.md"),
        (["import", "bytes.md"], 6, "UTF-8"),
    ],
)
def test_invalid_arguments_are_one_line(
    flyweight: Command, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """With the documented exit code; nothing is written."""
    (tmp_path / "ragged.md").write_text("| params | acc |\n|---|---|\n| 100 | 99.1 | 7 |\n")
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe|")

    found, out, err = flyweight("journey", *arguments)

    assert found == code
    assert words in err
    assert out == ""
    assert not (tmp_path / "pages").exists()


def test_a_stopped_journey_says_how_to_continue(tmp_path: Path) -> None:
    """Ctrl-C ends it with the documented code; the same command continues with the same run."""
    options = ["--seeds", "2", "--at-once", "1", "--home", "kept"]
    process = ForkedCommand("journey", "run", "004", *options)
    store = Store.open(home=tmp_path / "kept")
    while not store.runs(status="running", purpose="all"):
        assert process.returncode is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()

    (stopped,) = store.runs(purpose="all")
    assert process.returncode == 130
    assert stopped.status == "interrupted"
    assert "continue with: flyweight journey run 004 --seeds 2 --at-once 1 --home kept" in err
    assert re.search(r"^004-1 +19,349 +99.43 +0 +1 +\d+$", out, re.M)


def test_the_bar_weighs_runs_by_their_work() -> None:
    """Half of the work done in ten seconds leaves ten; an interrupted run is not over, a resumed one not started
    again."""
    now = [0.0]
    bar = Overall({"small": 1.0, "large": 3.0}, {"small": 1, "large": 1}, clock=lambda: now[0])
    assert bar.figures() == "0 of 2 runs"

    bar.line_for(Started(run_id="a", seed=0, name="large", params=1, epochs=2))
    now[0] = 10.0
    bar.line_for(
        Stepped(
            run_id="a",
            seed=0,
            epoch=2,
            epochs=2,
            step=1,
            n_steps=3,
            loss=0,
            accuracy=0,
            images_per_second=0,
            seconds_left=0,
        )
    )
    assert bar.share == pytest.approx(0.5)
    assert bar.figures() == "0 of 2 runs, 10 s left"

    metrics = EpochMetrics(
        epoch=2,
        train_loss=0,
        train_accuracy=0,
        validation_loss=0,
        validation_accuracy=0.9,
        lr=0,
        seconds=1,
        images_per_second=1,
    )
    bar.line_for(EpochDone(run_id="a", seed=0, epochs=2, metrics=metrics))
    assert (
        bar.line_for(Ended(run_id="a", seed=0, status="finished", message=""))
        == "large seed 0: finished, validation 90.00%"
    )
    bar.line_for(Started(run_id="b", seed=1, name="small", params=1, epochs=4, first_epoch=3))
    assert bar.share == pytest.approx(3.5 / 4)
    bar.line_for(Ended(run_id="b", seed=1, status="interrupted", message=""))
    assert bar.figures().startswith("1 of 2 runs")
    assert time_left(5400) == "90 min"


def test_the_pages_of_the_repository_are_what_their_records_give(flyweight: Command, tmp_path: Path) -> None:
    """Made again from the JSON beside them, without any run, each page has the bytes that it has."""
    docs = Path(__file__).parents[2] / "docs" / "journeys"
    for path in docs.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())

    code, out, _ = flyweight("journey", "report", "--out", ".")

    made = sorted(path.name for path in tmp_path.glob("*.md"))
    assert code == 0
    assert made == ["000.md", "001.md", "002.md", "003.md", "004.md", "README.md"]
    assert len(out.splitlines()) == 16
    for name in (*made, *(path.name for path in docs.glob("*.json"))):
        assert (tmp_path / name).read_text(encoding="utf-8") == (docs / name).read_text(encoding="utf-8"), name
