"""`flyweight bench` from the outside: its forms, where it keeps its record, and what it says of a stored one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from flyweight.bench.benchmark import Benchmark, read, write
from flyweight.bench.regression import check_regression
from flyweight.bench.rows import row
from flyweight.cli.app import run
from flyweight.cli.bench import print_result
from flyweight.cli.output import OutputFormat

QUICK = ["bench", "startup", "--quick"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything happens in an empty folder with a home of its own."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def made(ratio: float, **changes: Any) -> Benchmark:
    """A record of one row with this ratio."""
    settings = {"id": "x", "is_quick": True, "threads": None, "seeds": None, "cores_taken": 0.0, "machine": {}}
    rows = (row("train", "ours", "s/epoch", [1.0, 2.0], ratio=ratio, note="a | b"),)
    return Benchmark(**{**settings, **changes}, rows=rows)


def test_text_is_a_table_for_each_section(capsys, home):
    """Its record is kept in the home, and its path is on stderr."""
    code = run(QUICK)

    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert code == 0
    assert lines[:2] == ["startup", "-------"]
    assert lines[2].split() == ["contender", "quantity", "median", "quartiles", "n", "ratio"]
    assert max(map(len, lines)) <= 80
    (path,) = (home / "benchmarks").glob("*.json")
    assert f"written to {path}" in printed.err
    assert len(read(path).rows) == 3


@pytest.mark.parametrize("form", ["json", "md", "csv"])
def test_other_forms_hold_the_same_rows(capsys, form):
    """Section, contender, quantity, figures and note, whatever reads them next."""
    code = print_result(made(2.0), None, OutputFormat(**{form: True}))

    out = capsys.readouterr().out
    assert code == 0
    if form == "json":
        (found,) = json.loads(out)["rows"]
        assert (found["contender"], found["median"], found["ratio"]) == ("ours", 1.5, 2.0)
    elif form == "md":
        assert out.splitlines()[2] == "| train | ours | s/epoch | 1.50 | 1.25-1.75 | 2 | 2.00 | a \\| b |"
    else:
        (found,) = csv.DictReader(io.StringIO(out))
        assert (found["contender"], found["median"], found["note"]) == ("ours", "1.5", "a | b")


def test_a_fallen_ratio_is_exit_code_1(capsys):
    """The table says stored, now and verdict."""
    now, stored = made(1.0), made(2.0)

    code = print_result(now, check_regression(now, stored), OutputFormat())

    printed = capsys.readouterr()
    assert code == 1
    assert [line.split() for line in printed.out.splitlines()] == [
        ["section", "contender", "quantity", "stored", "now", "verdict"],
        ["train", "ours", "s/epoch", "2.00", "1.00", "fell"],
    ]
    assert "1 of 1 ratios fell below 0.6" in printed.err


def test_another_machine_is_no_failure(capsys):
    """The ratios stand beside each other, in JSON too, and nothing fails."""
    now, stored = made(1.0), made(2.0, machine={"processor": "another"})

    code = print_result(now, check_regression(now, stored), OutputFormat(json=True))

    printed = capsys.readouterr()
    assert code == 0
    assert [one["verdict"] for one in json.loads(printed.out)["regression"]["verdicts"]] == ["not judged"]
    assert "not judged: processor is" in printed.err


@pytest.mark.slow
def test_a_whole_comparison_runs(capsys, tmp_path):
    """Measured, kept and held against a stored record whose ratios nothing can reach."""
    reference = tmp_path / "reference.json"
    run(["bench", "predict", "--quick", "--out", str(reference)])
    found = json.loads(reference.read_text())
    rows = [{**one, "ratio": one["ratio"] and 1000 * one["ratio"]} for one in found["rows"]]
    reference.write_text(json.dumps({**found, "cores_taken": 0.0, "rows": rows}))

    code = run(["bench", "predict", "--quick", "--baseline", str(reference), "--out", "new/latest.json"])

    assert code == 1
    assert "fell" in capsys.readouterr().out
    assert read(Path("new/latest.json")).rows


def test_a_reference_that_is_none_is_refused_before_anything_is_measured(capsys, tmp_path):
    """The exit code is that of bad files, and nothing was kept."""
    code = run([*QUICK, "--baseline", "nothing.json", "--out", "latest.json"])

    assert code == 6
    assert "nothing.json: cannot read a result of `flyweight bench`" in capsys.readouterr().err
    assert not Path("latest.json").exists()


def test_a_record_is_written_whole(tmp_path):
    """What is read is what was written."""
    assert read(write(made(2.0), tmp_path / "deeper" / "b.json")) == made(2.0)
