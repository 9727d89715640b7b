"""What goes into the report of a fault: enough to reproduce it, nothing private."""

from __future__ import annotations

import json
import platform
import re

import numpy
import pytest

import flyweight
from flyweight.cli.app import run
from flyweight.diagnose.environment import ABSENT, describe_environment
from flyweight.records.store import Store


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["doctor", "--environment", *arguments]) == 0
    return capsys.readouterr().out


def test_it_names_what_decides_the_result(capsys):
    """Versions, processor, kernels, devices and database, in at most 80 columns and as JSON."""
    text = printed(capsys)
    found = json.loads(printed(capsys, "--json"))

    assert found["flyweight"] == flyweight.__version__
    assert platform.python_version() in found["python"]
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["devices"][0] == "cpu"
    assert found["database"].startswith("SQLite 3.")
    assert all(str(value) in text for value in (found["processor"], found["kernels"], found["system"]))
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("as_json", [True, False])
def test_it_tells_nothing_private(tmp_path, monkeypatch, capsys, as_json):
    """No folder, host, user, password or address, wherever they stand in the environment."""
    secret = tmp_path / "sesame"
    monkeypatch.setenv("HOME", str(secret))
    monkeypatch.setenv("FLYWEIGHT_HOME", str(secret))
    monkeypatch.setenv("FLYWEIGHT_AUTHOR", "Sesame")
    monkeypatch.setenv("FLYWEIGHT_DATABASE", "postgresql://sesame:sesame@sesame.example/sesame")
    monkeypatch.setenv("CXX", str(secret / "c++"))
    monkeypatch.setenv("OMP_WAIT_POLICY", f"{secret}/passive")

    out = printed(capsys, *(["--json"] if as_json else []))

    assert "sesame" not in out.lower()
    assert platform.node() not in re.split(r"[\s\",]+", out)
    assert "/" not in out.replace(platform.release(), "")
    assert "PostgreSQL" in out
    assert not secret.exists()


def test_nothing_is_opened(tmp_path, monkeypatch):
    """A home without a database has none afterwards, and an address that cannot be read is no error."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))

    assert describe_environment("oracle://x").database == "an address that flyweight cannot read"
    assert not (tmp_path / "home").exists()
    assert ABSENT not in describe_environment().flyweight
    assert Store.open().runs() == ()


def test_a_subject_is_for_the_other_tasks(capsys):
    """--environment takes none, and takes no option that it would ignore."""
    assert run(["doctor", "own/8k", "--environment"]) == 2
    assert "own/8k" in capsys.readouterr().err
    assert run(["doctor", "--environment", "--trial"]) == 2
    assert "--trial" in capsys.readouterr().err
