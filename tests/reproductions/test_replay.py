"""A journey is replayed from what is not on record, and what comes out is small and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyweight.experiment.plan import as_recorded
from flyweight.experiment.run import run
from flyweight.recipe import Recipe, load, recipe_hash
from flyweight.records.store import Store
from flyweight.reproductions import replay as replays_of
from flyweight.reproductions.document import journey, journeys
from flyweight.reproductions.replay import gather, hashes, quick_recipes, replay, to_do
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
    steps = [step for story in journeys() for step in story.all_steps if step.name in names]
    return quick_recipes(steps, store.home)


@pytest.mark.usefixtures("few")
def test_what_is_on_record_is_not_trained_again(store: Store) -> None:
    """Four steps of three protocols, one of which diverges: trained once, gathered whole, and nothing left to do."""
    recipes = rehearsed(STEPS, store)
    found = {}
    for name in ("000", "003"):
        story = journey(name)
        steps = [step for step in story.all_steps if step.name in STEPS]
        jobs = to_do(story, steps, store=store, seeds=1, recipes=recipes)
        assert [job.name for job in jobs] == [f"{step.name} (quick)" for step in steps]
        replay(jobs, store=store, device="cpu")
        assert to_do(story, steps, store=store, seeds=1, recipes=recipes) == ()
        chosen = {step.name: recipes[step.name] for step in steps}
        found |= {one.step: one for one in gather(story, store, recipes=chosen)}

    assert tuple(found) == STEPS
    assert [one.status for one in found.values()] == ["diverged", "finished", "finished", "finished"]
    assert found["000-1"].honest is None
    assert sum(found["000-1"].class_counts) == 100
    assert [len(one.epochs) for one in found.values()] == [0, 1, 2, 2]
    assert [one.epochs[-1].test is not None for one in found.values() if one.epochs] == [True, True, True]
    assert [one.epochs[0].test is not None for one in found.values() if one.epochs] == [True, False, True]
    assert all(one.machine["torch"] for one in found.values())
    assert to_json(from_json(to_json(found.values()), "text")) == to_json(found.values())
    assert {record.study for record in store.runs()} == {"000 (quick)", "003 (quick)"}


@pytest.mark.usefixtures("few")
def test_a_run_that_was_stopped_goes_on(store: Store) -> None:
    """Its step is still to do, as the same run, and then no more."""
    recipes = rehearsed(("003-12",), store)
    story = journey("003")
    steps = story.select(["12"])
    stopped = run(recipes["003-12"], store=store, device="cpu", should_stop=lambda: True)

    (job,) = to_do(story, steps, store=store, seeds=1, recipes=recipes)
    assert (job.asked.seeds, job.asked.resumed) == ((), (stopped.id,))
    replay([job], store=store, device="cpu")

    (found,) = gather(story, store, recipes=recipes)
    assert [epoch.epoch for epoch in found.epochs] == [1, 2]
    assert [record.id for record in store.runs()] == [stopped.id]


def test_one_epoch_asks_for_three_seeds_and_more_for_one(store: Store) -> None:
    """As many as can be had in minutes, unless told; runs of other recipes do not count."""
    story = journey("003")

    jobs = {job.name: job for job in to_do(story, story.all_steps, store=store)}
    told = to_do(story, story.select(["17"]), store=store, seeds=5)

    assert len(jobs) == 21
    assert jobs["003-1"].n_runs == 3
    assert jobs["003-17"].n_runs == 1
    assert told[0].asked.seeds == (0, 1, 2, 3, 4)
    assert told[0].asked.parent_hash == recipe_hash(as_recorded(load("003-16")))
    assert jobs["003-17"].work > jobs["003-3"].work > jobs["003-1"].work


def test_hashes_are_of_the_recipes_as_they_are_recorded() -> None:
    """Of every step and of our own recipes for the same goal, all different."""
    found = hashes(journey("000"))

    assert set(found) == {"000-1", "000-2", "000-3", "000-4", "000-5", "own/25k-one-epoch"}
    assert len(set(found.values())) == 6
    assert found["own/25k-one-epoch"] == recipe_hash(as_recorded(load("own/25k-one-epoch")))
