"""Trials are claimed once and finished once, by whatever processes; both back ends."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from flyweight.errors import UsageError
from flyweight.records.database import writing
from flyweight.records.process import this_process
from flyweight.records.search_record import NewTrial, TrialFigures
from flyweight.records.store import Store
from flyweight.records.tables import searches, trials


def new(number: int) -> NewTrial:
    return NewTrial(
        design={"net": "flat fc10", "settings": {}},
        design_hash=f"hash {number}",
        origin="random",
        params=10,
        macs=10,
        activation_bytes=10,
        flash_bytes=10,
    )


def next_new(known: Sequence[TrialFigures], _design: Any) -> NewTrial:
    return new(len(known))


def none(_known: Sequence[TrialFigures], _design: Any) -> None:
    return None


def taken_by_another(store: Store, *, pid: int, host: str | None = None, lease: float | None = None) -> None:
    owner = this_process()
    values: dict[str, Any] = {"pid": pid, "host": host or owner.host, "process_started": "long ago"}
    with writing(store._engine) as connection:
        connection.execute(update(trials).values(values | ({} if lease is None else {"lease": lease})))
        connection.execute(update(searches).values(values))


def test_a_search_and_its_trials_come_back_as_they_were(store: Store) -> None:
    store.searches.start("one", {"minutes": 3})
    first = store.searches.claim("one", next_new)
    second = store.searches.claim("one", next_new)
    assert first is not None
    assert second is not None
    assert store.searches.finish("one", first, "paused", accuracies=(0.5,), seconds=2.0, message="a\0b")
    store.searches.save("one", "stopped", seconds=4.0, result={"winner": 1})

    record = store.searches.get("one")
    assert (record.plan, record.status, record.seconds, record.result) == (
        {"minutes": 3},
        "stopped",
        4.0,
        {"winner": 1},
    )
    found = store.searches.trials("one")
    assert [one.number for one in found] == [1, 2]
    assert (found[0].accuracies, found[0].status, found[0].rank) == ((0.5,), "paused", (1, 0.5))
    assert found[1].status == "running"
    assert [one.design_hash for one in store.searches.figures("one")] == ["hash 0", "hash 1"]
    assert store.searches.names() == ("one",)
    with pytest.raises(UsageError, match="is on record"):
        store.searches.start("one", {})
    with pytest.raises(UsageError, match="no search 'two'"):
        store.searches.get("two")


def test_many_threads_claim_each_trial_once(store: Store) -> None:
    store.searches.start("one", {})
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: store.searches.claim("one", next_new), range(24)))

    numbers = [one.number for one in claimed if one is not None]
    assert sorted(numbers) == list(range(1, 25))


def test_a_result_counts_once_and_only_for_the_attempt_that_has_the_trial(store: Store) -> None:
    store.searches.start("one", {})
    first = store.searches.claim("one", next_new)
    assert first is not None
    store.searches.release("one", first)
    again = store.searches.claim("one", none)
    assert again is not None
    assert (again.number, again.attempt, again.group_id) == (first.number, 2, first.group_id)

    assert not store.searches.finish("one", first, "finished", accuracies=(0.9,), seconds=1.0)
    assert store.searches.renew("one", again)
    assert store.searches.finish("one", again, "finished", accuracies=(0.8,), seconds=1.0)
    assert not store.searches.finish("one", again, "finished", accuracies=(0.7,), seconds=1.0)
    assert store.searches.figures("one")[0].accuracies == (0.8,)
    assert store.searches.claim("one", none) is None


def test_the_trial_of_a_process_that_has_gone_is_taken_up_first(store: Store) -> None:
    store.searches.start("one", {})
    first = store.searches.claim("one", next_new)
    assert first is not None
    assert store.searches.claim("one", none) is None, "this process still has it"
    taken_by_another(store, pid=2**22 + 1)

    again = store.searches.claim("one", next_new)

    assert again is not None
    assert (again.number, again.attempt) == (1, 2)
    assert not store.searches.renew("one", first)


def test_a_lease_of_another_machine_runs_out_by_the_clock_of_the_database(store: Store) -> None:
    store.searches.start("one", {})
    assert store.searches.claim("one", next_new) is not None
    taken_by_another(store, pid=1, host="elsewhere")
    assert store.searches.claim("one", none) is None

    taken_by_another(store, pid=1, host="elsewhere", lease=1.0)

    again = store.searches.claim("one", none)
    assert again is not None
    assert again.attempt == 2


def test_a_search_under_way_is_neither_resumed_nor_removed(store: Store) -> None:
    store.searches.start("one", {})
    assert store.searches.resume("one").status == "running", "by its own process"
    taken_by_another(store, pid=1, host="elsewhere")
    with pytest.raises(UsageError, match="is under way in process 1 on elsewhere"):
        store.searches.resume("one")
    with pytest.raises(UsageError, match="under way"):
        store.searches.remove("one")
    taken_by_another(store, pid=2**22 + 1)
    assert store.searches.resume("one").pid == this_process().pid
    store.searches.save("one", "finished", seconds=1.0)
    with pytest.raises(UsageError, match="is finished"):
        store.searches.resume("one")


def test_only_paused_trials_are_halved(store: Store) -> None:
    store.searches.start("one", {})
    claimed = [store.searches.claim("one", next_new) for _ in range(3)]
    for one, status in zip(claimed, ("paused", "finished"), strict=False):
        assert one is not None
        store.searches.finish("one", one, status, accuracies=(0.5,), seconds=1.0)  # type: ignore[arg-type]

    groups = store.searches.halve("one", [1, 2, 3])

    assert groups == (store.searches.figures("one")[0].group_id,)
    assert [one.status for one in store.searches.figures("one")] == ["halved", "finished", "running"]


def test_a_removed_search_leaves_nothing(store: Store, start: Any) -> None:
    store.searches.start("one", {})
    trial = store.searches.claim("one", next_new)
    assert trial is not None
    run = start(purpose="search", group_id=trial.group_id)
    other = start()
    store.searches.save("one", "stopped", seconds=1.0)

    assert store.searches.remove("one") == (run.id,)
    assert store.searches.names() == ()
    assert [one.id for one in store.runs(purpose="all")] == [other.id]


def test_a_changed_copy_of_a_claim_is_no_claim(store: Store) -> None:
    store.searches.start("one", {})
    trial = store.searches.claim("one", next_new)
    assert trial is not None

    assert not store.searches.finish("one", replace(trial, attempt=7), "paused", accuracies=(), seconds=0.0)
