"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import flyweight

PACKAGE = Path(flyweight.__file__).parent
NAMES = sorted(
    ".".join(("flyweight", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "migrations" not in path.parts and path.stem != "__main__"
)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_module_hold(name):
    """Every `>>>` gives what is written under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    """The loop above ran over a good number of them."""
    finder = doctest.DocTestFinder()
    found = [one for name in NAMES for one in finder.find(importlib.import_module(name)) if one.examples]

    assert len(found) > 20
