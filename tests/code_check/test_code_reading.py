"""Whatever file is given, it is read as text, and what cannot be read is said in one line."""

from __future__ import annotations

import json
import os
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from code_samples import CHANGES, HEALTHY, changed
from course_notebooks import DOCUMENTS, write_notebook
from flyweight.code_check.reading import read_code
from flyweight.code_check.source import MAX_BYTES
from flyweight.errors import DataError, FlyweightError, UsageError

NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}


def of_language(name: str) -> bytes:
    cells = [{"cell_type": "code", "source": "1"}]
    return json.dumps(NOTEBOOK | {"cells": cells, "metadata": {"kernelspec": {"language": name}}}).encode()


BAD = {
    "no json": ("a.ipynb", b"import torch", "notebook in JSON"),
    "json of another kind": ("a.ipynb", b'{"runs": []}', "list of cells"),
    "a list": ("a.ipynb", b"[1, 2]", "list of cells"),
    "a number of cells": ("a.ipynb", b'{"cells": 3}', "list of cells"),
    "no code": ("a.ipynb", json.dumps(NOTEBOOK | {"cells": [{"cell_type": "markdown"}]}).encode(), "no code cells"),
    "another language": ("a.ipynb", of_language("R"), "in Python, found one in 'r'"),
    "binary script": ("a.py", b"\x00\x01\x02", "binary data"),
    "binary notebook": ("a.ipynb", b"\x89PNG\r\n\x1a\n\x00", "notebook in JSON"),
    "wrong encoding": ("a.py", "größe = 1".encode("latin-1"), "UTF-8"),
    "unknown encoding": ("a.py", b"# coding: nothing\nx = 1", "UTF-8"),
    "syntax error": ("a.py", b"x = 1\ny = (\n\nz =", "line 2"),
    "python 2": ("a.py", b"x = 1\nprint 'loss', x", "line 2"),
    "deep brackets": ("a.py", b"x = " + b"(" * 5000 + b")" * 5000, "line 1"),
    "deep signs": ("a.py", b"x = " + b"-" * 50_000 + b"1", "nested too deeply"),
    "deep dots": ("a.py", b"x = a" + b".b" * 20_000, "nested too deeply"),
    "deep sums": ("a.py", b"x = 1" + b" + 1" * 50_000, "nested too deeply"),
    "deep json": ("a.ipynb", b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "huge": ("a.py", b"#" * (MAX_BYTES + 1), "20 MB"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_of_error(tmp_path, name):
    """The message names what was found, with the line if there is one."""
    file, content, expected = BAD[name]
    path = tmp_path / file
    path.write_bytes(content)

    with pytest.raises(DataError, match=expected) as error:
        read_code(path)

    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_path_that_is_no_script_is_refused(tmp_path):
    """A folder, another kind of file and a missing file have different errors."""
    other = tmp_path / "notes.txt"
    other.write_text("x = 1", encoding="utf-8")

    with pytest.raises(UsageError, match="is a folder"):
        read_code(tmp_path)
    with pytest.raises(UsageError, match=r"script \(.py\) or a notebook \(.ipynb\), found '.txt'"):
        read_code(other)
    with pytest.raises(DataError, match="no such file"):
        read_code(tmp_path / "none.py")


def test_nothing_of_a_file_is_run_or_imported(tmp_path, monkeypatch):
    """A script that would leave a trace, and imports of modules that would, leave none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    trace = "open('trace', 'w').close()\n"
    (tmp_path / "neighbour.py").write_text(trace, encoding="utf-8")
    (tmp_path / "script.py").write_text(f"import neighbour\n{trace}", encoding="utf-8")

    read_code("script.py")

    assert not (tmp_path / "trace").exists()


def test_a_cell_that_does_not_parse_is_named_and_the_others_are_read(tmp_path):
    """An incomplete cell and a cell of another language are skipped; all other findings stay."""
    cells = [*DOCUMENTS["002"], "for x in", "%%bash\nrm -rf results", "%%timeit\nfor x in range(3):\n    pass"]
    whole = read_code(write_notebook(tmp_path / "whole.ipynb", DOCUMENTS["002"]))

    reading = read_code(write_notebook(tmp_path / "broken.ipynb", cells))

    first = len(DOCUMENTS["002"]) + 1
    assert [line.partition(":")[0] for line in reading.skipped] == [f"cell {first}", f"cell {first + 1}"]
    assert "%%bash is not Python" in reading.skipped[1]
    assert reading.findings == whole.findings
    assert len(reading.findings) > 5


MAGICS = {
    "inside a block": "if True:\n    !ls\n    %cd ..\nx = F.relu(x, 2)",
    "help": "F.relu?\n?F.relu\nF.relu??\nx = F.relu(x, 2)",
    "assigned": "files = !ls\nwhere = %pwd\nx = F.relu(x, 2)",
    "over lines": "!pip install a \\\n    b\n\nx = F.relu(x, 2)",
    "timed": "\n\n\n%time x = F.relu(x, 2)",
    "a remainder, no magic": "print('%d of %d'\n      % (1, 2)\n)\nx = F.relu(x, 2)",
    "top-level await": "await run()\n\n\nx = F.relu(x, 2)",
    "form feed and windows lines": "a = 1\x0c\r\nb = 'one\u2028two'\r\n\r\nx = F.relu(x, 2)",
    "a strange escape": 'a = "\\d"\n\n\nx = F.relu(x, 2)',
    "indented as a whole": "    if True:\n        pass\n\n    x = F.relu(x, 2)",
    "indented by tabs, after an empty line": "\n\tfor a in b:\r\n\t\tpass\r\n\tx = F.relu(x, 2)",
    "indented below a magic": "%%time\n  if True:\n    pass\n  x = F.relu(x, 2)",
    "half a character": 'a = "\ud800"\n\n\nx = F.relu(x, 2)',
}


@pytest.mark.parametrize("name", MAGICS)
def test_what_ipython_adds_moves_no_line(tmp_path, name):
    """The finding after it is in line 4 all the same."""
    path = tmp_path / "cell.ipynb"
    path.write_text(json.dumps(NOTEBOOK | {"cells": [{"cell_type": "code", "source": MAGICS[name]}]}))

    reading = read_code(path)

    assert [(one.code, one.cell, one.text[-12:]) for one in reading.findings] == [("CD28", 1, "F.relu(x, 2)")]
    assert reading.findings[0].line == MAGICS[name].replace("\r\n", "\n").count("\n") + 1
    assert reading.skipped == ()


def test_a_script_with_a_mark_of_its_encoding_is_read(tmp_path):
    """A byte order mark, and a coding line, are what they are in Python."""
    marked, coded = tmp_path / "marked.py", tmp_path / "coded.py"
    marked.write_bytes(b"\xef\xbb\xbfx = F.relu(x, 2)")
    coded.write_bytes("# coding: latin-1\ngröße = F.relu(x, 2)".encode("latin-1"))

    assert [finding.line for finding in read_code(marked).findings] == [1]
    assert [finding.text for finding in read_code(coded).findings] == ["größe = F.relu(x, 2)"]


@given(st.sampled_from(["a.py", "a.ipynb"]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, name, content):
    """No file makes the reader fail in another way than by its own errors."""
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)

    try:
        said = str(read_code(path).n_lines)
    except FlyweightError as error:
        said = str(error)

    assert said
    assert "\n" not in said


@given(st.data())
def test_any_part_of_a_program_is_read_or_refused(tmp_path_factory, data):
    """Lines that are left out, doubled or moved make the reader neither fail nor point outside of the file."""
    _, changes = data.draw(st.sampled_from(CHANGES))
    lines = changed(HEALTHY, changes).split("\n")
    for _ in range(data.draw(st.integers(1, 12))):
        place, other = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
        lines[place] = data.draw(st.sampled_from([lines[other], "", "x = x", "x = y = x if x else y", lines[place]]))
    path = tmp_path_factory.mktemp("part") / "part.ipynb"

    # Cells of single statements that do not parse are skipped; the rest is read.
    reading = read_code(write_notebook(path, ["\n".join(lines), *lines[:40]]))

    for finding in reading.findings:
        cell = "\n".join(lines) if finding.cell == 1 else lines[(finding.cell or 0) - 2]
        assert cell.split("\n")[finding.line - 1].strip() == finding.text


def test_names_that_go_in_circles_end(tmp_path):
    """Names that are given values of each other, in branches, are followed for a short while only."""
    lines = ["a = b = c = d = 1"]
    for number in range(60):
        lines += [f"if a{'' if number % 2 else ' and b'}:", "    a, b = (b if c else d), (a if d else c)"]
        lines += ["else:", "    c, d = d, (a if a else b if b else c)"]
    lines += ["for x, y in a:", "    loss = b(c(x), y)", "    loss.backward()", "    d.step()"]
    path = tmp_path / "circles.py"
    path.write_text("\n".join(lines), encoding="utf-8")

    assert read_code(path).n_lines == len(lines)


def test_the_time_grows_with_the_length_of_a_notebook_not_with_its_square(tmp_path):
    """Four times the cells of the course notebooks, which define the same names again and again: about four times."""
    cells = [cell for document in DOCUMENTS.values() for cell in document]
    seconds = {}
    for times in (3, 12):
        path = write_notebook(tmp_path / "long.ipynb", cells * times)
        began = process_time()
        found = read_code(path)
        seconds[times] = process_time() - began
        assert found.n_cells == len(cells) * times
        assert len(found.findings) >= 10 * times

    assert seconds[12] < 12 * seconds[3]  # a square would give 16


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_may_never_end_is_refused(tmp_path, kind):
    path = tmp_path / "train.py"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")

    with pytest.raises(DataError, match=f"must be a file, found a {kind}"):
        read_code(path)


UNDERSTOOD = {
    "import torch\nfrom torch import nn\nnet = nn.Sequential(nn.ReLU())\nopt = torch.optim.SGD(net.parameters())\n"
    "def learn(x, y):\n    opt.zero_grad()\n    nn.functional.cross_entropy(net(x), y).backward()\n    opt.step()\n"
    "for epoch in range(3):\n    for x, y in loader:\n        learn(x, y)\n"
    "right = 0\nfor x, y in test_loader:\n    right += (net(x).argmax(1) == y).sum()\n": (
        {
            "libraries": ("PyTorch",),
            "nets": 1,
            "losses": 1,
            "optimizers": 1,
            "training_loops": 1,
            "evaluation_loops": 1,
        },
        "",
    ),
    "from tensorflow import keras\nmodel = keras.Sequential()\nmodel.fit(x, y)\n": (
        {"libraries": ("TensorFlow",), "training_loops": 0},
        "TensorFlow may train in calls of its own",
    ),
    "from lightning import pytorch as pl\nimport torch.nn as nn\nclass N(pl.LightningModule):\n    pass\n": (
        {"libraries": ("Lightning", "PyTorch"), "nets": 1, "training_loops": 0},
        "Lightning may train in calls of its own",
    ),
    "import torch\nfor x, y in loader:\n    loss(net(x), y).backward()\n    opt.step()\n": (
        {"libraries": ("PyTorch",), "training_loops": 1, "evaluation_loops": 0},
        "the evaluation",
    ),
    "print(1)\n": ({"libraries": (), "nets": 0, "training_loops": 0}, "training and its figures"),
}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_what_was_understood_is_said_and_what_was_not_judged(tmp_path, text):
    """Libraries and parts of a training are counted; without a loop that trains, nothing is said to be in order."""
    expected, not_judged = UNDERSTOOD[text]
    path = tmp_path / "some.py"
    path.write_text(text, encoding="utf-8")

    seen = read_code(path).recognised

    assert {name: getattr(seen, name) for name in expected} == expected
    assert not_judged in seen.not_judged
    assert bool(seen.not_judged) == bool(not_judged)
