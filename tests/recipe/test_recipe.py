"""The value: written and read back, compared, hashed, and refused in the user's words."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.errors import RecipeError
from flyweight.recipe import ModelSection, Recipe, diff, dumps, keys, loads, override, recipe_hash, value_at
from flyweight.recipe.keys import bound, fields_of, section_of
from flyweight.recipe.toml import key_lines

NET = "c8 r m2 flat fc10"
SMALL = f'name = "small"\n[model]\nnet = "{NET}"\n'


def values_for(field) -> st.SearchStrategy:
    """Everything that one field accepts, from its own bounds."""
    low, high = bound(field, "ge"), bound(field, "le")
    above, below = bound(field, "gt"), bound(field, "lt")
    kinds = {
        int: st.integers(low, high if high is not None else 10**20),
        float: st.floats(
            low if above is None else above,
            high if below is None else below,
            exclude_min=above is not None,
            exclude_max=below is not None,
            allow_nan=False,
            allow_infinity=False,
        ),
        bool: st.booleans(),
        str: st.text(min_size=bound(field, "min_length") or 0, max_size=20),
    }
    for kind, strategy in kinds.items():
        if field.annotation is kind:
            return strategy
        if field.annotation == kind | None:
            # "none" is what these two kinds of value share with text, and text fields are never optional.
            return st.none() | strategy
    return st.sampled_from(field.annotation.__args__)


@st.composite
def recipes(draw) -> Recipe:
    values: dict = {name: {} for name, field in Recipe.model_fields.items() if section_of(field)}
    for key, field in fields_of(Recipe).items():
        section, _, name = key.rpartition(".")
        (values[section] if section else values)[name] = draw(values_for(field))
    # Only what contradicts itself is put right; everything else stays as drawn.
    if values["augment"]["crop_size"] is None:
        values["augment"]["crop_probability"] = 0.0
    elif values["data"]["resize"] is not None:
        values["data"]["resize"] = None
    values["train"]["warmup"] = min(values["train"]["warmup"], 0.99)
    values["target"]["stop"] &= values["target"]["accuracy"] is not None
    if values["protocol"]["evaluate_on"] != "validation":
        values["protocol"]["shared_transform"], values["data"]["validation"] = "none", None
    return Recipe(**values)


@settings(max_examples=60, deadline=None)
@given(recipe=recipes(), only_changes=st.booleans())
def test_a_recipe_survives_being_written_and_read(recipe: Recipe, only_changes: bool) -> None:
    """Whatever a recipe holds, its TOML, whole or only what changed, reads back to an equal recipe."""
    again = loads(dumps(recipe, only_changes=only_changes))

    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)


@settings(max_examples=40, deadline=None)
@given(one=recipes(), other=recipes())
def test_hash_and_diff_agree(one: Recipe, other: Recipe) -> None:
    """Two recipes hash alike exactly when no key differs, and a diff lists exactly the keys that differ."""
    changes = diff(one, other)

    assert (recipe_hash(one) == recipe_hash(other)) == (not changes)
    assert all(value_at(one, change.key) == change.old != change.new for change in changes)
    assert diff(one, one) == ()


def test_only_changes_leaves_out_every_default() -> None:
    """A recipe at its defaults is written as its name and its net."""
    recipe = loads(SMALL)

    assert dumps(recipe, only_changes=True) == f'name = "small"\n\n[model]\nnet = "{NET}"\n'


def test_whole_recipe_spells_out_every_key_that_has_a_value() -> None:
    """The stored recipe does not depend on the defaults of a later version."""
    written = key_lines(dumps(loads(SMALL)))

    missing = [key.key for key in keys() if tuple(key.key.split(".")) not in written]
    assert missing == [key.key for key in keys() if key.default == "none"]
    assert len(missing) == 14


def test_hash_is_the_same_for_ever() -> None:
    """Runs of other days and machines are found by this hash, so it must not move by accident."""
    assert recipe_hash(loads(SMALL)) == "d8c0be602e303bc9f99e58e3cf6c39d712b320f29d4d4065d34aba98f25b9b34"


def test_name_and_description_are_not_part_of_the_hash() -> None:
    """Renaming a recipe does not make it another experiment."""
    recipe = loads(SMALL)
    renamed = override(recipe, ["name=other", "description=better words"])

    assert recipe_hash(renamed) == recipe_hash(recipe)
    assert diff(recipe, renamed) == ()


def test_equal_recipes_hash_alike_with_minus_zero_and_whole_numbers() -> None:
    """-0.0 equals 0.0 and 1 equals 1.0, so they are one recipe."""
    recipe = loads(SMALL)

    assert recipe_hash(override(recipe, ["train.weight_decay=-0.0", "augment.probability=1"])) == recipe_hash(recipe)


def test_a_recipe_cannot_be_changed() -> None:
    """What was planned is what is run: a value is frozen, and can be a key of a dictionary."""
    recipe = loads(SMALL)

    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 9  # type: ignore[misc]
    assert {recipe: 1}[loads(SMALL)] == 1


@pytest.mark.parametrize(
    ("written", "count"), [('"20k"', 20_000), ('"1.2M"', 1_200_000), ('"0.5K"', 500), ("7", 7), ('"1.234k"', 1_234)]
)
def test_counts_may_be_written_short(written: str, count: int) -> None:
    """20k is 20,000 and 1.2M is 1,200,000, exactly."""
    assert loads(f"{SMALL}[budget]\nparams = {written}\n").budget.params == count


def test_none_takes_back_an_optional_value() -> None:
    """TOML has no null; the word none stands for it."""
    recipe = loads(f'{SMALL}[budget]\nparams = 5\nseconds = 1.5\n[target]\naccuracy = "none"\n')

    assert override(recipe, ["budget.params=none", "budget.seconds=none"]).budget == loads(SMALL).budget
    assert recipe.target.accuracy is None


WRONG = [
    ("train.epochs = 0", "train.epochs must be a whole number of at least 1, found 0."),
    ("train.epochs = true", "train.epochs must be a whole number of at least 1, found true."),
    ("train.epochs = 2.0", "train.epochs must be a whole number of at least 1, found 2.0."),
    ('train.lr = "0.1"', "train.lr must be a number above 0, found '0.1'."),
    ("train.lr = inf", "train.lr must be a number above 0, found inf."),
    ("train.lr = true", "train.lr must be a number above 0, found true."),
    ("train.nesterov = 1", "train.nesterov must be true or false, found 1."),
    ("train.gamma = 0", "train.gamma must be a number above 0 and at most 1, found 0."),
    ("train = 3", "train must be a section, [train] with keys under it, found 3."),
    ("train.lr = {a = 1}", "train.lr must be a number above 0, found a table."),
    ("train.lrr = 1", "train.lrr is not a key of a recipe. Did you mean 'train.lr'?"),
    ("train.learning_rate = 1", "train.learning_rate is not a key of a recipe. Did you mean 'train.lr'?"),
    ("lr = 1", "lr is not a key of a recipe. Did you mean 'train.lr'?"),
    ("train.bad = 1", "train.bad is not a key of a recipe. `flyweight recipes --keys` lists them."),
    ("model.epochs = 1", "model.epochs is not a key of a recipe. Did you mean 'train.epochs'?"),
    ("data.optimiser = 1", "data.optimiser is not a key of a recipe. Did you mean 'train.optimizer'?"),
    ("trian.lr = 1", "[trian] is no section of a recipe. Did you mean 'train'? Sections are model, data, "),
    ('train.schedule = "cosin"', "or 'triangular', found 'cosin'. Did you mean 'cosine'?"),
    ("augment.rotate = 181", "augment.rotate must be a number from 0 to 180, found 181."),
    ("augment.scale = 1.0", "augment.scale must be a number from 0 to below 1, found 1.0."),
    ('budget.params = "2.5"', "budget.params must be a whole number of at least 1 or 'none', found '2.5'."),
    ('budget.params = "1.2345k"', "budget.params must be a whole number of at least 1 or 'none', found '1.2345k'."),
    ('data.resize = "9999k"', "data.resize must be a whole number from 1 to 1024 or 'none', found 9999000."),
    ("target.accuracy = 99.4", "found 99.4. For 99.4 % write 0.994."),
    ("description = 2024-01-01", "description must be text, found "),
    ('data.name = ""', "data.name must be text that is not empty, found ''."),
    ("augment.crop_probability = 0.5", "augment.crop_probability needs augment.crop_size, the side in pixels"),
    (
        "augment.crop_size = 29\ndata.resize = 28",
        "augment.crop_size must be at most data.resize, 28, found 29.",
    ),
    ("train.warmup = 1", "train.warmup must be below 1 for the one-cycle schedule"),
    ("target.stop = true", "target.stop needs target.accuracy, such as 0.994"),
    (
        'protocol.shared_transform = "training"\nprotocol.evaluate_on = "test"',
        "protocol.shared_transform needs a split, and protocol.evaluate_on 'test' makes none;",
    ),
    (
        'data.validation = 100\nprotocol.evaluate_on = "train"',
        "data.validation holds images out, and protocol.evaluate_on 'train' trains on all; ",
    ),
    ('protocol.evaluate_on = "tests"', "must be 'validation', 'test' or 'train', found 'tests'. Did you mean 'test'?"),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line for line, _ in WRONG])
def test_a_fault_is_named_in_the_users_words(line: str, expected: str) -> None:
    """One line: where it stands, what must hold, what was found, and what was meant."""
    with pytest.raises(RecipeError) as caught:
        loads(f'name = "small"\nmodel.net = "{NET}"\n{line}\n', label="mine.toml")

    assert str(caught.value).startswith("mine.toml, line 3: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_warmup_of_one_is_fine_where_nothing_warms_up() -> None:
    """A contradiction is only an error where it would change the run."""
    assert override(loads(SMALL), ["train.warmup=1", "train.schedule=constant"]).train.warmup == 1


def test_all_faults_are_in_one_error() -> None:
    """Missing, unknown, wrong and contradicting keys come in one error, each on its line, and so do overrides."""
    text = """
[train]
epochs = 0
momentun = 0.5
[augment]
crop_probability = 0.5
[trian]
lr = 1
"""

    with pytest.raises(RecipeError) as caught:
        loads(text, label="mine.toml", overrides=["train.lr", "budget.macs=-1"])

    assert str(caught.value).splitlines() == [
        "the recipe has 8 faults:",
        "  --set train.lr: must be KEY=VALUE, such as train.lr=0.02.",
        "  mine.toml: name must be given: text that is not empty.",
        "  mine.toml: model.net must be given: text that is not empty.",
        "  mine.toml, line 3: train.epochs must be a whole number of at least 1, found 0.",
        "  mine.toml, line 4: train.momentun is not a key of a recipe. Did you mean 'train.momentum'?",
        "  --set budget.macs=-1: budget.macs must be a whole number of at least 1 or 'none', found -1.",
        "  mine.toml, line 7: [trian] is no section of a recipe. Did you mean 'train'? "
        "Sections are model, data, augment, train, budget, target, protocol.",
        "  mine.toml, line 6: augment.crop_probability needs augment.crop_size, "
        "the side in pixels that is cut out; give it, or 0.",
    ]


def test_a_recipe_made_in_python_is_checked_in_the_same_words() -> None:
    """Python and TOML tell the same faults by the same names."""
    with pytest.raises(RecipeError, match=r"^train\.epochs must be a whole number of at least 1, found -1\.$"):
        Recipe(name="small", model=ModelSection(net=NET), train={"epochs": -1})  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [3, None, []])
def test_what_is_no_table_is_no_recipe(data) -> None:
    """Values that are not even keys are refused in one line."""
    with pytest.raises(RecipeError, match=r"^a recipe must be a table of keys, found "):
        Recipe.model_validate(data)


def test_every_key_says_what_it_means_and_what_it_accepts() -> None:
    """Help and documentation are made from these words, so each key has them."""
    found = keys()

    assert len(found) == 63
    assert all(key.meaning.endswith(".") and key.accepts and key.default for key in found)


def test_recipes_are_read_without_the_heavy_packages() -> None:
    """A recipe is loadable where torch is not installed."""
    code = (
        "import sys, json, flyweight.recipe as r; r.load('own/20k-fast');"
        "heavy = ('torch', 'scipy', 'matplotlib', 'numpy', 'rich', 'sqlalchemy');"
        "print(json.dumps([m for m in heavy if m in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
