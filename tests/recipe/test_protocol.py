"""The protocol of a recipe: its hash, its words, and that a recipe without one is what it was."""

from __future__ import annotations

from typing import get_args

import pytest

from flyweight.recipe import ProtocolSection, Recipe, diff, diff_stored, has_effect, loads, protocol_words, recipe_hash
from flyweight.recipe.protocol import SENTENCES
from flyweight.recipe.toml import format_value

FULL = """
name = "full"
[model]
net = "c8 bn r m2 flat fc10"
[data]
name = "fashion-mnist"
[augment]
rotate = 7.5
[train]
epochs = 3
shuffle = false
loss_reduction = "sum"
[budget]
params = "20k"
[target]
accuracy = 0.9
"""

CLEAN = ProtocolSection()

# Every switch in every position but the clean one.
SWITCHES = [
    (name, value)
    for name, field in ProtocolSection.model_fields.items()
    for value in (get_args(field.annotation) or (True,))
    if value != getattr(CLEAN, name)
]

# The reported metrics change; the training and the clean evaluation do not.
ONLY_TOLD = {"evaluate_augmented", "test_every_epoch", "last_batch_loss", "loss_divided_twice"}


def switched(name: str, value: str | bool) -> Recipe:
    recipe = loads(FULL)
    return recipe.model_copy(update={"protocol": CLEAN.model_copy(update={name: value})})


def test_a_recipe_without_a_protocol_hashes_as_before_there_were_any() -> None:
    """Runs recorded by versions that knew no protocol are found; this hash was computed by such a version."""
    assert recipe_hash(loads(FULL)) == "5b009dfa14967ce4abe057f8107fb8dc57c3e863bbd449b9e830b84976c9f0d6"


def test_every_switch_makes_another_recipe() -> None:
    """Whatever is measured otherwise is kept apart: each position of each switch has a hash of its own."""
    hashes = {recipe_hash(switched(name, value)) for name, value in SWITCHES}

    assert len(SWITCHES) == 9
    assert len({name for name, _ in SWITCHES}) == len(ProtocolSection.model_fields) == 7
    assert len(hashes | {recipe_hash(loads(FULL))}) == 10


def test_an_explicit_clean_protocol_is_no_protocol() -> None:
    """To write every switch at its default changes neither hash nor words."""
    lines = "\n".join(f"{name} = {format_value(value)}" for name, value in CLEAN.model_dump().items())

    written = loads(f"{FULL}[protocol]\n{lines}\n")

    assert written == loads(FULL)
    assert recipe_hash(written) == recipe_hash(loads(FULL))
    assert protocol_words(written) == ()


@pytest.mark.parametrize(("name", "value"), SWITCHES)
def test_every_switch_has_one_sentence(name: str, value: str | bool) -> None:
    """No switch is passed over in silence, and no sentence belongs to none."""
    (sentence,) = protocol_words(switched(name, value))

    assert sentence == SENTENCES[name, value]
    assert set(SENTENCES) == set(SWITCHES)
    assert not sentence.endswith((".", ";"))


def test_several_switches_are_in_the_order_of_the_file() -> None:
    """The words of a protocol are those of its switches."""
    values = {"loss_divided_twice": True, "evaluate_on": "test", "last_batch_loss": True}
    recipe = loads(FULL).model_copy(update={"protocol": ProtocolSection(**values)})

    assert protocol_words(recipe) == tuple(
        SENTENCES[key] for key in (("evaluate_on", "test"), ("last_batch_loss", True), ("loss_divided_twice", True))
    )


@pytest.mark.parametrize(("name", "value"), SWITCHES)
def test_only_keys_that_change_weights_or_clean_figures_have_an_effect(name: str, value: str | bool) -> None:
    """A comparison does not credit a switch that changes only reported metrics."""
    (change,) = diff(loads(FULL), switched(name, value))

    assert change.key == f"protocol.{name}"
    assert has_effect(change) == (name not in ONLY_TOLD)


def test_a_recorded_recipe_from_before_protocols_is_one_without() -> None:
    """Old runs and new ones of one recipe do not differ, and a switch is the only change against an old run."""
    now = loads(FULL).model_dump(mode="json")
    before = {key: value for key, value in now.items() if key != "protocol"}
    tested = switched("evaluate_on", "test").model_dump(mode="json")

    assert diff_stored(before, now) == diff_stored(now, before) == ()
    assert [(change.key, change.old) for change in diff_stored(before, tested)] == [
        ("protocol.evaluate_on", "validation")
    ]
