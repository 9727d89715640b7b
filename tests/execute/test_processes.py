"""Jobs in their own processes: each runs once, never too many in parallel, and a stop or a kill is handled."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flyweight.errors import DataError, FlyweightError
from flyweight.execute import processes as workers
from flyweight.execute.processes import Job, run_jobs
from flyweight.experiment.events import ignore, never

Send, ShouldStop = Callable[[Any], None], Callable[[], bool]


def count_those_present(folder: Path, name: str, send: Send, should_stop: ShouldStop) -> None:
    """Run for a moment, and send how many jobs run."""
    (folder / name).touch()
    time.sleep(0.05)
    send((name, len(list(folder.iterdir()))))
    (folder / name).unlink()


def say(word: str, send: Send, should_stop: ShouldStop) -> None:
    send(word)


def fail(send: Send, should_stop: ShouldStop) -> None:
    raise DataError("no such images")


def be_killed(send: Send, should_stop: ShouldStop) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def show_variables(send: Send, should_stop: ShouldStop) -> None:
    send({name: os.environ.get(name) for name in ("FLYWEIGHT_TEST_NEW", "FLYWEIGHT_TEST_GONE")})


def talk_until_stopped(path: Path, send: Send, should_stop: ShouldStop) -> None:
    """Send messages until `should_stop`, then write a file."""
    while not should_stop():
        send("still here")
        time.sleep(0.01)
    path.write_text("saved")


def test_every_job_is_done_once_and_never_too_many_at_once(tmp_path):
    """Seven jobs, at most two in parallel: each sends one message, and none has seen more than two."""
    jobs = [Job(name=str(n), work=functools.partial(count_those_present, tmp_path, str(n))) for n in range(7)]
    told = list[tuple[str, int]]()

    run_jobs(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(name for name, _ in told) == [str(n) for n in range(7)]
    assert {count for _, count in told} <= {1, 2}


def test_an_error_comes_back_when_the_others_are_done():
    """The same error is raised, after the messages of the other jobs have arrived."""
    told = list[str]()
    jobs = [Job(name="bad", work=fail), *(Job(name=word, work=functools.partial(say, word)) for word in "abc")]

    with pytest.raises(DataError, match="no such images"):
        run_jobs(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(told) == ["a", "b", "c"]


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    """Each process imports the script and would train all of it again; too little memory is not the cause."""
    lines = SCRIPT.splitlines()
    guard = next(number for number, line in enumerate(lines) if line.startswith("if __name__"))
    lines[guard] = "if True:"
    (tmp_path / "script.py").write_text("\n".join(lines))
    (tmp_path / "saved").mkdir()

    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "saved")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    )

    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1
    assert "below `if __name__ == '__main__':`" in last
    assert "memory" not in last


def test_a_killed_process_is_an_error():
    """It names the job, the signal and what may help; the other jobs continue."""
    told = list[str]()
    jobs = [Job(name="seed 7", work=be_killed), *(Job(name=word, work=functools.partial(say, word)) for word in "ab")]

    with pytest.raises(FlyweightError, match=r"seed 7: .* code -9 .*--at-once"):
        run_jobs(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(told) == ["a", "b"]


def test_a_process_has_the_current_environment_variables(monkeypatch):
    """Also a variable that was set or deleted after the first process was started."""
    monkeypatch.setenv("FLYWEIGHT_TEST_GONE", "yes")
    seen = list[dict[str, str | None]]()
    run_jobs([Job(name="first", work=show_variables)], worker_count=lambda _: 1, watch=seen.append, should_stop=never)
    monkeypatch.delenv("FLYWEIGHT_TEST_GONE")
    monkeypatch.setenv("FLYWEIGHT_TEST_NEW", "here")

    run_jobs([Job(name="second", work=show_variables)], worker_count=lambda _: 1, watch=seen.append, should_stop=never)

    assert seen == [
        {"FLYWEIGHT_TEST_NEW": None, "FLYWEIGHT_TEST_GONE": "yes"},
        {"FLYWEIGHT_TEST_NEW": "here", "FLYWEIGHT_TEST_GONE": None},
    ]


def test_a_stop_reaches_all_running_jobs_and_no_more_start(tmp_path):
    """Two of three jobs run and write their file; the third never starts."""
    told = list[str]()
    jobs = [Job(name=str(n), work=functools.partial(talk_until_stopped, tmp_path / str(n))) for n in range(3)]

    run_jobs(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=lambda: len(told) > 20)

    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["saved", "saved"]


def test_an_error_in_watch_stops_the_jobs(tmp_path):
    """The error is raised, and the running jobs are stopped and saved."""

    def refuse(_message: object) -> None:
        raise RuntimeError("cannot show that")

    with pytest.raises(RuntimeError, match="cannot show that"):
        run_jobs(
            [Job(name="only", work=functools.partial(talk_until_stopped, tmp_path / "file"))],
            worker_count=lambda _started: 1,
            watch=refuse,
            should_stop=never,
        )

    assert appears(tmp_path / "file")


SCRIPT = """
import functools, sys
from pathlib import Path
from test_processes import Job, talk_until_stopped, run_jobs
from flyweight.execute.signals import stopping_on_signals

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    jobs = [Job(name=str(n), work=functools.partial(talk_until_stopped, folder / str(n))) for n in range(3)]
    with stopping_on_signals() as should_stop:
        run_jobs(
            jobs,
            worker_count=lambda _started: 2,
            watch=lambda _word: print("received", flush=True),
            should_stop=should_stop,
        )
    print("done", flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A separate program, as in a terminal, with three jobs, two in parallel; the first jobs have sent messages."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "saved")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    ) as process:
        for _ in range(20):
            assert process.stdout.readline() == "received\n", process.stderr.read()
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves_every_job_quietly(tmp_path, script, number):
    """Ctrl-C reaches every process, as `kill -- -GROUP` does; each job is saved, without an error message."""
    os.killpg(script.pid, number)

    out, err = script.communicate(timeout=150)

    assert out.endswith("done\n")
    assert err == ""
    assert len(list((tmp_path / "saved").iterdir())) >= 2


def test_jobs_whose_program_is_killed_are_saved(tmp_path, script):
    """When the parent process is gone, the running jobs save and end."""
    script.kill()
    script.wait()

    assert appears(tmp_path / "saved" / "0")
    assert appears(tmp_path / "saved" / "1")
    assert not (tmp_path / "saved" / "2").exists()


def test_an_empty_list_of_jobs_works():
    run_jobs([], worker_count=lambda _started: 2, watch=ignore, should_stop=never)


def appears(path: Path) -> bool:
    """Whether the file exists now or within a moment."""
    patience = time.monotonic() + 60
    while not path.exists() and time.monotonic() < patience:
        time.sleep(0.05)
    return path.exists()


def test_ctrl_c_while_a_process_starts_is_delayed_not_lost():
    """The starting process does not get it; we get it after that process has started."""
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    try:
        with workers._ctrl_c_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
        assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.stdout.strip() == "alive"


CHILD = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
