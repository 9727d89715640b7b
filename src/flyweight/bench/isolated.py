"""A contender in its own process, so that its start and its memory can be measured.

Settings of one contender (threads, allocator, variables that libraries read when they load) do not affect another. A
call sends a module-level function to the process, which calls it with its object; results and errors are returned.
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
    """A new Python process that holds the object returned by `make(**settings)` until it is closed.

    startup_seconds: from the start of the process until `make` has returned, imports included. without: environment
    variables that are removed for the process.

    Raises:
        FlyweightError: the process ended unexpectedly. Errors of `make` are raised as they are.
    """

    def __init__(self, make: Callable[..., Held], /, *, without: Sequence[str] = (), **settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: it starts processes itself, for loaders and seeds.
        self._process = context.Process(target=_serve, args=(theirs, make, settings), daemon=False)
        began = time.perf_counter()
        with _ignoring_ctrl_c(), _environment_without(without):
            self._process.start()
        theirs.close()
        try:
            self._result()
        except BaseException:
            self.close(at_once=True)
            raise
        self.startup_seconds = time.perf_counter() - began

    def call(self, work: Callable[..., Found], /, **settings: Any) -> Found:
        """Call `work(held, **settings)` in the process; returns or raises what it does."""
        try:
            self._pipe.send((work, settings))
        except ConnectionError:
            raise self._ended() from None
        result: Found = self._result()
        return result

    @property
    def peak_bytes(self) -> int:
        """The peak memory of the process so far, without its child processes."""
        return self.call(_peak_bytes)

    @property
    def file_bytes(self) -> int:
        """Memory of mapped files now, which the system can reclaim; 0 if unknown."""
        return self.call(_file_bytes)

    def close(self, *, at_once: bool = False) -> None:
        """End the process; with `at_once`, do not wait for the current call."""
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

    def _result(self) -> Any:
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
            f"a process of the benchmark ended unexpectedly with code {self._process.exitcode} (a negative code is a "
            "signal; -9 often means that memory ran out). Close other programs, or measure with --quick."
        )


def once(work: Callable[..., Found], /, **settings: Any) -> Found:
    """The result of `work(**settings)`, called in its own process."""
    with IsolatedProcess(work, **settings) as process:
        result: Found = process.call(_held)
        return result


def _serve(pipe: Connection, make: Callable[..., Any], settings: dict[str, Any]) -> None:
    """Runs in the process: create the object, then handle calls until the pipe is closed."""
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
        # A traceback cannot be sent between processes, its text can.
        error.add_note(traceback.format_exc())
        return error, None


def _held(held: Any) -> Any:
    return held


def _peak_bytes(_held: object) -> int:
    """Peak memory of this process. On Linux, getrusage also counts memory of the parent at the start."""
    found = _status_bytes("VmHWM")
    if found is None:
        from flyweight.train.device import peak_memory_bytes

        return peak_memory_bytes()
    return found


def _file_bytes(_held: object) -> int:
    return _status_bytes("RssFile") or 0


def _status_bytes(field: str) -> int | None:
    """A field of /proc/self/status; None on other systems than Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{field}:\s*(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else None


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """A process started here ignores Ctrl-C, which the terminal sends to all processes; the parent ends it."""
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
