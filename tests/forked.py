"""A command in a process of its own, forked from one that has loaded torch: signals are real, imports are spared."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import IO

from flyweight.cli.app import main
from flyweight.execute.process_executor import PRELOAD
from flyweight.execute.processes import METHOD, make_ready


class ForkedCommand:
    """What `subprocess.Popen` has of a command: two streams of lines, signals, and how it ended.

    Its standard input is empty, as everywhere that multiprocessing begins a process.
    """

    def __init__(self, *arguments: str) -> None:
        make_ready(PRELOAD)
        context = multiprocessing.get_context(METHOD)
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        given = (arguments, dict(os.environ), os.getcwd(), *(writer for _, writer in pipes))
        self.process: BaseProcess = context.Process(target=_carry_out, args=given)
        self.process.start()
        for _, writer in pipes:
            writer.close()
        self.stdout, self.stderr = (_lines(reader) for reader, _ in pipes)

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_for(self, text: str) -> str:
        """Read what it says up to the line with this text, which it gives."""
        for line in self.stderr:
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}")

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it has still to say, and its end; what it prints must fit into the pipe while it says something."""
        guard = threading.Timer(timeout, self.process.kill)
        guard.start()
        with self.stderr, self.stdout:
            err, out = self.stderr.read(), self.stdout.read()
        self.process.join(timeout)
        guard.cancel()
        return out, err

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode


def _lines(reader: Connection) -> IO[str]:
    with reader:
        return open(os.dup(reader.fileno()), encoding="utf-8")


def _carry_out(
    arguments: tuple[str, ...], environment: Mapping[str, str], folder: str, out: Connection, err: Connection
) -> None:
    """In the new process: as a shell would start the command."""
    os.setsid()
    # The process that it is forked from may have been started with Ctrl-C held back; a shell's commands are not.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, descriptor in ((out, 1), (err, 2)):
        os.dup2(stream.fileno(), descriptor)
        stream.close()
    main(arguments)
