"""The packaged recipes: each loads, fits its budget, and can be copied."""

from pathlib import Path

import pytest

from flyweight.errors import MissingError, UsageError
from flyweight.model.count import count
from flyweight.recipe import copy, describe, diff, draft, is_recipe, load, names, own_names, text

OWN = ("own/20k-best", "own/20k-fast", "own/20k-gpu", "own/25k-one-epoch", "own/8k")
PARAMS = {
    "own/20k-best": 20_000,
    "own/20k-fast": 20_000,
    "own/20k-gpu": 20_000,
    "own/25k-one-epoch": 25_000,
    "own/8k": 8_000,
}
EPOCHS = {"own/20k-best": 20, "own/20k-fast": 3, "own/20k-gpu": 16, "own/25k-one-epoch": 1, "own/8k": 20}


def test_our_recipes_are_all_there() -> None:
    """The catalogue is found by looking into the package; these five must be in it."""
    assert tuple(name for name in names() if name.startswith("own/")) == OWN


@pytest.mark.parametrize("name", names())
def test_a_packaged_recipe_loads_and_says_what_it_is_for(name: str) -> None:
    """Every recipe of the catalogue is valid, called by its place, described in one line, and opens with a comment."""
    recipe = load(name)

    assert recipe.name == name
    assert recipe.description == describe(name)
    assert recipe.description
    assert "\n" not in recipe.description
    assert text(name).startswith("# ")


@pytest.mark.parametrize("name", OWN)
def test_our_recipes_fit_their_budget(name: str) -> None:
    """Under the limit that the recipe promises, in as many epochs as its goal allows."""
    recipe = load(name)

    assert recipe.budget.params == PARAMS[name]
    assert count(recipe.model.net, (1, 28, 28)).params < PARAMS[name]
    assert recipe.train.epochs == EPOCHS[name]
    assert count(recipe.model.net, (1, 28, 28)).out_shape == (10,)


def test_a_copy_is_the_text_as_it_was_written(tmp_path: Path) -> None:
    """Comments included; it loads to the same recipe under its own name."""
    path = copy("own/20k-fast", tmp_path / "mine.toml")

    assert path.read_text(encoding="utf-8") == text("own/20k-fast")
    assert diff(load(path), load("own/20k-fast")) == ()
    assert load(path).name == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.toml"]


def test_a_copy_overwrites_only_on_request(tmp_path: Path) -> None:
    """A file of the user's is safe until overwriting is asked for."""
    path = tmp_path / "mine.toml"
    path.write_text("mine")

    with pytest.raises(UsageError, match="already exists"):
        copy("own/8k", path)
    assert path.read_text() == "mine"
    copy("own/8k", path, overwrite=True)
    assert path.read_text() == text("own/8k")


def test_an_invalid_copy_says_what_to_try(tmp_path: Path) -> None:
    """A folder, a file without .toml, and an unknown recipe are usage errors that write nothing."""
    with pytest.raises(UsageError, match=r"Try .*8k\.toml\.$"):
        copy("own/8k", tmp_path)
    with pytest.raises(UsageError, match=r"Try .*mine\.toml\.$"):
        copy("own/8k", tmp_path / "mine")
    with pytest.raises(UsageError, match="there is no recipe 'own/9k'"):
        copy("own/9k", tmp_path / "mine.toml")
    with pytest.raises(MissingError, match="cannot write"):
        copy("own/8k", tmp_path / "no folder" / "mine.toml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("own/20k-fast", True),
        ("own/nothing-of-the-kind", True),
        ("20k-fast", True),
        ("mine.toml", True),
        ("c8 r gap flat fc10", False),
        ("c16/5", False),
        ("nets:Tiny", False),
    ],
)
def test_a_recipe_is_distinguished_from_a_net(given, expected):
    """What could be a recipe's name or file is one, so that a typing error in it is reported as one."""
    assert is_recipe(given) is expected


@pytest.mark.parametrize("given", ["own/99", "own/9k", "own/", "own/zzz"])
def test_a_folder_in_common_is_no_similarity(given):
    """No recipe is suggested only because its name begins with own/ too; all are listed."""
    with pytest.raises(UsageError) as caught:
        text(given)

    assert "Did you mean" not in str(caught.value)
    assert ", ".join(own_names()) in str(caught.value)


def test_a_draft_shows_values_of_a_recipe_that_does_not_load(tmp_path):
    """Its values are there unchecked, with what it extends and what --set lays over; unreadable is none at all."""
    path = tmp_path / "bad.toml"
    path.write_text('extends = "own/8k"\n[train]\nepochs = "many"\n')

    values = draft(path, overrides=["train.lrr=1"])

    assert values["train"]["epochs"] == "many"
    assert values["train"]["lrr"] == 1
    assert values["model"]["net"]
    path.write_text("not toml at all")
    assert draft(path) == {}
