"""Names, files, parents and overrides: what replaces what, and the errors."""

import os
from pathlib import Path

import pytest

from flyweight.errors import DataError, RecipeError, UsageError
from flyweight.recipe import dumps, load, loads
from flyweight.recipe.toml import key_lines

NET = "c8 r m2 flat fc10"


@pytest.fixture
def write(tmp_path: Path):
    """Write a recipe file below a fresh folder and return its path."""

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def error_of(path: Path, **more) -> str:
    with pytest.raises(RecipeError) as caught:
        load(path, **more)
    return str(caught.value)


def test_a_child_is_the_change(write) -> None:
    """Only the keys that a child names differ from its parent, sections in common included."""
    path = write("child.toml", 'extends = "own/20k-fast"\n[train]\nlr = 0.02\n[data]\nname = "kmnist"\n')
    parent = load("own/20k-fast")

    child = load(path)

    assert child.train == parent.train.model_copy(update={"lr": 0.02})
    assert child.data.name == "kmnist"
    assert (child.model, child.augment, child.budget) == (parent.model, parent.augment, parent.budget)


def test_a_child_has_its_own_name_and_description(write) -> None:
    """Who a recipe is does not pass on: the child is called by its file until it says otherwise."""
    write("parent.toml", f'name = "old"\ndescription = "The old one."\nmodel.net = "{NET}"\n')

    child = load(write("child.toml", 'extends = "parent.toml"\n'))

    assert (child.name, child.description) == ("child", "")


def test_parents_are_found_beside_the_file_that_names_them(write) -> None:
    """A relative parent is relative to the file, over any number of generations."""
    write("a/base.toml", f'model.net = "{NET}"\n[train]\nlr = 0.5\nepochs = 7\n')
    write("b/middle.toml", 'extends = "../a/base.toml"\n[train]\nlr = 0.25\nmomentum = 0.5\n')
    path = write("child.toml", 'extends = "b/middle.toml"\ntrain.momentum = 0.25\n')

    train = load(path).train

    assert (train.epochs, train.lr, train.momentum) == (7, 0.25, 0.25)


def test_a_circle_is_refused_with_the_whole_way_round(write) -> None:
    """Three files that extend each other are listed in order."""
    a = write("a.toml", 'extends = "b.toml"\n')
    write("b.toml", 'extends = "c.toml"\n')
    write("c.toml", 'extends = "./a.toml"\n')

    message = error_of(a)

    folder = a.parent.resolve()
    way = " extends ".join(str(folder / name) for name in ("a.toml", "b.toml", "c.toml", "a.toml"))
    assert message == f"a recipe must not extend itself, found {way}."


def test_a_missing_parent_is_located_where_it_is_named(write) -> None:
    """The line of `extends`, and the nearest name or the path that was looked for."""
    by_name = write("a.toml", '# a comment\nextends = "own/20k-fats"\n')
    by_path = write("b.toml", 'extends = "gone.toml"\n')
    by_number = write("c.toml", "extends = 3\n")

    assert f"{by_name}, line 2: extends: there is no recipe 'own/20k-fats'. Did you mean 'own/20k-fast'?" in error_of(
        by_name
    )
    assert error_of(by_path).startswith(f"{by_path}, line 1: extends: there is no file {by_path.parent / 'gone.toml'}")
    assert error_of(by_number) == f"{by_number}, line 1: extends must be the name or file of a recipe, found 3."


def test_a_fault_of_a_parent_is_located_in_the_parents_file(write) -> None:
    """Each fault carries the file and line that wrote the value; one that the child mends is gone."""
    parent = write("parent.toml", f'model.net = "{NET}"\n\n[train]\nepochs = 0\nlr = -1\n')
    child = write("child.toml", 'extends = "parent.toml"\n[train]\nepochs = 4\nmomentum = 3\n')

    message = error_of(child)

    assert message.splitlines() == [
        "the recipe has 2 faults:",
        f"  {parent}, line 5: train.lr must be a number above 0, found -1.",
        f"  {child}, line 4: train.momentum must be a number from 0 to below 1, found 3.",
    ]


def test_overrides_lie_over_everything_and_the_last_one_wins() -> None:
    """TOML values, bare words, counts and texts with spaces need no quotes."""
    recipe = load(
        "own/20k-fast",
        overrides=[
            "train.lr=0.5",
            "train.lr=0.25",
            "train.schedule=cosine",
            'train.optimizer="adam"',
            "train.nesterov=false",
            "budget.params=1.2M",
            "model.net=c8 r m2 flat fc10",
            "data.name=folder/with=sign",
        ],
    )

    assert (recipe.train.lr, recipe.train.schedule, recipe.train.optimizer) == (0.25, "cosine", "adam")
    assert recipe.train.nesterov is False
    assert (recipe.budget.params, recipe.model.net, recipe.data.name) == (1_200_000, NET, "folder/with=sign")


@pytest.mark.parametrize("text", ["train.lr", "=1", "train.=1", ".lr=1", ""])
def test_an_override_without_key_or_value_is_refused(text: str) -> None:
    """An override that is none says how one looks."""
    with pytest.raises(RecipeError) as caught:
        load("own/8k", overrides=[text])

    assert str(caught.value) == f"--set {text}: must be KEY=VALUE, such as train.lr=0.02."


@pytest.mark.parametrize("text", ["train.lrr=1", "trian.lr=1", "lr=1", "name.x=1", "model=3", "train=1"])
def test_a_fault_of_an_override_quotes_the_override(text: str) -> None:
    """The user sees which of several --set is meant."""
    with pytest.raises(RecipeError) as caught:
        load("own/8k", overrides=["train.epochs=3", text])

    assert str(caught.value).startswith(f"--set {text}: ")


@pytest.mark.parametrize("text", ["train.lr=1\ntrain.x=2", "train.lr=" + "9" * 400, "a" * 3000 + "=1"])
def test_a_strange_override_is_still_one_short_line(text: str) -> None:
    """Lines and lengths that nobody means do not fill the screen."""
    with pytest.raises(RecipeError) as caught:
        load("own/8k", overrides=[text])

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("name = small\n", "line 1, column 8", "Text must stand in quotes"),
        ('name = "a"\n[train\nlr = 1\n', "line 2, column 7", "Expected ']'"),
        ("[train]\nlr = 1\nlr = 2\n", "line 3, column 7", "Cannot overwrite a value"),
        ('name = "a', "line 1, ", "not valid TOML"),
        ("x = " + "[" * 5000, "mine.toml", "not valid TOML"),
    ],
    ids=["no quotes", "open bracket", "twice", "open text", "deep"],
)
def test_what_is_not_toml_is_one_line_with_its_place(text: str, line: str, expected: str) -> None:
    """Line and column, and the mistake that is made most often is named."""
    with pytest.raises(RecipeError) as caught:
        loads(text, label="mine.toml")

    assert str(caught.value).startswith("mine.toml")
    assert line in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A slip of the finger, a name without its folder, and a file without .toml are all helped."""
    for given, hint in [("own/20k-fats", "'own/20k-fast'"), ("8k", "'own/8k'"), ("mine", "a file must end in .toml")]:
        with pytest.raises(UsageError, match=f"there is no recipe {given!r}.*{hint}"):
            load(given)


def test_files_that_cannot_be_read_are_one_line_of_error(write, tmp_path: Path) -> None:
    """Missing, a folder, not text: the exit code of files, never a traceback."""
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff\xfe'")
    null = write("null.toml", 'extends = "a\\u0000.toml"\n')

    for name, words in (
        ("gone", "there is no file"),
        ("folder", "must be a file, found a folder"),
        ("bytes", "must be text in UTF-8"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            load(tmp_path / f"{name}.toml")
        assert str(tmp_path / f"{name}.toml") in str(caught.value)
    assert "is not a valid path" in error_of(null)


def test_files_written_elsewhere_are_read(tmp_path: Path) -> None:
    """A byte order mark and Windows line ends change nothing, lines in errors included."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + f'[model]\r\nnet = "{NET}"\r\n[train]\r\nepochs = 0\r\n'.encode())

    assert error_of(path).startswith(f"{path}, line 4: train.epochs")
    assert load(path, overrides=["train.epochs=2"]).model.net == NET


def test_a_stored_recipe_loads_from_any_folder(write) -> None:
    """What a run keeps is complete: parents merged, overrides applied, the name inside."""
    recipe = load("own/8k", overrides=["train.epochs=2"])

    again = load(write("runs/x/recipe.toml", dumps(recipe)))

    assert again == recipe


def test_paths_may_be_given_as_paths(write) -> None:
    """A `Path` is always a file, a text only if it ends in .toml."""
    path = write("mine.toml", f'model.net = "{NET}"\n')

    assert load(path) == load(str(path)) == load(os.fspath(path))
    assert load(path).name == "mine"


def test_lines_of_keys_are_not_fooled_by_long_texts_and_comments() -> None:
    """A line in a text of several lines is no key."""
    text = '# a = 1\nname = """\nlr = 1\n[train]\n"""\n[ train ]  # now\n"lr" = 2\ndata . name = "x"\n'

    assert key_lines(text) == {("name",): 2, ("train",): 6, ("train", "lr"): 7, ("train", "data", "name"): 8}


@pytest.mark.parametrize("name", ["./photos", "sets/photos", "photos.npz"])
def test_a_relative_path_of_images_is_relative_to_the_recipe_file(tmp_path, monkeypatch, name) -> None:
    """As `extends` is; a recipe in another folder that extends it means the same images."""
    (tmp_path / "recipes" / name).mkdir(parents=True)
    (tmp_path / "recipes" / "a.toml").write_text(f'[model]\nnet = "flat fc10"\n[data]\nname = "{name}"\n')
    (tmp_path / "b.toml").write_text('extends = "recipes/a.toml"\n')
    monkeypatch.chdir(tmp_path)

    for recipe in (load("recipes/a.toml"), load("b.toml"), load(tmp_path / "b.toml")):
        assert Path(recipe.data.name).resolve() == (tmp_path / "recipes" / name).resolve()


def test_a_path_of_images_that_is_not_beside_the_recipe_stays(tmp_path, monkeypatch) -> None:
    """Relative to the working folder, as before; and a word alone is the name of a set, whatever lies beside."""
    (tmp_path / "recipes" / "mnist").mkdir(parents=True)
    for number, name in enumerate(("sets/photos", "mnist")):
        path = tmp_path / "recipes" / f"{number}.toml"
        path.write_text(f'[model]\nnet = "flat fc10"\n[data]\nname = "{name}"\n')

        assert load(path).data.name == name


def test_recipes_without_end_are_refused_at_once(write) -> None:
    """A key of 100,000 parts, and 1,500 files that extend each other."""
    for number in range(1500):
        write(f"e{number}.toml", f'extends = "e{number + 1}.toml"\n')
    write("e1500.toml", '[model]\nnet = "flat fc10"\n')
    deepest = write("deep.toml", "a." * 100_000 + 'b = 1\n[model]\nnet = "flat fc10"\n')

    for given, expected in (
        (deepest, r"line 1: a key must have at most 1000 parts"),
        (deepest.with_name("e0.toml"), "more than 50 times"),
    ):
        with pytest.raises(RecipeError, match=expected) as caught:
            load(given)
        assert len(str(caught.value)) < 500
