"""Which runs count as the seeds of one result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import record_seeds

from flyweight.evidence.groups import Group, groups
from flyweight.records.record import RunRecord
from flyweight.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path)


def test_seeds_of_one_recipe_are_one_group_in_the_order_of_their_seeds(store):
    """However they were trained; another recipe, other images or another split make another group."""
    record_seeds(store, [990, 991], first_seed=4)
    record_seeds(store, [992], first_seed=1)
    record_seeds(store, [980], "train.lr=0.2")
    record_seeds(store, [970], data_hash="e" * 64)
    record_seeds(store, [960], split_hash="6" * 64)

    found = groups(store.runs())

    assert [group.seeds for group in found] == [(1, 4, 5), (0,), (0,), (0,)]
    assert found[0].accuracies("test") == [0.992, 0.990, 0.991]
    assert found[0].accuracies("validation") == [0.99, 0.99, 0.99]
    assert found[0].summary("test").mean == pytest.approx(0.991)
    assert (found[0].count("test"), found[0].count("validation")) == (1_000, 200)


def test_a_seed_that_ran_twice_counts_once(store):
    """Its newest run is taken and the other is reported: the same run again is no second opinion."""
    record_seeds(store, [990, 991])
    again = record_seeds(store, [993])

    (found,) = groups(store.runs())

    assert found.seeds == (0, 1)
    assert found.runs[0].id == again[0].id
    assert found.n_repeats == 1


def test_a_diverged_seed_is_kept_apart_and_an_open_one_counted(store):
    """Neither has figures; both are part of what happened."""
    record_seeds(store, [990, 991])
    record_seeds(store, [0], status="diverged", first_seed=2)
    record_seeds(store, [0], status="running", first_seed=3)
    record_seeds(store, [0], status="failed", first_seed=4)

    (found,) = groups(store.runs())

    assert (found.n, [run.seed for run in found.diverged], found.n_open) == (2, [2], 2)


def test_where_nothing_is_over_there_is_no_group(store):
    """A recipe that only runs or failed has no result."""
    record_seeds(store, [0], status="failed")

    assert groups(store.runs()) == ()


def test_a_group_that_diverged_has_no_figures(store):
    """No summary, no accuracies, no images; its name is still known."""
    record_seeds(store, [0, 0], status="diverged")

    (found,) = groups(store.runs())

    assert (found.n, found.summary("test"), found.accuracies("test"), found.count("test")) == (0, None, [], 0)
    assert found.name == "base"


@given(st.data())
def test_no_run_is_lost_or_counted_twice(data: st.DataObject) -> None:
    """Whatever runs there are: each is measured, diverged, a repeat, open, or of a recipe without a result."""
    kinds = st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["finished", "diverged", "running"]))
    runs = [figures(number, *kind) for number, kind in enumerate(data.draw(st.lists(kinds, max_size=20)))]

    found: tuple[Group[RunRecord], ...] = groups(runs)

    for group in found:
        alike = [run for run in runs if run.recipe_hash == group.first.recipe_hash]
        assert group.n + len(group.diverged) + group.n_repeats + group.n_open == len(alike)
        assert len({run.seed for run in (*group.runs, *group.diverged)}) == group.n + len(group.diverged)
    over = {run.recipe_hash for run in runs if run.status != "running"}
    assert {group.first.recipe_hash for group in found} == over


def figures(number: int, recipe_hash: str, seed: int, status: str) -> RunRecord:
    return replace(EXAMPLE, id=f"{number:020}", recipe_hash=recipe_hash, seed=seed, status=status)


EXAMPLE = RunRecord(
    **dict.fromkeys(field for field in RunRecord.__dataclass_fields__ if field not in ("data_hash", "split_hash")),
    data_hash="d",
    split_hash="s",
)
