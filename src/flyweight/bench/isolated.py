"""A contender in a process of its own: its start is measured, its memory is its own, and so is its environment.

Nothing that one contender sets up (threads, allocator, variables that libraries read when they load) reaches another.
What is asked of a process is a function of a module, called there with what the process holds; results and errors
come back as values.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from flyweight.errors import FlyweightError

Held = TypeVar("Held", covariant=True)
Found = TypeVar("Found")

SECONDS_TO_END: Final = 10.0


class IsolatedProcess(Generic[Held]):
    """A fresh Python process that holds what `make(**settings)` gave, until it is closed.

    startup_seconds: from nothing until `make` is done, with all that had to be imported for it. without: names of
    environment variables that the process must not see.

    Raises:
        FlyweightError: the process ended by itself. And whatever `make` raises.
    """

    def __init__(self, make: Callable[..., Held], /, *, without: Sequence[str] = (), **settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: loaders and seeds are processes that it starts in its turn.
        self._process = context.Process(target=_serve, args=(theirs, make, settings), daemon=False)
        began = time.perf_counter()
        with _ignoring_ctrl_c(), _environment_without(without):
            self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close(at_once=True)
            raise
        self.startup_seconds = time.perf_counter() - began

    def ask(self, work: Callable[..., Found], /, **settings: Any) -> Found:
        """What `work(held, **settings)` returns or raises there."""
        try:
            self._pipe.send((work, settings))
        except ConnectionError:
            raise self._ended() from None
        found: Found = self._answer()
        return found

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process has held so far, without that of processes which it started."""
        return self.ask(_peak_bytes)

    @property
    def file_bytes(self) -> int:
        """Of what it holds now, the pages of files, which the system takes back when others need them; 0 if unknown."""
        return self.ask(_file_bytes)

    def close(self, *, at_once: bool = False) -> None:
        """Let the process come to its end; `at_once` does not wait until it has answered."""
        self._pipe.close()
        if at_once:
            self._process.terminate()
        self._process.join(SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def __enter__(self) -> IsolatedProcess[Held]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    def _answer(self) -> Any:
        try:
            error, found = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if error is not None:
            raise error
        return found

    def _ended(self) -> FlyweightError:
        self._process.join()
        return FlyweightError(
            f"a process of the benchmark ended by itself with code {self._process.exitcode} (a negative code is "
            "a signal, -9 often means too little memory); "
            "close what else needs memory, or measure with --quick."
        )


def once(work: Callable[..., Found], /, **settings: Any) -> Found:
    """What `work(**settings)` returns in a process of its own, which is over then."""
    with IsolatedProcess(work, **settings) as process:
        found: Found = process.ask(_itself)
        return found


def _serve(pipe: Connection, make: Callable[..., Any], settings: dict[str, Any]) -> None:
    """The life of such a process: make, report it, answer until nobody asks any more."""
    error, found = _tried(functools.partial(make, **settings))
    with suppress(EOFError, ConnectionError):
        pipe.send((error, None))
        while error is None:
            work, arguments = pipe.recv()
            pipe.send(_tried(functools.partial(work, found, **arguments)))


def _tried(work: Callable[[], Any]) -> tuple[Exception | None, Any]:
    try:
        return None, work()
    except Exception as error:
        # A traceback does not travel between processes, its text does.
        error.add_note(traceback.format_exc())
        return error, None


def _itself(held: Any) -> Any:
    return held


def _peak_bytes(_held: object) -> int:
    """Of this process; the system's own figure for it also counts, on Linux, what its parent held when it began."""
    found = _status_bytes("VmHWM")
    if found is None:
        from flyweight.train.device import peak_memory_bytes

        return peak_memory_bytes()
    return found


def _file_bytes(_held: object) -> int:
    return _status_bytes("RssFile") or 0


def _status_bytes(field: str) -> int | None:
    """What Linux says of this process; None elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{field}:\s*(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else None


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """For the process that starts meanwhile: the terminal sends Ctrl-C to all, and this process ends the others."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment_without(names: Sequence[str]) -> Iterator[None]:
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
