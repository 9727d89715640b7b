"""Run ids: sorted by time, unique without coordination, fit for a keyboard and a folder."""

from __future__ import annotations

import multiprocessing
import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.records.ids import ALPHABET, LENGTH, RunIds, encode, is_run_id, new_run_id, normalised

moments = st.integers(min_value=0, max_value=2**45 - 1).map(lambda milliseconds: milliseconds * 1_000_000)


@settings(max_examples=100)
@given(moments, moments)
def test_ids_of_two_machines_sort_by_time(earlier: int, later: int) -> None:
    """Whoever makes them, an id of an earlier millisecond sorts before one of a later."""
    earlier, later = sorted((earlier, later))

    first, second = RunIds(lambda: earlier).new(), RunIds(lambda: later).new()

    assert first < second or earlier == later


@settings(max_examples=100)
@given(st.lists(moments.filter(lambda moment: moment < 2**44 * 1_000_000), min_size=2, max_size=50))
def test_ids_of_one_process_only_grow(clock: list[int]) -> None:
    """Also when the clock stands still, jumps ahead or is set back."""
    ticks = iter(clock)
    ids = RunIds(lambda: next(ticks))

    made = [ids.new() for _ in clock]

    assert made == sorted(set(made))


@settings(max_examples=200)
@given(st.integers(min_value=0, max_value=2**100 - 1), st.integers(min_value=0, max_value=2**100 - 1))
def test_encoding_keeps_order_and_loses_nothing(one: int, other: int) -> None:
    texts = [encode(one, LENGTH), encode(other, LENGTH)]

    assert all(is_run_id(text) for text in texts)
    assert (one < other) == (texts[0] < texts[1])
    assert int(texts[0].translate(str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")), 32) == one


@given(st.integers(min_value=0, max_value=2**100 - 1))
def test_an_id_typed_with_lookalikes_is_read_as_it_was_written(number: int) -> None:
    """O for 0 and I or L for 1, in capitals, with blanks around."""
    run_id = encode(number, LENGTH)

    assert normalised(f" {run_id.replace('0', 'o').replace('1', 'l')} ") == run_id
    assert normalised(run_id.upper().replace("1", "I")) == run_id


def test_an_id_is_twenty_lowercase_characters() -> None:
    run_id = new_run_id()

    assert len(run_id) == 20
    assert is_run_id(run_id)
    assert not is_run_id(run_id[:-1])
    assert not is_run_id("../" + run_id[3:])
    assert not is_run_id(run_id.upper())


def test_threads_never_share_an_id() -> None:
    ids = RunIds(lambda: 0)
    made: list[str] = []

    def make_many() -> None:
        made.extend([ids.new() for _ in range(500)])

    threads = [threading.Thread(target=make_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == 4000


def test_processes_never_share_an_id() -> None:
    """Four processes that make ids at the same time make different ones."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = [run_id for batch in pool.map(make_ids, [500] * 4) for run_id in batch]

    assert len(set(made)) == 2000


def test_the_time_in_an_id_is_now() -> None:
    before = encode(time.time_ns() // 1_000_000, 9)
    run_id = RunIds().new()
    after = encode(time.time_ns() // 1_000_000, 9)

    assert before <= run_id[:9] <= after


def make_ids(count: int) -> list[str]:
    ids = RunIds()
    return [ids.new() for _ in range(count)]
