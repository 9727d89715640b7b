"""Each step of each document is a recipe like any other: it loads, says what it is, and trains."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flyweight.experiment.plan import plan
from flyweight.experiment.setup import prepare
from flyweight.model.count import count
from flyweight.recipe import catalogue, describe, diff, flat, load, names, override, parent, text
from flyweight.train import loop
from flyweight.train.settings import FitSettings
from tiny import TRAIN, write_images

STEPS = tuple(name for name in names() if name not in catalogue.own_names())
ROOTS = ("000-1", "001-1", "002-1a", "003-1", "004-1")
IMAGES_A_STEP = 4


def own_keys(step: str) -> set[str]:
    """The keys that the table of a step gives, dotted."""
    tables = catalogue.document_tables(step.partition("-")[0])
    (table,) = (one for one in (*tables["steps"], *tables.get("related", ())) if one["name"] == step)
    return set(flat(table["recipe"]))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few real digits as an image set."""
    return write_images(tmp_path_factory.mktemp("digits"))


def test_all_steps_are_in_the_catalogue() -> None:
    """48 experiments of five documents, and the six steps beside them, each under a name of its own."""
    by_journey = [sum(step.startswith(f"{document}-") for step in STEPS) for document in catalogue.document_names()]

    assert by_journey == [5, 11, 15, 21, 2]
    assert len(set(STEPS)) == len(STEPS) == 54


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_a_recipe_with_its_name_and_what_it_is(step: str) -> None:
    """It is called as the document calls it, described by its label, and its text opens with where it comes from."""
    recipe = load(step)

    assert recipe.name == step
    assert recipe.description == describe(step)
    assert recipe.description.endswith(").")
    assert text(step).startswith(f"# Step {step} of the document {step.partition('-')[0]}: ")
    assert "\n" not in recipe.description


def test_the_keys_of_a_step_are_what_it_changes() -> None:
    """No key repeats what was inherited, and nothing changes that its table does not give; a root has no parent."""
    changed = {step: diff(before, load(step)) for step in STEPS if (before := parent(step)) is not None}

    assert tuple(step for step in STEPS if step not in changed) == ROOTS
    assert len(changed) == 49
    assert {step: {change.key for change in changes} for step, changes in changed.items()} == {
        step: own_keys(step) for step in changed
    }


@pytest.mark.parametrize("step", STEPS)
def test_a_step_trains(step: str, digits: Path) -> None:
    """Its net is built with the counted parameters, and one step on real images is taken as its recipe says."""
    asked = load(step)
    held_out = asked.protocol.evaluate_on == "validation"
    recipe = override(
        asked,
        [
            f"data.name={digits}",
            f"data.validation={40 if held_out else 'none'}",
            f"train.batch_size={IMAGES_A_STEP}",
        ],
    )
    bench = prepare(recipe, seed=0, device="cpu", threads=1)
    before = [parameter.detach().clone() for parameter in bench.training.model.parameters()]

    outcome = loop.fit(
        bench.training,
        bench.batches,
        FitSettings(
            epochs=recipe.train.epochs, lr=lambda _: recipe.train.lr, loss=bench.loss, precision=bench.precision
        ),
        validate=lambda net: bench.evaluate(net, *bench.validation),
        should_stop=lambda: True,
    )

    cost = count(recipe.model.net, bench.image_set.shape)
    assert outcome.status == "interrupted"
    assert (bench.training.count, bench.training.step) == (IMAGES_A_STEP, 1)
    assert math.isfinite(bench.training.loss_sum)
    assert len(bench.split.train) == TRAIN - 40 * held_out
    assert sum(parameter.numel() for parameter in before) == cost.registered_params
    after = bench.training.model.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert plan(asked).require().cost.params == cost.params
