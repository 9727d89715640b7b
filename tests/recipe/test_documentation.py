"""docs/recipes.md is true: its table, its recipes, its Python and its overrides are run."""

import doctest
import re
from pathlib import Path

import pytest

from flyweight.errors import RecipeError
from flyweight.recipe import keys, keys_table, load, reading, recipe, toml
from flyweight.recipe.protocol import SENTENCES

DOCUMENT = Path(__file__).parents[2] / "docs" / "recipes.md"


def blocks(kind: str) -> list[str]:
    """The code blocks of one kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_table_of_keys_is_the_one_the_model_makes() -> None:
    """No key, default or meaning in the documentation differs from the code."""
    found = re.search(r"<!-- keys: .*? -->\n(.*?)\n<!-- end of keys -->", DOCUMENT.read_text(encoding="utf-8"), re.S)

    assert found is not None
    assert found[1] == keys_table(keys())


def test_recipes_shown_load(tmp_path: Path) -> None:
    """Every recipe of the documentation is valid, under the file name of its first line."""
    shown = blocks("toml")
    for text in shown:
        path = tmp_path / text.splitlines()[0].removeprefix("# ")
        path.write_text(text, encoding="utf-8")

    assert {load(path).name for path in tmp_path.iterdir()} == {"mine", "longer", "as-reported"}
    assert len(shown) == 3


def test_every_switch_of_the_protocol_is_explained() -> None:
    """The table of the protocol has a line for each position of each switch that is not the clean one."""
    text = (
        DOCUMENT.read_text(encoding="utf-8").partition("## How others measured: the protocol")[2].partition("\n## ")[0]
    )
    explained = re.findall(r"^\| `(\w+) = (?:\"(\w+)\"|true)` \|", text, flags=re.M)

    assert {(name, word or True) for name, word in explained} == set(SENTENCES)
    assert len(explained) == len(SENTENCES) == 9


def test_faults_shown_are_those_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error message of the documentation is the real one, to the letter."""
    (wrong,), (shown,) = blocks("toml faulty"), blocks("text")
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text(wrong, encoding="utf-8")

    with pytest.raises(RecipeError) as caught:
        load("wrong.toml")

    assert str(caught.value) == shown.rstrip("\n")


def test_overrides_shown_are_accepted() -> None:
    """Every --set of the documentation works on the default recipe."""
    overrides = re.findall(r"--set (\S+)", "".join(blocks("console")))

    assert len(overrides) == 4
    assert load("own/20k-fast", overrides=overrides).train.schedule == "cosine"


@pytest.mark.parametrize("module", [recipe, reading, toml], ids=lambda module: module.__name__)
def test_examples_in_docstrings_are_true(module) -> None:
    """What a docstring shows is what happens."""
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0


def test_python_shown_is_true() -> None:
    """The Python of the documentation gives the results beside it."""
    result = doctest.testfile(str(DOCUMENT), module_relative=False)

    assert result.attempted == 6
    assert result.failed == 0
