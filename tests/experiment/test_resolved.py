"""A recipe is resolved once: planned once, and images of the user's own are read once before a run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flyweight.data.facts import ImageSource
from flyweight.experiment.plan import plan, resolve
from flyweight.experiment.resolved import canonical, canonical_hash, source_of
from flyweight.recipe import override
from tiny import tiny_recipe, write_recipe

COUNTED = """
import os, sys
from pathlib import Path

opened, planned = [], []
sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" else None)

def n_opened(work):
    opened.clear()
    work()
    return sum(str(name).endswith("digits.npz") for name in opened)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    from flyweight.data.sources import load
    from flyweight.experiment import plan as module

    once = n_opened(lambda: load(folder / "digits.npz"))
    plan = module.plan
    module.plan = lambda *given, **named: planned.append(given) or plan(*given, **named)
    WORK
    assert once > 0
    print(total / once, len(planned))
"""
COMMAND = """
    from flyweight.cli.app import run
    total = n_opened(lambda: run(["train", str(folder / "tiny.toml"), *sys.argv[2:]]))
"""
PYTHON = """
    from flyweight import Store, load_recipe, run
    recipe, store = load_recipe(folder / "tiny.toml"), Store.open(home=folder / "home")
    total = n_opened(lambda: run(recipe, store=store))
"""


@pytest.mark.parametrize(
    ("work", "options"),
    [
        (COMMAND, []),
        (COMMAND, ["--doctor", "warn", "--set", "train.lr=0.04", "--study", "one", "--expect", "more"]),
        (COMMAND, ["--seeds", "2"]),
        (PYTHON, []),
    ],
    ids=["train", "train with all that asks for the recipe", "the parent of two seeds", "run, as in each process"],
)
def test_own_images_are_read_once_and_the_recipe_is_planned_once(tmp_path, work, options):
    """Counted by the files that a program opens, with reading them once as the measure."""
    write_recipe(tmp_path)
    (tmp_path / "counted.py").write_text(COUNTED.replace("    WORK\n", work.lstrip("\n")))

    done = subprocess.run(
        [sys.executable, str(tmp_path / "counted.py"), str(tmp_path), *options],
        env={**os.environ, "FLYWEIGHT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "1.0 1", done.stderr


def test_the_canonical_form_is_the_same_from_any_folder(tmp_path, monkeypatch):
    """A path becomes whole and the number of held-out images is written down; doing it twice changes nothing."""
    recipe = override(tiny_recipe(tmp_path), ["data.name=digits.npz", "data.validation=none"])
    monkeypatch.chdir(tmp_path)

    found = canonical(recipe)

    assert found.data.name == str(tmp_path.resolve() / "digits.npz")
    assert found.data.validation == 40
    assert canonical(found) == found
    assert canonical_hash(recipe) == plan(recipe).require().hash == canonical_hash(found)


def test_images_that_were_read_are_shared_by_recipes_of_the_same(tmp_path):
    """However they are named; another size is another set."""
    recipe = tiny_recipe(tmp_path)
    known = ImageSource(name=str(tmp_path / "." / "digits.npz"))

    assert source_of(recipe, known) is known
    assert source_of(override(recipe, ["data.resize=14"]), known) is not known
    assert plan(recipe, known).require().source is known


def test_what_is_resolved_stays_as_it_is(tmp_path):
    """It flows from the command line to the run without being made again."""
    resolved = resolve(tiny_recipe(tmp_path))

    assert resolve(resolved) is resolved
