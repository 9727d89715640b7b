"""The JavaScript of the page is typed in its comments, and formatted."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from flyweight.page.assemble import SCRIPTS

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / "node_modules" / ".bin"


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(TOOLS))
    if found is None:
        pytest.skip(f"{name} is not installed: make page")
    return found


def test_its_types_hold():
    """Under TypeScript's strict rules."""
    done = subprocess.run([tool("tsc"), "-p", str(HERE)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_formatted():
    """By prettier, with lines of 120."""
    paths = [str(path) for path in Path(str(files("flyweight.page"))).iterdir() if path.suffix in (".js", ".css")]

    done = subprocess.run(
        [tool("prettier"), "--print-width", "120", "--check", *paths], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert len(paths) == 1 + len(SCRIPTS)
