"""What we document we run: every command of the README and of docs/, and the output shown where it is steady."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from documented import made_short, rehearse_small, set_stage
from flyweight.cli.app import run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# What these print depends on the machine, the hour, or how long they train.
UNSTEADY = {"train", "report", "runs", "predict", "page", "compare", "journal", "journey", "search"}


@dataclass(frozen=True)
class Shown:
    page: str
    command: str
    output: str


def shown() -> Iterator[Shown]:
    """The commands of all console blocks, with the output shown under each."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, _, output = part.partition("\n")
                yield Shown(page.name, command.strip(), output.strip("\n"))


def flyweight_commands() -> list[Shown]:
    """Each once, and once more where another page shows other output of it."""
    found = {(one.command, one.output): one for one in shown() if one.command.startswith("flyweight ")}
    reported = {command for command, output in found if output}
    return [one for (command, output), one in found.items() if output or command not in reported]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, made_once: Callable[[Callable[[Path], None], Path], None]) -> Path:
    """What the pages take for granted: a folder with a trained run, a photo, a recipe of one's own."""
    folder = tmp_path_factory.mktemp("stage")
    made_once(set_stage, folder)
    return folder


@pytest.mark.parametrize("one", flyweight_commands(), ids=lambda one: f"{one.page}: {one.command}")
def test_a_documented_command_runs_and_prints_what_is_shown(one, stage, monkeypatch, capsys):
    """Steady output is compared line by line; trainings are cut short and only have to work."""
    monkeypatch.chdir(stage)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(stage / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    rehearse_small(monkeypatch)
    arguments = shlex.split(one.command, comments=True)[1:]
    verb = arguments[0]
    if verb == "copy":
        arguments.append("--overwrite")
    arguments = made_short(arguments, stage)
    if verb == "train" and "--resume" in arguments:
        pytest.skip("run by the tests of the command line, which stop a run first")

    code = run(arguments)

    printed = capsys.readouterr()
    if verb not in UNSTEADY and one.output:
        expected = "\n".join(line.rstrip() for line in one.output.splitlines())
        found = "\n".join(line.rstrip() for line in (printed.out + printed.err).strip("\n").splitlines())
        assert found == expected
    else:
        assert code == 0, printed.err


def test_the_python_of_the_readme_runs(tmp_path):
    """Its one program does what it says, as a script of its own."""
    (program,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    counted, trained, page, predicted = done.stdout.splitlines()
    assert counted == "1442 188224"
    assert float(trained.split()[1]) > 0.5
    assert (tmp_path / page).is_file()
    assert predicted == "7"


def test_make_targets_that_are_shown_exist():
    """Every `make X` in the pages is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for one in shown() if one.command.startswith("make ") for word in one.command.split()[1:]}

    assert {word for word in named if "=" not in word} <= targets
    assert {"train", "test"} <= named


def test_links_between_the_pages_lead_somewhere():
    """Every relative link and picture is a file of the repository."""
    found = 0
    for page in (*PAGES, *sorted((ROOT / "docs" / "journeys").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            found += 1
    assert found >= 30


def test_there_are_commands_to_run():
    """The loops above were not empty."""
    assert len(flyweight_commands()) >= 40
