"""Jobs in processes of their own, side by side: each is done once, what it tells is passed on, a stop reaches all.

What a job does is not known here. The processes share no lock, so that one which is killed leaves nothing behind that
the others would wait for.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Final

from flyweight.errors import FlyweightError
from flyweight.execute.signals import stopping_on_signals

SECONDS_BETWEEN_QUESTIONS: Final = 0.1

# Forked from a process that has loaded all a job needs, a job begins at once instead of after seconds. Apple's
# libraries do not bear a fork, so elsewhere each process starts from nothing.
METHOD: Final = "forkserver" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process does, given `tell` for all that is to be passed on, and `should_stop`; both ways it is pickled."""

    name: str
    work: Callable[[Callable[[Any], None], Callable[[], bool]], None]


@dataclass(frozen=True, kw_only=True)
class _Over:
    """The last word of a process: its job is done, or this is what kept it from being done."""

    error: Exception | None = None


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """A process at work; all that it tells comes over a line of its own."""

    process: BaseProcess
    line: Connection

    def hear(self) -> Any:
        """The next that it tells; a process that ended without a last word was ended."""
        try:
            message = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            return _Over(error=_ended(self.process))
        if isinstance(message, _Over):
            self.process.join()
        return message


def make_ready(module: str) -> None:
    """Begin to load this module where processes are forked from, in the background; called again it does nothing.

    Loading it must start no threads and touch no GPU: neither survives a fork.
    """
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload([module])
        with _deaf_to_ctrl_c():
            forkserver.ensure_running()


def work_off(
    jobs: Sequence[Job],
    *,
    worker_count: Callable[[int], int],
    watch: Callable[[Any], None],
    should_stop: Callable[[], bool],
) -> None:
    """Do every job in a process of its own and pass on what they tell, in this process.

    worker_count: from how many have begun to how many may run at once. When `should_stop` becomes true, so it does for
    those that run, and no more begin.

    Raises:
        Exception: the first error of a job, when the others are over.
    """
    context = multiprocessing.get_context(METHOD)
    stop = context.RawValue("b", 0)  # no lock: it is asked after every step, and written once
    waiting, running, errors = list(jobs), list[_Worker](), list[Exception]()
    try:
        while waiting or running:
            if should_stop():
                stop.value = 1
                waiting.clear()
            while waiting and len(running) < worker_count(len(jobs) - len(waiting)):
                running.append(_start(waiting.pop(0), context, stop))
            for worker in _speaking(running):
                message = worker.hear()
                if not isinstance(message, _Over):
                    watch(message)
                    continue
                running.remove(worker)
                if message.error is not None:
                    errors.append(message.error)
    finally:
        stop.value = 1  # whatever ended the loop, nobody listens from here on
    if errors:
        raise errors[0]


def _start(job: Job, context: BaseContext, stop: Any) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    arguments = (job.work, theirs, stop, dict(os.environ))
    process = context.Process(target=_do, args=arguments, name=job.name, daemon=True)  # type: ignore[attr-defined]
    with _deaf_to_ctrl_c():
        process.start()
    theirs.close()  # or the line would stay open when the process has gone
    return _Worker(process=process, line=ours)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started within does not see Ctrl-C: the terminal sends it to all, and we ask each to stop.

    It is held back and not thrown away: to start the first process takes seconds, and who presses it then means it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a process started within gets none of ours
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _speaking(running: Sequence[_Worker]) -> list[_Worker]:
    """Those who have something to tell; none if all are silent for a moment."""
    ready = connection.wait([worker.line for worker in running], timeout=SECONDS_BETWEEN_QUESTIONS)
    return [worker for worker in running if worker.line in ready]


def _ended(process: BaseProcess) -> FlyweightError:
    return FlyweightError(
        f"{process.name}: its process must end by itself, found it ended with code {process.exitcode} "
        "(a negative code is a signal, -9 often means too little memory); train fewer seeds at once."
    )


def _do(
    work: Callable[[Callable[[Any], None], Callable[[], bool]], None],
    line: Connection,
    stop: Any,
    environment: dict[str, str],
) -> None:
    """One job, in a process of its own; its errors travel as values."""
    os.environ.clear()
    os.environ.update(environment)  # of whoever asks now, not of when the process was started that we were forked from
    is_cut = False

    def tell(message: Any) -> None:
        nonlocal is_cut
        try:
            line.send(message)
        except BrokenPipeError:  # nobody listens any more: as good as being asked to stop
            is_cut = True

    with stopping_on_signals() as is_asked:
        over = _Over()
        try:
            if not stop.value:
                work(tell, lambda: is_cut or bool(stop.value) or is_asked())
        except Exception as error:
            over = _Over(error=error)
        tell(over)
