"""Whether the process that writes a run is still there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from flyweight.records.process import _start_in_ps, is_gone, start_time, this_process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is reported to end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.communicate()


def test_we_are_here() -> None:
    assert not is_gone(this_process())
    assert this_process() == this_process()
    assert this_process().started


def test_a_process_is_there_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    """Also while its parent has not yet taken note of its end: such a process writes no more."""
    process = replace(this_process(), pid=sleeper.pid, started=start_time(sleeper.pid) or "")
    was_gone_before = is_gone(process)
    sleeper.kill()
    while start_is_running(sleeper):
        pass

    assert not was_gone_before
    assert is_gone(process)
    sleeper.wait()
    assert is_gone(process)


def start_is_running(sleeper: subprocess.Popen[bytes]) -> bool:
    return not is_gone(replace(this_process(), pid=sleeper.pid, started=""))


def test_another_process_with_the_same_number_is_not_the_same() -> None:
    assert is_gone(replace(this_process(), started="once upon a time"))


def test_an_unknown_process_is_not_called_ended() -> None:
    """A start time that could not be read, a machine that is not this one."""
    assert not is_gone(replace(this_process(), started=""))
    assert not is_gone(replace(this_process(), host="elsewhere", pid=2**30))


@pytest.mark.skipif(shutil.which("ps") is None, reason="this machine has no ps")
def test_ps_gives_start_times_without_proc(sleeper: subprocess.Popen[bytes]) -> None:
    reported = _start_in_ps(sleeper.pid)

    assert reported
    assert reported == _start_in_ps(sleeper.pid)
    assert _start_in_ps(2**22 + 1) is None
