"""The contract of the store, held by every back end: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from example_run import asked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from flyweight.errors import UsageError
from flyweight.records.ids import is_run_id
from flyweight.records.record import ENDINGS, PURPOSES, STATUSES, EpochRecord, Purpose, RunRecord
from flyweight.records.store import Store

Start = Callable[..., RunRecord]
EPOCH = {
    "train_loss": 0.31,
    "train_accuracy": 0.91,
    "validation_loss": 0.08,
    "validation_accuracy": 0.9762,
    "lr": 0.1,
    "seconds": 4.2,
}
# PostgreSQL holds no NUL in text, and UTF-8 no lone surrogate.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
losses = st.floats(allow_subnormal=False) | st.none()
on_one_store = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def test_a_started_run_is_running_and_has_a_folder(store: Store, start: Start) -> None:
    before = datetime.now(UTC)
    run = start(group_id="g1")

    assert is_run_id(run.id)
    assert (run.status, run.group_id, run.epochs_done, run.test_openings) == ("running", "g1", 0, 0)
    assert before - timedelta(seconds=1) < run.started_at <= datetime.now(UTC)
    assert run.finished_at is None
    assert run.pid == os.getpid()
    assert store.folder(run.id).path == store.home / "runs" / run.id
    assert store.folder(run.id).path.is_dir()


@on_one_store
@given(
    name=words,
    seed=st.integers(0, 2**63 - 1),
    recipe=st.dictionaries(words, json_values, max_size=4),
    params=st.integers(0, 2**62),
)
def test_what_a_run_was_started_with_comes_back(
    start: Start, store: Store, name: str, seed: int, recipe: dict[str, Any], params: int
) -> None:
    """Any name, seed and recipe; the recipe's keys in their order."""
    run = start(name=name, seed=seed, recipe=recipe, params=params, registered_params=params + 1)

    kept = store.get(run.id)

    assert kept == run
    assert (kept.name, kept.seed, kept.params, kept.registered_params) == (name, seed, params, params + 1)
    assert kept.recipe == recipe
    assert list(kept.recipe) == list(recipe)


def test_a_recipe_with_not_a_number_is_refused_whole(store: Store, start: Start) -> None:
    with pytest.raises(Exception, match="not JSON compliant"):
        start(recipe={"lr": math.nan})

    assert store.runs() == ()


@pytest.mark.parametrize(
    "impossible",
    [
        {"name": ""},
        {"seed": -1},
        {"params": -1},
        {"registered_params": 19_347},
        {"macs": -1},
        {"epochs_planned": -1},
        {"data_hash": None},
        {"recipe_hash": None},
    ],
    ids=lambda impossible: next(iter(impossible)),
)
def test_facts_that_cannot_be_are_refused_by_the_database(
    store: Store, start: Start, impossible: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError):
        start(**impossible)

    assert store.runs() == ()
    assert not (store.home / "runs").exists()


def test_epochs_come_back_in_order(store: Store, start: Start) -> None:
    run = start()

    for epoch in (1, 2, 3):
        store.log_epoch(run.id, epoch, {**EPOCH, "lr": epoch / 10})

    assert store.epochs(run.id) == tuple(
        EpochRecord(run_id=run.id, epoch=epoch, **{**EPOCH, "lr": epoch / 10}) for epoch in (1, 2, 3)
    )
    assert store.get(run.id).epochs_done == 3


def test_a_repeated_epoch_replaces_the_whole_row(store: Store, start: Start) -> None:
    run = start()
    store.log_epoch(run.id, 1, EPOCH)

    store.log_epoch(run.id, 1, {"train_loss": 0.5})

    (epoch,) = store.epochs(run.id)
    assert (epoch.train_loss, epoch.validation_loss) == (0.5, None)


@on_one_store
@given(train_loss=losses, validation_loss=losses, train_accuracy=st.floats(0, 1))
def test_numbers_come_back_to_the_last_bit_and_what_is_none_as_none(
    store: Store, start: Start, train_loss: float | None, validation_loss: float | None, train_accuracy: float
) -> None:
    """NaN and infinity become NULL on both back ends, by decision."""
    run = start()
    measured = {"train_loss": train_loss, "validation_loss": validation_loss, "train_accuracy": train_accuracy}

    store.log_epoch(run.id, 1, measured)

    (epoch,) = store.epochs(run.id)
    assert epoch.train_loss == finite(train_loss)
    assert epoch.validation_loss == finite(validation_loss)
    assert epoch.train_accuracy == train_accuracy


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@pytest.mark.parametrize(
    ("epoch", "values"),
    [(0, {}), (1, {"train_accuracy": 99.4}), (1, {"validation_accuracy": -0.1}), (1, {"lr": -1}), (1, {"seconds": -1})],
)
def test_an_epoch_that_cannot_be_is_refused(store: Store, start: Start, epoch: int, values: dict[str, float]) -> None:
    """An accuracy in percent, for one."""
    run = start()

    with pytest.raises(IntegrityError):
        store.log_epoch(run.id, epoch, values)

    assert store.epochs(run.id) == ()
    assert store.get(run.id).epochs_done == 0


def test_a_misspelt_value_is_reported_not_dropped(store: Store, start: Start) -> None:
    run = start()

    with pytest.raises(TypeError, match="train_los"):
        store.log_epoch(run.id, 1, {"train_los": 0.1})
    with pytest.raises(TypeError, match="train_corect"):
        store.finish(run.id, "finished", train_corect=1)


def test_epochs_of_no_run_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="no runs yet"):
        store.log_epoch("0" * 20, 1, EPOCH)


def test_openings_of_the_test_set_are_counted(store: Store, start: Start) -> None:
    run, other = start(), start()

    counted = [store.open_test(run.id, purpose) for purpose in ("final figure", "misread digits", "again")]

    assert counted == [1, 2, 3]
    assert store.get(run.id).test_openings == 3
    assert store.get(other.id).test_openings == 0
    assert store.open_test(other.id, "final figure") == 1


def test_the_test_set_of_no_run_is_not_opened(store: Store) -> None:
    with pytest.raises(UsageError, match="no run"):
        store.open_test("0" * 20, "final figure")


def test_a_finished_run_holds_what_came_out(store: Store, start: Start) -> None:
    run = start()
    for epoch in range(1, 6):
        store.log_epoch(run.id, epoch, EPOCH)

    ended = store.finish(
        run.id,
        "finished",
        epochs_done=5,
        best_epoch=4,
        train_correct=54_000,
        train_count=55_000,
        validation_correct=4_960,
        validation_count=5_000,
        validation_loss=0.03,
        test_correct=9_941,
        test_count=10_000,
        test_loss=0.02,
        train_seconds=88.5,
    )

    assert ended == store.get(run.id)
    assert (ended.status, ended.best_epoch, ended.train_seconds) == ("finished", 4, 88.5)
    assert (ended.train_accuracy, ended.validation_accuracy, ended.test_accuracy) == (54 / 55, 0.992, 0.9941)
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at


@pytest.mark.parametrize("status", ENDINGS)
def test_every_ending_can_be_recorded_and_nothing_need_be_known(store: Store, start: Start, status: Any) -> None:
    ended = store.finish(start().id, status, message="why", validation_loss=math.nan)

    assert (ended.status, ended.message, ended.validation_loss, ended.test_accuracy) == (status, "why", None, None)
    assert [run.status for run in store.runs(status=status)] == [status]


def test_there_are_six_statuses() -> None:
    assert STATUSES == ("running", "finished", "diverged", "interrupted", "failed", "lost")


@pytest.mark.parametrize("status", ENDINGS)
def test_a_closed_run_is_not_closed_again(store: Store, start: Start, status: Any) -> None:
    """Except by the process of a run that was marked lost: it is there to say so."""
    run = store.finish(start().id, status, message="first")

    if status == "lost":
        assert store.finish(run.id, "finished").status == "finished"
    else:
        with pytest.raises(UsageError, match=f"already {status}"):
            store.finish(run.id, "finished")
        assert store.get(run.id) == run


def test_a_finished_run_takes_no_more_epochs(store: Store, start: Start) -> None:
    run = store.finish(start().id, "finished")

    with pytest.raises(UsageError, match="already finished"):
        store.log_epoch(run.id, 1, EPOCH)

    assert store.epochs(run.id) == ()


@pytest.mark.parametrize(
    "impossible",
    [
        {"validation_correct": 5_001, "validation_count": 5_000},
        {"test_correct": 1},
        {"train_count": 1},
        {"test_correct": 0, "test_count": 0},
        {"best_epoch": 1},
        {"best_epoch": 0, "epochs_done": 1},
        {"train_seconds": -1.0},
    ],
    ids=str,
)
def test_results_that_cannot_be_leave_the_run_open(store: Store, start: Start, impossible: Any) -> None:
    run = start()

    with pytest.raises(IntegrityError):
        store.finish(run.id, "finished", **impossible)

    assert store.get(run.id) == run


def test_a_status_that_is_none_is_reported_with_the_nearest(store: Store, start: Start) -> None:
    run = start()

    with pytest.raises(UsageError, match="Did you mean 'finished'"):
        store.finish(run.id, "finish")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown status 'running'"):
        store.finish(run.id, "running")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Did you mean 'diverged'"):
        store.runs(status="diverge")


def test_no_message_keeps_a_run_from_being_closed(store: Store, start: Start) -> None:
    """Error texts may hold what a database cannot: a NUL, half a character."""
    ended = store.finish(start().id, "failed", message="a\0b\udc80c")

    assert ended.message == "a\N{REPLACEMENT CHARACTER}b?c"


@pytest.mark.parametrize("status", ["interrupted", "lost"])
def test_an_interrupted_or_lost_run_continues(store: Store, start: Start, status: Any) -> None:
    run = start()
    store.log_epoch(run.id, 1, EPOCH)
    store.finish(run.id, status, message="stopped")

    resumed = store.resume(run.id)
    store.log_epoch(run.id, 2, EPOCH)

    assert (resumed.status, resumed.finished_at, resumed.message, resumed.epochs_done) == ("running", None, "", 1)
    assert store.finish(run.id, "finished", epochs_done=2).status == "finished"
    assert len(store.epochs(run.id)) == 2


@pytest.mark.parametrize("status", ["finished", "diverged", "failed"])
def test_a_run_that_ended_for_good_is_not_resumed(store: Store, start: Start, status: Any) -> None:
    run = store.finish(start().id, status)

    with pytest.raises(UsageError, match=f"is {status}; only an interrupted or lost run"):
        store.resume(run.id)


def test_a_run_whose_process_still_writes_is_not_resumed(store: Store, start: Start) -> None:
    with pytest.raises(UsageError, match=f"process {os.getpid()}"):
        store.resume(start().id)


DIES = """
import os, sys
from pathlib import Path
from flyweight.records.store import Store
sys.path.insert(0, sys.argv[3])
from example_run import asked
print(Store.open(sys.argv[1], Path(sys.argv[2])).start(**asked()).id, flush=True)
os._exit(9)
"""


@pytest.fixture
def orphan(store: Store) -> str:
    """A run whose process died without a word."""
    command = [sys.executable, "-c", DIES, store.url, str(store.home), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    return done.stdout.strip()


def test_a_run_whose_process_died_is_marked_lost(store: Store, start: Start, orphan: str) -> None:
    mine = start()

    marked = store.mark_lost()

    assert marked == (orphan,)
    assert store.get(orphan).status == "lost"
    assert "ended without closing" in store.get(orphan).message
    assert store.get(mine.id) == mine
    assert store.mark_lost() == ()


def test_a_run_whose_process_died_can_be_resumed_at_once(store: Store, orphan: str) -> None:
    resumed = store.resume(orphan)

    assert (resumed.status, resumed.pid) == ("running", os.getpid())
    assert store.mark_lost() == ()


def test_a_process_number_given_again_does_not_pass_for_the_run(store: Store, start: Start) -> None:
    """Ours has this run's number, but it started at another time."""
    run = start()
    alter(store, run.id, process_started="0")

    assert store.mark_lost() == (run.id,)


def test_runs_of_other_machines_are_left_to_them(store: Store, start: Start) -> None:
    run = start()
    alter(store, run.id, host="elsewhere", pid=2**30)

    assert store.mark_lost() == ()
    assert store.get(run.id).status == "running"


def test_a_live_process_marked_lost_by_mistake_closes_its_run(store: Store, start: Start) -> None:
    """A container that shares the name of its host sees none of its processes."""
    run = start()
    alter(store, run.id, status="lost", finished_at=run.started_at.isoformat(sep=" "))

    store.log_epoch(run.id, 1, EPOCH)

    assert store.finish(run.id, "finished").status == "finished"


def test_a_stranger_does_not_close_a_lost_run(store: Store, orphan: str) -> None:
    store.mark_lost()

    with pytest.raises(UsageError, match="already lost; resume it first"):
        store.finish(orphan, "finished")


def alter(store: Store, run_id: str, **values: object) -> None:
    """Change a row as no method of the store would."""
    engine = create_engine(store.url)
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE runs SET {assignments} WHERE id = :run"), {"run": run_id, **values})
    engine.dispose()


def test_a_run_is_found_by_any_unique_beginning(store: Store, start: Start) -> None:
    first, second = start(), start()
    shared = next(length for length in range(20) if first.id[length] != second.id[length])

    assert store.get(first.id) == first
    assert all(store.get(second.id[:length]) == second for length in range(shared + 1, 20))
    assert store.get(f" {second.id.upper()} ") == second


def test_an_ambiguous_beginning_lists_candidates_newest_first(store: Store, start: Start) -> None:
    made = [start(name=f"net-{number}") for number in range(7)]

    with pytest.raises(UsageError) as caught:
        store.get(made[0].id[:3])

    lines = str(caught.value).splitlines()
    assert lines[0] == f"{made[0].id[:3]!r} is the beginning of several runs:"
    assert [line.split()[:2] for line in lines[1:-1]] == [[run.id[:12], run.name] for run in made[:1:-1]]
    assert lines[-1].strip() == "..."


def test_runs_with_the_same_short_id_are_listed_with_their_whole_ids(store: Store, start: Start) -> None:
    """Two ids that share their first 12 characters; the listed ones can be used."""
    run = start()
    twin = run.id[:12] + ("0" * 8 if run.id[12:] != "0" * 8 else "1" * 8)
    alter(store, start().id, id=twin)

    with pytest.raises(UsageError, match="several runs") as caught:
        store.get(run.id[:12])

    assert {line.split()[0] for line in str(caught.value).splitlines()[1:]} == {run.id, twin}


@pytest.mark.parametrize("selector", ["zzz", "", "%", "_", "nothing like it", "../.."])
def test_an_unknown_selector_lists_the_latest_runs(store: Store, start: Start, selector: str) -> None:
    """Also one that SQL would read as a pattern."""
    run = start()

    with pytest.raises(UsageError) as caught:
        store.get(selector)

    assert "@latest" in str(caught.value)
    assert f" {run.id[:12]} " in str(caught.value)


def test_the_name_of_a_recipe_lists_its_runs(store: Store, start: Start) -> None:
    mine, other = start(name="own/8k"), start(name="own/20k-best")

    with pytest.raises(UsageError, match="name of a recipe") as caught:
        store.get("own/8k")

    assert f" {mine.id[:12]} " in str(caught.value)
    assert other.id[:12] not in str(caught.value)


@pytest.mark.parametrize("selector", ["@latest", "@best", "0"])
def test_in_an_empty_store_nothing_is_found_and_the_next_step_reported(store: Store, selector: str) -> None:
    with pytest.raises(UsageError, match="`flyweight train` makes one"):
        store.get(selector)


def test_an_unknown_shortcut_is_reported_with_the_nearest(store: Store) -> None:
    with pytest.raises(UsageError, match="Did you mean '@latest'"):
        store.get("@last")


def test_latest_is_the_newest_run_whatever_became_of_it(store: Store, start: Start) -> None:
    store.finish(start().id, "finished")
    newest = store.finish(start().id, "failed")

    assert store.get("@latest") == newest


def test_best_is_the_finished_run_with_the_highest_validation_accuracy(store: Store, start: Start) -> None:
    """A fraction, not a count; diverged, running and unmeasured runs do not count, however high."""

    def ended(status: Any, correct: int, count: int, params: int = 20) -> RunRecord:
        run = start(params=params, registered_params=params)
        return store.finish(run.id, status, validation_correct=correct, validation_count=count)

    ended("finished", 990, 1_000)
    ended("finished", 4_900, 5_000)
    best = ended("finished", 4_955, 5_000, params=19)
    ended("finished", 4_955, 5_000, params=20)
    ended("interrupted", 5_000, 5_000)
    ended("diverged", 5_000, 5_000)
    store.finish(start().id, "finished")
    start()

    assert store.get("@best") == best


def test_best_is_of_the_images_of_the_latest_run_and_says_so(store: Store, start: Start) -> None:
    """Another image set does not beat it, another split of the same images can; few images prove little."""

    def ended(correct: int, count: int = 5_000, **asked: Any) -> RunRecord:
        return store.finish(start(**asked).id, "finished", validation_correct=correct, validation_count=count)

    other_data = ended(5_000, data_name="/sets/toy", data_hash="b" * 64)
    best = ended(4_976, split_hash="c" * 64)
    ended(40, 40)
    ended(5_000, recipe={"protocol": {"evaluate_on": "train"}})
    ended(489)
    said: list[str] = []
    telling = Store.open(store.url, store.home, say=said.append)

    assert telling.get("@best") == telling.get("@best:mnist") == best
    assert telling.get("@best:toy") == other_data
    assert best.id[:12] in said[0]
    assert "99.52% of 5,000 validation images; the best of 3 finished runs on mnist" in said[0]
    assert "@best:toy" in said[0]
    with pytest.raises(UsageError, match=r"no finished run .* on svhn; there are runs on mnist, toy"):
        telling.get("@best:svhn")
    for wrong in ("@best:", "@latest:mnist", "@bets"):
        with pytest.raises(UsageError, match="unknown shortcut"):
            telling.get(wrong)


def test_the_recipe_that_a_name_stands_for_is_the_first_unchanged_one(store: Store, start: Start) -> None:
    """A run that was changed on the command line can be older."""
    start(name="mine", parent_hash="a" * 64, recipe={"train": {"lr": 0.2}})
    start(name="mine", recipe={"train": {"lr": 0.1}})
    start(name="mine", recipe={"train": {"lr": 0.3}})

    assert store.first_recipes(["mine", "unknown"]) == {"mine": {"train": {"lr": 0.1}}}


def test_runs_are_listed_newest_first_and_filtered(store: Store, start: Start) -> None:
    one = store.finish(start(name="a", group_id="g").id, "finished")
    two = start(name="b", group_id="g")
    three = start(name="a")

    assert store.runs() == (three, two, one)
    assert store.runs(limit=2) == (three, two)
    assert store.runs(name="a") == (three, one)
    assert store.runs(name="a", status="running") == (three,)
    assert store.runs(group_id="g") == (two, one)
    assert store.runs(name="none") == ()


def test_a_group_comes_in_order_of_seed(store: Store, start: Start) -> None:
    made = {seed: start(seed=seed, group_id="g") for seed in (2, 0, 1)}
    start(seed=3, group_id="h")

    assert store.group("g") == (made[0], made[1], made[2])
    with pytest.raises(UsageError, match=r"no group 'x'. The latest groups: h, g"):
        store.group("x")


@pytest.mark.parametrize("purpose", [one for one in PURPOSES if one != "run"])
def test_lists_and_shortcuts_leave_out_runs_of_other_purposes(store: Store, start: Start, purpose: Purpose) -> None:
    """Those are later and may be better; who says @latest or @best means none of them. An id finds any run."""
    figures = {"validation_count": 100, "validation_loss": 0.1}
    mine = store.finish(start(study="mine").id, "finished", validation_correct=90, **figures)
    other = store.finish(start(seed=1, study="other", purpose=purpose).id, "finished", validation_correct=99, **figures)

    assert store.get("@latest") == store.get("@best") == mine
    assert store.get(other.id) == other
    assert store.runs() == (mine,)
    assert store.runs(purpose=purpose) == (other,)
    assert store.runs(purpose="all") == store.runs(purpose=("run", purpose)) == (other, mine)
    assert [run.id for run in store.figures()] == [mine.id]
    assert [run.id for run in store.figures(purpose="all")] == [mine.id, other.id]
    assert store.studies() == ("mine",)
    assert store.studies(purpose="all") == ("other", "mine")


def test_without_runs_that_people_started_there_is_no_latest(store: Store, start: Start) -> None:
    store.finish(start(purpose="trial").id, "finished", validation_correct=1, validation_count=2)

    for selector in ("@latest", "@best"):
        with pytest.raises(UsageError, match="`flyweight train` makes one"):
            store.get(selector)


def test_an_unknown_purpose_is_refused_with_the_nearest(store: Store, start: Start) -> None:
    with pytest.raises(UsageError, match=r"unknown purpose 'trail'; known: all, run, trial.*trial"):
        store.runs(purpose="trail")  # type: ignore[arg-type]
    with pytest.raises(IntegrityError):
        start(purpose="trail")

    assert store.runs(purpose="all") == ()


def test_a_lost_trial_is_closed_too(store: Store, start: Start) -> None:
    run = start(purpose="trial")
    alter(store, run.id, process_started="0")

    assert store.mark_lost() == (run.id,)


@pytest.mark.parametrize("text_that_is_no_id", ["", "..", "../../etc", "@latest", "0" * 19, "0" * 19 + "/"])
def test_only_an_id_names_a_folder(store: Store, text_that_is_no_id: str) -> None:
    with pytest.raises(UsageError, match="not a run id"):
        store.folder(text_that_is_no_id)


@pytest.mark.parametrize(("processes", "rows"), [(4, 60), pytest.param(8, 500, marks=pytest.mark.slow)])
def test_processes_that_write_side_by_side_lose_no_row(url: str, home: Path, processes: int, rows: int) -> None:
    """They begin together on a database that does not exist yet, so they race for making it, too."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        written = list(pool.map(write_many, [(url, home, worker, rows) for worker in range(processes)]))

    store = Store.open(url, home)
    assert len(store.runs()) == processes
    for run_id in written:
        assert [row.epoch for row in store.epochs(run_id)] == list(range(1, rows + 1))
        assert all(row.train_loss == store.get(run_id).seed + row.epoch for row in store.epochs(run_id)[::20])


def write_many(task: tuple[str, Path, int, int]) -> str:
    url, home, worker, rows = task
    store = Store.open(url, home)
    run = store.start(**asked(seed=worker))
    for epoch in range(1, rows + 1):
        store.log_epoch(run.id, epoch, {"train_loss": worker + epoch})
    return run.id


def test_openings_by_several_processes_get_different_numbers(store: Store, start: Start) -> None:
    run = start()

    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        batches = list(pool.map(open_often, [(store.url, store.home, run.id)] * 4))

    assert sorted(number for batch in batches for number in batch) == list(range(1, 41))


def open_often(task: tuple[str, Path, str]) -> list[int]:
    url, home, run_id = task
    store = Store.open(url, home)
    return [store.open_test(run_id, "final figure") for _ in range(10)]


def test_threads_share_a_store(store: Store, start: Start) -> None:
    made = [start(seed=seed) for seed in range(4)]

    def log(run: RunRecord) -> None:
        for epoch in range(1, 11):
            store.log_epoch(run.id, epoch, EPOCH)

    threads = [threading.Thread(target=log, args=[run]) for run in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(store.epochs(run.id)) for run in made] == [10] * 4


FORKS = """
import os, sys
from pathlib import Path
from flyweight.records.store import Store
sys.path.insert(0, sys.argv[3])
from example_run import asked
store = Store.open(sys.argv[1], Path(sys.argv[2]))
store.runs()
child = os.fork()
runs = [store.start(**asked()).id for _ in range(20)]
if child == 0:
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_store_is_carried_over_a_fork(store: Store) -> None:
    """Parent and child write with the same store at the same time, and make no id twice."""
    command = [sys.executable, "-c", FORKS, store.url, str(store.home), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(store.runs()) == 40
