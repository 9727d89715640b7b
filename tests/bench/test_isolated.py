"""An isolated process keeps its object, returns values and errors, and its memory is measured alone."""

from __future__ import annotations

import os

import pytest

from flyweight.bench.isolated import IsolatedProcess, once
from flyweight.errors import FlyweightError, UsageError

BIG = 200_000_000


def counter(start: int) -> list[int]:
    return [start]


def count(held: list[int], *, by: int) -> int:
    held[0] += by
    return held[0]


def refuse(_held: object = None) -> None:
    raise UsageError("found nothing")


def end(_held: object) -> None:
    os._exit(3)


def seen(name: str) -> str | None:
    return os.environ.get(name)


def test_it_keeps_its_object_between_calls():
    """Each call sees the changes of the one before."""
    with IsolatedProcess(counter, start=1) as process:
        assert process.call(count, by=2) == 3
        assert process.call(count, by=2) == 5
        assert process.startup_seconds > 0


def test_errors_are_raised_in_the_caller():
    """From the start and from calls, with the text of the traceback; the process continues."""
    with pytest.raises(UsageError, match="found nothing"):
        IsolatedProcess(refuse)
    with IsolatedProcess(counter, start=1) as process:
        with pytest.raises(UsageError, match="found nothing") as caught:
            process.call(refuse)
        assert "in refuse" in caught.value.__notes__[0]
        assert process.call(count, by=1) == 2


def test_a_process_that_dies_is_a_clear_error():
    """Its exit code is in the error, also in a later call."""
    with IsolatedProcess(counter, start=1) as process:
        for _ in range(2):
            with pytest.raises(FlyweightError, match="with code 3"):
                process.call(end)


def test_its_memory_is_its_own():
    """Memory that the parent once held does not count, as it would with getrusage."""
    held = bytearray(b"x" * BIG)
    del held

    with IsolatedProcess(counter, start=1) as process:
        assert 1_000_000 < process.peak_bytes < BIG
        assert 0 <= process.file_bytes <= process.peak_bytes


def test_environment_variables_can_be_removed_for_it(monkeypatch):
    """The parent keeps them."""
    monkeypatch.setenv("FLYWEIGHT_TEST_WORD", "here")

    with IsolatedProcess(counter, start=1, without=["FLYWEIGHT_TEST_WORD", "FLYWEIGHT_NEVER_SET"]) as process:
        assert process.call(environment_word, name="FLYWEIGHT_TEST_WORD") is None
    assert once(seen, name="FLYWEIGHT_TEST_WORD") == "here"
    assert os.environ["FLYWEIGHT_TEST_WORD"] == "here"


def environment_word(_held: object, *, name: str) -> str | None:
    return seen(name)
