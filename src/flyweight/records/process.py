"""The process that writes a run, and whether it still runs.

A process id alone is not enough: the number is given again once the process has gone. Its start time tells them apart.
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of one machine."""

    host: str
    pid: int
    started: str


def this_process() -> Process:
    """The current process."""
    pid = os.getpid()
    return Process(host=socket.gethostname(), pid=pid, started=start_time(pid) or "")


def is_gone(process: Process) -> bool:
    """Whether the process has certainly ended; False if unknown, for example on another host."""
    if process.host != socket.gethostname():
        return False
    if not _exists(process.pid):
        return True
    started = start_time(process.pid)
    return started is not None and process.started not in ("", started)


def start_time(pid: int) -> str | None:
    """The start time of the process as text of the system, only for comparison; None if unknown."""
    if Path("/proc/self/stat").exists():
        fields = _stat_fields(pid)
        return None if fields is None else fields[19]
    return _start_in_ps(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    fields = _stat_fields(pid)
    return fields is None or fields[0] not in ("Z", "X")  # a zombie keeps its number


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; the second, the name, can have spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _start_in_ps(pid: int) -> str | None:
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        # The C locale, so that the text is the same in every terminal.
        answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})  # noqa: S603
    except OSError:
        return None
    return answer.stdout.strip() or None
