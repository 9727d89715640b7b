"""`make release`: what is checked of an archive, and one rehearsal of it from the last commit."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import flyweight
from flyweight.cli.app import run as run_flyweight
from release.__main__ import (
    READING,
    REQUIRED,
    ROOT,
    TRAINING,
    VERSION_IS_IN,
    Built,
    ReleaseError,
    contents_faults,
    main,
    pythons_at_hand,
    require_same,
    section_of,
    version_of,
)

SOUND = [*REQUIRED, "flyweight.dist-info/licenses/LICENSE"]
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a release is made of a commit")


def test_the_version_stands_in_one_place():
    """The package, its metadata and the release read the same line; no other file repeats it."""
    version = version_of(ROOT / VERSION_IS_IN)

    assert version == flyweight.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == str(VERSION_IS_IN)
    assert not re.search(r"^version", (ROOT / "CITATION.cff").read_text(), re.M)


def test_a_sound_archive_has_no_faults():
    assert contents_faults(SOUND) == []


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_named(name):
    """Data, recipes, kernels, templates and the notice of the data's licence."""
    found = contents_faults([one for one in SOUND if one != name])

    assert any(name in fault for fault in found)


@pytest.mark.parametrize(
    "name",
    ["tests/test_a.py", "flyweight/__pycache__/x.cpython-311.pyc", "benchmarks/records/a.json", "flyweight/runs.db"],
)
def test_what_does_not_belong_is_named(name):
    assert contents_faults([*SOUND, name]) == [f"it must not have {name}"]


def test_a_licence_that_is_missing_is_named():
    assert contents_faults(list(REQUIRED)) == ["the licence LICENSE is missing"]


def test_two_builds_that_differ_are_no_release():
    """They are compared by all their bytes."""
    one = Built(path=Path("a.whl"), members=(), sha256="1")

    require_same([one], [one])
    with pytest.raises(ReleaseError, match=r"a\.whl"):
        require_same([one], [Built(path=Path("a.whl"), members=(), sha256="2")])


def test_a_section_of_the_changelog_ends_at_the_next():
    """0.1 is not 0.1.0, and a version that is not there has no notes."""
    text = "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2027-01-02)\n\n- b\n\n### c\n\n- d\n\n## 0.1.0\n\n- a\n"

    assert section_of(text, "0.2.0") == "- b\n\n### c\n\n- d"
    assert section_of(text, "0.1.0") == "- a"
    assert section_of(text, "Unreleased") == section_of(text, "0.3.0") == ""


def test_the_smoke_test_uses_commands_that_are_there(capsys, tmp_path, monkeypatch):
    """Those that read run here, too; those that train are spelled as their help has them."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path))

    for command in READING[1:]:  # the first prints the version and leaves
        assert run_flyweight(command) == 0, capsys.readouterr().err
    for command in TRAINING:
        assert run_flyweight([command[0], "--help"]) == 0
        text = capsys.readouterr().out
        assert all(word in text for word in command if word.startswith("--"))
    assert len(READING) + len(TRAINING) >= 10


def test_issue_templates_ask_for_the_environment():
    """The report of a fault must have the output of the command that is there for it."""
    (fault,) = (ROOT / ".github" / "ISSUE_TEMPLATE").glob("fault.yml")

    assert "flyweight doctor --environment" in fault.read_text(encoding="utf-8")


@pytest.mark.soak
@needs_git
def test_a_release_is_built_checked_and_tried(tmp_path, capsys):
    """From the last commit, twice, equal to the byte; installed without the repository."""
    code = main(["--rehearse", "--no-training", "--python", sys.executable, "--out", str(tmp_path / "dist")])

    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "equal to the byte" in printed.out
    version = flyweight.__version__
    expected = {f"flyweight-{version}-py3-none-any.whl", f"flyweight-{version}.tar.gz"}
    assert {path.name for path in (tmp_path / "dist").iterdir()} == expected


@needs_git
def test_a_release_needs_its_section_in_the_changelog(tmp_path, capsys):
    """Without a dated section nothing is built."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if re.search(rf"^## {re.escape(flyweight.__version__)} \(\d", changelog, re.M):
        pytest.skip("this commit is a release")

    assert main(["--out", str(tmp_path / "dist")]) == 1
    assert f"## {flyweight.__version__}" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_a_python_at_hand_runs():
    """Stubs on the path that run nothing are passed over."""
    found = pythons_at_hand()

    assert found
    for python in found:
        subprocess.run([python, "-c", "import venv"], check=True)
