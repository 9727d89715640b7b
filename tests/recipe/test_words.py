"""Changes as a person would write them into a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.recipe import (
    Change,
    Recipe,
    all_in_words,
    diff,
    diff_stored,
    has_effect,
    in_words,
    keys,
    load,
    override,
    parent,
)
from flyweight.recipe.words import FACTORS, UNITS, net_in_words

FAST = load("own/20k-fast")


@pytest.mark.parametrize(
    ("override_text", "words"),
    [
        ("train.lr=0.05", "lr 0.1 → 0.05"),
        ("augment.elastic=1.5", "elastic off → 1.5 pixels"),
        ("augment.rotate=0.0", "rotate 10 → off"),
        ("train.batch_size=512", "batch_size 64 → 512 images"),
        ("data.train_limit=20k", "train_limit off → 20,000 images"),
        ("train.nesterov=false", "nesterov yes → no"),
        ("train.schedule=cosine", "schedule one-cycle → cosine"),
        ("budget.params=1k", "budget.params 20,000 → 1,000"),
    ],
)
def test_a_change_has_its_unit(override_text: str, words: str) -> None:
    """Old to new; what is off is called off."""
    base = override(FAST, ["augment.rotate=10.0", "train.batch_size=64"])

    (change,) = diff(base, override(base, [override_text]))

    assert in_words(change) == words


def test_every_unit_and_factor_belongs_to_a_key() -> None:
    """A key that was renamed would leave its unit behind."""
    known = {key.key for key in keys()}

    assert len(UNITS) > 10
    assert set(UNITS) <= known
    assert set(FACTORS) <= known


def test_no_change_is_the_word_nothing() -> None:
    """Two equal recipes differ in nothing."""
    assert all_in_words(diff(FAST, FAST)) == "nothing"


@given(st.lists(st.sampled_from(["c8", "c16", "bn", "r", "m2", "d.1", "gap", "flat", "fc10"]), min_size=1, max_size=12))
def test_a_net_that_became_another_has_a_text(words: list[str]) -> None:
    """The text is empty exactly if nothing changed."""
    old = "c8 bn r m2 c16 bn r gap flat fc10"

    text = net_in_words(old, " ".join(words))

    assert (text == "") == (" ".join(words) == old)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        # Four different steps, of which two take away or add several words.
        (
            "c32p1 r c32p1 r c16 r m2 c16 r flat fc10",
            "c16p1 r c16p1 r m2 c8p1 r c8p1 r flat fc10",
            "→ c16p1 r c16p1 r m2 c8p1 r c8p1 r flat fc10",
        ),
        # Replacements alone, and a step of several words among few.
        (
            "c8 r c12 r m2 c16 r c24 r flat fc10",
            "c9 r c13 r m2 c17 r c25 r flat fc10",
            "c8 → c9, c12 → c13, c16 → c17, c24 → c25",
        ),
        ("c8 r m2 c16 r flat fc10", "c8 bn r m2 c16 bn r c16 bn r flat fc10", "+bn, +bn +r +c16 +bn"),
    ],
)
def test_a_net_is_shown_whole_where_many_steps_differ(old: str, new: str, words: str) -> None:
    """More than three steps of which one takes away or adds several words; replacements are read easily."""
    assert net_in_words(old, new) == words


def test_stored_recipes_differ_as_the_values_do() -> None:
    """`diff_stored` of two dumps is `diff` of the recipes, whatever was changed."""
    for text in ("train.lr=0.3", "model.net=c8 r gap flat fc10", "augment.rotate=3.0", "data.resize=20", "name=other"):
        other = override(FAST, [text])

        found = diff_stored(FAST.model_dump(mode="json"), other.model_dump(mode="json"))

        assert found == diff(FAST, other)


def test_keys_of_other_versions_count_as_changes() -> None:
    """A key that one side lacks or that no one knows is not passed over."""
    old, new = {"train": {"lr": 0.1, "zeal": 3}}, {"train": {"lr": 0.1}, "mood": "good"}

    assert diff_stored(old, new) == (
        Change(key="mood", old=None, new="good"),
        Change(key="train.zeal", old=3, new=None),
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [("train.lr", True), ("budget.params", False), ("budget.seconds", True), ("target.stop", True)],
)
def test_limits_change_nothing_but_the_limit_on_seconds(key: str, expected: bool) -> None:
    """A budget refuses or does nothing; one of seconds can end a run earlier."""
    assert has_effect(Change(key=key, old=None, new=1)) is expected


def test_a_parent_is_what_was_changed(tmp_path) -> None:
    """Overrides are changes of the recipe itself; without them a child's parent is what it extends; a root has none."""
    (tmp_path / "base.toml").write_text('[model]\nnet = "c8 r gap flat fc10"\n')
    (tmp_path / "child.toml").write_text('extends = "base.toml"\n[train]\nlr = 0.3\n')

    changed = parent(tmp_path / "child.toml", overrides=["train.lr=0.5"])
    extended = parent(tmp_path / "child.toml")

    assert isinstance(changed, Recipe)
    assert changed == load(tmp_path / "child.toml")
    assert extended == load(tmp_path / "base.toml")
    assert parent(tmp_path / "base.toml") is None
