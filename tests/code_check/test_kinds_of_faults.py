"""Kinds of fault that span several lines, functions and cells: each with wrong forms, and right ones beside them."""

from __future__ import annotations

import ast
import time

import pytest

from code_kinds import RIGHT, WRONG
from code_samples import marks
from flyweight.code_check.reading import read_code


@pytest.mark.parametrize(("code", "text"), WRONG, ids=[f"{code}-{n}" for n, (code, _) in enumerate(WRONG)])
def test_a_kind_of_fault_is_found_at_its_line(tmp_path, code, text):
    """The marked lines, and no others, have the fault."""
    path = tmp_path / "faulty.py"
    path.write_text(text, encoding="utf-8")

    lines = {(one.code, one.line) for one in read_code(path).findings if one.code == code}

    assert lines == marks(text)
    assert lines


@pytest.mark.parametrize("name", RIGHT)
def test_what_only_looks_like_it_is_left_alone(tmp_path, name):
    """Right code of the same kind has no finding that is more than a note."""
    path = tmp_path / "sound.py"
    path.write_text(RIGHT[name], encoding="utf-8")

    assert [str(one) for one in read_code(path).alarms] == []
    assert len(RIGHT) >= 30


def test_the_samples_are_python():
    """A sample that does not parse would say nothing."""
    for text in [*(text for _, text in WRONG), *RIGHT.values()]:
        ast.parse(text)


def test_reading_takes_time_in_proportion_to_the_length(tmp_path):
    """Eight times the functions, loops and names take not much more than eight times as long."""
    seconds = []
    for number in (30, 240):
        text = "".join(
            f"def learn{n}(x, y):\n    opt.zero_grad()\n    F.cross_entropy(net(x), y).backward()\n    opt.step()\n"
            f"for epoch in range({n}):\n    for x, y in loader{n}:\n        learn{n}(x, y)\n    total{n} = epoch\n"
            for n in range(number)
        )
        path = tmp_path / f"{number}.py"
        path.write_text(text, encoding="utf-8")
        began = time.process_time()
        read_code(path)
        seconds.append(time.process_time() - began)

    assert seconds[1] < 24 * seconds[0] + 1
