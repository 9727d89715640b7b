"""What reads records works where torch is not installed; what needs it says so in one line and writes nothing."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyweight.cli.app import VERBS, run
from flyweight.errors import MissingError, needs_torch
from flyweight.records.store import Store
from tiny import write_recipe

JOURNEYS = Path(__file__).parent.parent / "docs" / "journeys"

# Python with a search path that has no torch: no finder knows it, as where it is not installed.
WITHOUT_TORCH = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == "torch" else find(name, *rest))
"""
RUN_ALL = (
    WITHOUT_TORCH
    + """
import contextlib, io, json, sys
from flyweight.cli.app import run
for command in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
)
PUBLIC_NAMES = (
    WITHOUT_TORCH
    + """
import flyweight
for name in flyweight.__all__:
    try:
        getattr(flyweight, name)
    except flyweight.errors.MissingError as error:
        assert str(error).startswith(f"flyweight.{name} needs torch"), error
        print(name)
"""
)

# A stands for a run with probes on record, B and C for runs that were never examined.
WORK = (
    "show own/20k-fast",
    "show tiny.toml --json",
    "check tiny.toml",
    "recipes",
    "copy own/8k copied.toml",
    "data digits.npz",
    "data mnist",
    "runs",
    "runs --json",
    "report A",
    "compare A B",
    "journal",
    "journey show 003",
    f"journey verify 003 17 --records {JOURNEYS}",
    "journey report --out pages",
    "doctor own/8k",
    "doctor A",
    "doctor C",
    "doctor --code loop.py",
    "doctor --environment",
    "sync tensorboard",
    "search show",
    "page A --out page.html",
    "export A --to int8 --out exported --unchecked",
    "rm B --yes",
)
NEED_TORCH = (
    "train tiny.toml",
    "train tiny.toml --seeds 2",
    "train --resume C",
    "predict A seven.png",
    "data mnist --pictures seen",
    "doctor A --trial",
    "doctor own/8k --set train.lr=10 --fix fixed.toml",
    "doctor own/8k --lr",
    "compare tiny.toml other.toml --until-sure",
    "journey run 003 17",
    "search --budget 1k --minutes 1",
    "bench predict --quick",
)
READ = {
    "Budget",
    "Comparison",
    "Cost",
    "Journal",
    "Plan",
    "Recipe",
    "RunRecord",
    "Store",
    "compare",
    "edits",
    "examine",
    "examine_recipe",
    "examine_run",
    "journal",
    "load_images",
    "load_recipe",
    "parse_budget",
    "plan",
    "read_code",
    "sync",
    "tracking",
    "count",
    "write_comparison",
    "write_journal",
    "write_report",
    "write_table",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Path:
    """A home with three runs, one of them examined with torch, and the recipe of them."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLYWEIGHT_HOME", str(folder / "home"))
        recipe = write_recipe(folder).read_text()
        (folder / "other.toml").write_text(recipe.replace("lr = 0.05", "lr = 0.1"))
        for change in ("train.lr=0.05", "train.lr=0.1", "train.lr=0.2"):
            assert run(["train", "tiny.toml", "--set", change]) == 0
        c, b, a = (record.id for record in Store.open().runs())
        assert run(["doctor", a]) == 0
    (folder / "ids.json").write_text(json.dumps({"A": a, "B": b, "C": c}))
    (folder / "loop.py").write_text("import torch\n")
    return folder


def ran(commands, stage: Path) -> dict[str, tuple[int, str, str]]:
    """Each command's exit code, output and talk, all in one process without torch."""
    ids = json.loads((stage / "ids.json").read_text())
    given = [[ids.get(word, word) for word in command.split()] for command in commands]
    variables = {**os.environ, "FLYWEIGHT_HOME": str(stage / "home")}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(given),
        cwd=stage,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(commands, map(tuple, map(json.loads, done.stdout.splitlines())), strict=True))


@pytest.fixture(scope="module")
def read(stage) -> dict[str, tuple[int, str, str]]:
    return ran(WORK, stage)


def test_what_reads_records_works_without_torch(read):
    """Counting, checking, records, reports, comparisons, journals and documents need none."""
    assert {command: err for command, (code, _, err) in read.items() if code} == {}


def test_the_doctor_says_which_checks_were_not_run_for_want_of_torch(read):
    """A run without probes on record is examined as far as images and figures go; what was probed before is read."""
    kept, bare = read["doctor A"][1], read["doctor C"][1]

    assert "torch" not in kept
    _, _, unjudged = bare.partition("checks could run")
    assert "flyweight[train]" in unjudged
    assert "SI02" in unjudged
    assert "DA01" not in unjudged


def test_a_command_that_needs_torch_says_how_to_install_it_and_writes_nothing(stage):
    """One line, the exit code of a missing package, and no run, file or folder more than before."""
    before = sorted(stage.rglob("*"))

    found = ran(NEED_TORCH, stage)

    for command, (code, _, err) in found.items():
        assert code == MissingError.exit_code, (command, err)
        assert err.splitlines()[-1].endswith("needs torch, which is not installed: pip install 'flyweight[train]'")
    assert sorted(stage.rglob("*")) == before


def test_every_verb_is_tried():
    """Each verb reads without torch or asks for it."""
    assert {command.split()[0] for command in (*WORK, *NEED_TORCH)} == set(VERBS)


def test_a_public_name_that_needs_torch_says_how_to_install_it():
    """Reading is imported without torch; the rest names itself and the install line."""
    done = subprocess.run([sys.executable, "-c", PUBLIC_NAMES], capture_output=True, text=True, check=True)

    need = set(done.stdout.split())
    assert {"build", "run", "load"} <= need
    assert not need & READ


def test_what_is_missing_and_not_torch_is_not_taken_for_it():
    """Another missing module is no MissingError: it is a mistake of ours, or of the user's own module."""
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"), needs_torch("this"):
        importlib.import_module("nothing_of_that_name")
