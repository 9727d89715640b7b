"""What a recipe may cost to read is bounded, and so is what an error of it says."""

from __future__ import annotations

import os
from time import process_time

import pytest

from flyweight.errors import DataError, MissingError, RecipeError
from flyweight.model.count import count
from flyweight.recipe import load, loads

GOOD = 'name = "a"\n[model]\nnet = "c8 r gap flat fc10"\n'
PARTS = "a." * 100_000
LARGE = {
    "a key in a header": f"[{PARTS}a]",
    "a key of an array": f"[[{PARTS}a]]",
    "a key of a line": f"{PARTS}a = 1",
    "a key of a table in a line": f"x = {{{PARTS}a = 1}}",
    "many keys": "\n".join(f"a{number}.b = 1" for number in range(20_000)),
    "a long key": f'"{PARTS}" = 1',
    "a number of 5,000 digits": GOOD + f"[train]\nepochs = {'9' * 5_000}",
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_a_large_recipe_is_refused_soon_and_shortly(text):
    """Of a megabyte, an error quotes at most some lines."""
    began = process_time()
    with pytest.raises(RecipeError) as caught:
        loads(text)

    assert process_time() - began < 20  # hours, before
    assert len(str(caught.value)) < 20_000
    assert max(map(len, str(caught.value).splitlines())) < 1_000


def test_an_override_of_many_parts_is_refused():
    with pytest.raises(RecipeError, match="must be KEY=VALUE"):
        loads(GOOD, overrides=[f"{PARTS}b=1"])


@pytest.mark.parametrize("net", ["[" * 1_000_000, "c8 " * 300_000 + "!", "c" + "9" * 1_000_000, "x" * 1_000_000])
def test_an_error_of_a_long_notation_quotes_at_most_a_line(net):
    with pytest.raises(Exception, match=r"\S") as caught:
        count(net)

    assert len(str(caught.value)) < 1_000


def test_a_smoothness_that_would_fill_the_memory_is_refused():
    """Its noise has 6 pixels more per pixel of smoothness, for each image."""
    with pytest.raises(RecipeError, match="elastic_smoothness"):
        loads(GOOD + "[augment]\nelastic = 1.0\nelastic_smoothness = 100000.0")


def test_a_recipe_that_is_no_file_is_refused(tmp_path):
    """A pipe or a device is never read."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("device", "a device")):
        with pytest.raises(DataError, match=f"must be a file, found {kind}"):
            load(tmp_path / f"{name}.toml")


def test_a_set_larger_than_the_free_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    from flyweight.data import imageset

    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 2000 kB\nMemAvailable:    1000 kB\n")
    monkeypatch.setattr(imageset, "MEMORY", memory)

    imageset.check_size("digits", 1_000 * 1_024)
    with pytest.raises(MissingError, match="digits: needs 1,024,001 bytes of memory, 1,024,000 are free"):
        imageset.check_size("digits", 1_000 * 1_024 + 1)
