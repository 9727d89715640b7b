"""The Arduino library and the MicroPython file: the layout that their tools accept, and the same scores."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from flyweight.export.arduino import arduino_files, arduino_paths
from flyweight.export.c import identifier
from flyweight.export.integer import scores
from flyweight.export.micropython import micropython_file
from tests.export.made_nets import made_net
from tests.export.test_integer import SEVERAL

MICROPYTHON = shutil.which("micropython")
STUB = """#pragma once
#include <stdio.h>
#include <stdint.h>
struct { void begin(long) {} template <class T> void print(T) {} template <class T> void println(T) {} } Serial;
inline unsigned long micros() { return 0; }
inline void delay(int) {}
"""


@pytest.fixture
def library(tmp_path):
    made, _, images = made_net(SEVERAL[0], (1, 12, 12), 3)
    files = arduino_files(made, card="a card", readme="# a net", images=images, parameters=100)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path, identifier(made.name), files


def test_a_library_has_the_layout_of_the_specification(library) -> None:
    """The required properties with valid values, sources in src, an example in a folder of its own name."""
    folder, name, files = library
    properties = dict(line.split("=", 1) for line in files["library.properties"].splitlines())

    assert set(files) == set(arduino_paths(name))
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} <= (
        properties.keys()
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", properties["name"])
    assert (folder / "src" / f"{name}.h").exists()
    assert (folder / "examples" / "Classify" / "Classify.ino").exists()
    assert all(len(line.split("\t")) == 2 for line in files["keywords.txt"].splitlines())


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_sketch_compiles_and_links(library) -> None:
    """As C++ with the library as C, which is what the Arduino tools do; the board is a stub."""
    folder, name, _ = library
    (folder / "Arduino.h").write_text(STUB)
    sketch = (folder / "examples" / "Classify" / "Classify.ino").read_text()
    (folder / "sketch.cpp").write_text(f'#include "Arduino.h"\n{sketch}\nint main() {{ setup(); loop(); return 0; }}\n')

    subprocess.run(["gcc", "-std=c99", "-Wall", "-Werror", "-c", f"src/{name}.c"], cwd=folder, check=True)
    subprocess.run(
        ["g++", "-Wall", "-Wextra", "-Werror", "-Isrc", "-I.", "sketch.cpp", f"{name}.o"], cwd=folder, check=True
    )


@pytest.mark.parametrize("net", SEVERAL)
@pytest.mark.parametrize(
    "python",
    [
        sys.executable,
        pytest.param(MICROPYTHON, marks=pytest.mark.skipif(MICROPYTHON is None, reason="micropython is not installed")),
    ],
    ids=["cpython", "micropython"],
)
def test_the_python_file_gives_the_same_scores(net, python, tmp_path) -> None:
    """To the bit, for every kind of operation."""
    made, _, images = made_net(net, (3, 13, 12), 1)
    (tmp_path / "net.py").write_text(micropython_file(made, card="a card\nof ünicode"))
    (tmp_path / "pixels").write_bytes(np.ascontiguousarray(images[:3].transpose(0, 2, 3, 1)).tobytes())
    (tmp_path / "main.py").write_text(
        "import net\nwith open('pixels', 'rb') as file:\n    for _ in range(3):\n"
        f"        print(*net.scores(file.read({images[0].size})))\n"
    )

    done = subprocess.run([python, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True)

    found = np.array([line.split() for line in done.stdout.splitlines()], np.int64)
    assert np.array_equal(found, scores(made.net, images[:3]))
