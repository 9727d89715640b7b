"""Jobs in parallel, each in its own process: run each once, pass on its messages, pass a stop on to all of them.

This module does not know what a job does. The processes share no lock, so a killed one cannot block the others.
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

from flyweight.errors import FlyweightError, UsageError
from flyweight.execute.signals import stopping_on_signals

GUARD: Final = "`if __name__ == '__main__':`, since else each process would train all of it again"
POLL_SECONDS: Final = 0.1

# A job that is forked from a process with torch loaded starts at once instead of after seconds. Apple's libraries do
# not survive a fork, so outside Linux each process starts from nothing.
METHOD: Final = "forkserver" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work of a process, a function of `send` (for messages) and `should_stop`. Work and messages are pickled."""

    name: str
    work: Callable[[Callable[[Any], None], Callable[[], bool]], None]


@dataclass(frozen=True, kw_only=True)
class _Done:
    """The last message of a process; error: why its job failed."""

    error: Exception | None = None


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """A running process and the pipe of its messages."""

    process: BaseProcess
    pipe: Connection

    def receive(self) -> Any:
        """The next message; a process that ended without a last message was killed."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return _Done(error=_killed(self.process))
        if isinstance(message, _Done):
            self.process.join()
        return message


def make_ready(module: str) -> None:
    """Start to load this module, in the background, in the process that jobs are forked from; again, it does nothing.

    Loading it must start no threads and touch no GPU: neither survives a fork.
    """
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload([module])
        with _ctrl_c_blocked():
            forkserver.ensure_running()


def run_jobs(
    jobs: Sequence[Job],
    *,
    worker_count: Callable[[int], int],
    watch: Callable[[Any], None],
    should_stop: Callable[[], bool],
) -> None:
    """Run every job in its own process and give its messages to `watch`, in this process.

    worker_count: from the number of started jobs to the maximum number of parallel ones. When `should_stop` becomes
    true, the running jobs get it too, and no more are started.

    Raises:
        Exception: the first error of a job, after the others have ended.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(f"a script that trains in several processes must do so below {GUARD}.")
    context = multiprocessing.get_context(METHOD)
    stop = context.RawValue("b", 0)  # no lock: read after every step, written once
    waiting, running, errors = list(jobs), list[_Worker](), list[Exception]()
    try:
        while waiting or running:
            if should_stop():
                stop.value = 1
                waiting.clear()
            while waiting and len(running) < worker_count(len(jobs) - len(waiting)):
                running.append(_start(waiting.pop(0), context, stop))
            for worker in _with_messages(running):
                message = worker.receive()
                if not isinstance(message, _Done):
                    watch(message)
                    continue
                running.remove(worker)
                if message.error is not None:
                    errors.append(message.error)
    finally:
        stop.value = 1  # however the loop ended, no message is read from here on
    if errors:
        raise errors[0]


def _start(job: Job, context: BaseContext, stop: Any) -> _Worker:
    receiver, sender = context.Pipe(duplex=False)
    arguments = (job.work, sender, stop, dict(os.environ))
    process = context.Process(target=_run, args=arguments, name=job.name, daemon=True)  # type: ignore[attr-defined]
    with _ctrl_c_blocked():
        process.start()
    sender.close()  # or the pipe would stay open after the process has ended
    return _Worker(process=process, pipe=receiver)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """A process started within does not get Ctrl-C: the terminal sends it to all processes, but we stop each ourselves.

    It is delayed, not lost: starting the first process takes seconds, and a Ctrl-C in that time must count.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a child process gets no Ctrl-C from here
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _with_messages(running: Sequence[_Worker]) -> list[_Worker]:
    """The workers with a message, none if none comes within `POLL_SECONDS`."""
    ready = connection.wait([worker.pipe for worker in running], timeout=POLL_SECONDS)
    return [worker for worker in running if worker.pipe in ready]


def _killed(process: BaseProcess) -> FlyweightError:
    if (process.exitcode or 0) > 0:
        return UsageError(
            f"{process.name}: its process ended before it began, exit code {process.exitcode}. Each process imports "
            f"the script that started it, so the script must train below {GUARD}."
        )
    return FlyweightError(
        f"{process.name}: its process was killed, exit code {process.exitcode} (a negative code is a signal, -9 often "
        "means too little memory); train fewer seeds in parallel with --at-once."
    )


def _run(
    work: Callable[[Callable[[Any], None], Callable[[], bool]], None],
    pipe: Connection,
    stop: Any,
    environment: dict[str, str],
) -> None:
    """One job, in its own process; an error is sent back as a value."""
    os.environ.clear()
    os.environ.update(environment)  # today's, not that of when the process we are forked from was started
    is_disconnected = False

    def send(message: Any) -> None:
        nonlocal is_disconnected
        try:
            pipe.send(message)
        except BrokenPipeError:  # the parent process has gone: stop
            is_disconnected = True

    with stopping_on_signals() as is_signalled:
        done = _Done()
        try:
            if not stop.value:
                work(send, lambda: is_disconnected or bool(stop.value) or is_signalled())
        except Exception as error:
            done = _Done(error=error)
        send(done)
