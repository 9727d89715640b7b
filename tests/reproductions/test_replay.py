"""A document is replayed from what is not on record, and what comes out is small and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyweight.execute.execution import execute
from flyweight.execute.on_record import look_up
from flyweight.experiment.resolved import canonical_hash
from flyweight.experiment.run import run
from flyweight.recipe import Recipe, load
from flyweight.records.store import Store
from flyweight.reproductions import replay as replays_of
from flyweight.reproductions.document import document, documents
from flyweight.reproductions.replay import gather, hashes, quick_recipes, requests_for
from flyweight.reproductions.runs import from_json, to_json

STEPS = ("000-1", "000-5", "003-12", "003-17")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsals of fewer images still: seconds for all of them."""
    monkeypatch.setattr(replays_of, "QUICK_TRAIN", 1600)
    monkeypatch.setattr(replays_of, "QUICK_TEST", 100)
    monkeypatch.setattr(replays_of, "QUICK_VALIDATION", 100)


def rehearsed(names: tuple[str, ...], store: Store) -> dict[str, Recipe]:
    steps = [step for story in documents() for step in story.all_steps if step.name in names]
    return quick_recipes(steps, store.home)


@pytest.mark.usefixtures("few")
def test_what_is_on_record_is_not_trained_again(store: Store) -> None:
    """Four steps of three protocols, one of which diverges: trained once, gathered whole, and nothing left to do."""
    recipes = rehearsed(STEPS, store)
    found = {}
    for name in ("000", "003"):
        story = document(name)
        steps = [step for step in story.all_steps if step.name in STEPS]
        requests = requests_for(story, steps, seeds=1, recipes=recipes)
        left = look_up(requests, store)
        assert [(one.recipe.name, one.n_remaining) for one in left] == [(f"{step.name} (quick)", 1) for step in steps]
        execute(requests, store=store)
        assert not any(one.n_remaining for one in look_up(requests, store))
        chosen = {step.name: recipes[step.name] for step in steps}
        found |= {one.step: one for one in gather(story, store, recipes=chosen)}

    assert tuple(found) == STEPS
    assert [one.status for one in found.values()] == ["diverged", "finished", "finished", "finished"]
    assert found["000-1"].clean is None
    assert sum(found["000-1"].class_counts) == 100
    assert [len(one.epochs) for one in found.values()] == [0, 1, 2, 2]
    assert [one.epochs[-1].test is not None for one in found.values() if one.epochs] == [True, True, True]
    assert [one.epochs[0].test is not None for one in found.values() if one.epochs] == [True, False, True]
    assert all(one.machine["torch"] for one in found.values())
    assert to_json(from_json(to_json(found.values()), "text")) == to_json(found.values())
    assert {record.study for record in store.runs(purpose="reproduction")} == {"000 (quick)", "003 (quick)"}


@pytest.mark.usefixtures("few")
def test_a_run_that_was_stopped_continues(store: Store) -> None:
    """Its step is still to do, as the same run, and then no more."""
    recipes = rehearsed(("003-12",), store)
    story = document("003")
    steps = story.select(["12"])
    stopped = run(recipes["003-12"], store=store, device="cpu", should_stop=lambda: True)

    (request,) = requests_for(story, steps, seeds=1, recipes=recipes)
    (left,) = look_up([request], store)
    assert (left.new_seeds, [run.id for run in left.stopped.values()]) == ((), [stopped.id])
    execute([request], store=store)

    (found,) = gather(story, store, recipes=recipes)
    assert [epoch.epoch for epoch in found.epochs] == [1, 2]
    assert [record.id for record in store.runs(purpose="all")] == [stopped.id]


def test_one_epoch_asks_for_three_seeds_and_more_for_one(store: Store) -> None:
    """As many as can be had in minutes, unless reported; runs of other recipes do not count."""
    story = document("003")

    left = {one.recipe.name: one for one in look_up(requests_for(story, story.all_steps), store)}
    (five,) = requests_for(story, story.select(["17"]), seeds=5)

    assert len(left) == 21
    assert left["003-1"].n_remaining == 3
    assert left["003-17"].n_remaining == 1
    assert five.seeds == (0, 1, 2, 3, 4)
    assert five.purpose == "reproduction"
    assert five.parent_hash == canonical_hash(load("003-16"))
    assert left["003-17"].work > left["003-3"].work > left["003-1"].work


def test_hashes_are_of_the_recipes_as_they_are_recorded() -> None:
    """Of every step and of our own recipes for the same goal, all different."""
    found = hashes(document("000"))

    assert set(found) == {"000-1", "000-2", "000-3", "000-4", "000-5", "own/25k-one-epoch"}
    assert len(set(found.values())) == 6
    assert found["own/25k-one-epoch"] == canonical_hash(load("own/25k-one-epoch"))
