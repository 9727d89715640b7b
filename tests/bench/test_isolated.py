"""A process of its own keeps what it holds, gives back values and errors, and its memory is its own."""

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


def test_it_holds_what_it_made_between_questions():
    """Each question finds what the one before left."""
    with IsolatedProcess(counter, start=1) as process:
        assert process.ask(count, by=2) == 3
        assert process.ask(count, by=2) == 5
        assert process.startup_seconds > 0


def test_errors_come_back_as_they_are():
    """From making and from being asked; the text of the traceback is with them, and the process goes on."""
    with pytest.raises(UsageError, match="found nothing"):
        IsolatedProcess(refuse)
    with IsolatedProcess(counter, start=1) as process:
        with pytest.raises(UsageError, match="found nothing") as caught:
            process.ask(refuse)
        assert "in refuse" in caught.value.__notes__[0]
        assert process.ask(count, by=1) == 2


def test_a_process_that_dies_is_an_error_of_ours():
    """Its exit code is in the error, also for whoever asks again."""
    with IsolatedProcess(counter, start=1) as process:
        for _ in range(2):
            with pytest.raises(FlyweightError, match="by itself with code 3"):
                process.ask(end)


def test_its_memory_is_its_own():
    """What the parent once held does not count as the child's, as the kernel's own figure would have it."""
    held = bytearray(b"x" * BIG)
    del held

    with IsolatedProcess(counter, start=1) as process:
        assert 1_000_000 < process.peak_bytes < BIG
        assert 0 <= process.file_bytes <= process.peak_bytes


def test_its_environment_can_lack_what_ours_has(monkeypatch):
    """A variable is kept from it, and stays where it was."""
    monkeypatch.setenv("FLYWEIGHT_TEST_WORD", "here")

    with IsolatedProcess(counter, start=1, without=["FLYWEIGHT_TEST_WORD", "FLYWEIGHT_NEVER_SET"]) as process:
        assert process.ask(environment_word, name="FLYWEIGHT_TEST_WORD") is None
    assert once(seen, name="FLYWEIGHT_TEST_WORD") == "here"
    assert os.environ["FLYWEIGHT_TEST_WORD"] == "here"


def environment_word(_held: object, *, name: str) -> str | None:
    return seen(name)
