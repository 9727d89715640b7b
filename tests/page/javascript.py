"""The JavaScript of the page, run by node without a browser: its sources, then a script that reads and prints."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed (Debian: apt install nodejs)")


def run_script(folder: Path, names: tuple[str, ...], script: str, given: bytes = b"") -> bytes:
    """What a script prints that comes after these files of the page. `given`: the Buffer of what it is given."""
    source = "\n".join((files("flyweight.page") / name).read_text(encoding="utf-8") for name in names)
    path = folder / "script.js"
    path.write_text(f'{source}\nconst given = require("fs").readFileSync(0);\n{script}', encoding="utf-8")
    assert NODE is not None
    done = subprocess.run([NODE, str(path)], input=given, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()[-2000:]
    return done.stdout
