"""Jobs in processes of their own: done once, never too many, heard, stopped and missed when they are killed."""

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
from flyweight.execute.processes import Job, work_off
from flyweight.experiment.events import ignore, never

Tell, ShouldStop = Callable[[Any], None], Callable[[], bool]


def count_those_present(folder: Path, name: str, tell: Tell, should_stop: ShouldStop) -> None:
    """Be there for a moment, and tell how many are."""
    (folder / name).touch()
    time.sleep(0.05)
    tell((name, len(list(folder.iterdir()))))
    (folder / name).unlink()


def say(word: str, tell: Tell, should_stop: ShouldStop) -> None:
    tell(word)


def fail(tell: Tell, should_stop: ShouldStop) -> None:
    raise DataError("no such images")


def be_killed(tell: Tell, should_stop: ShouldStop) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def show_variables(tell: Tell, should_stop: ShouldStop) -> None:
    tell({name: os.environ.get(name) for name in ("FLYWEIGHT_TEST_NEW", "FLYWEIGHT_TEST_GONE")})


def talk_until_stopped(path: Path, tell: Tell, should_stop: ShouldStop) -> None:
    """Go on until asked to stop, and then keep what there is."""
    while not should_stop():
        tell("still here")
        time.sleep(0.01)
    path.write_text("saved")


def test_every_job_is_done_once_and_never_too_many_at_once(tmp_path):
    """Seven jobs in two places: each tells once, and none has seen more than two."""
    jobs = [Job(name=str(n), work=functools.partial(count_those_present, tmp_path, str(n))) for n in range(7)]
    told = list[tuple[str, int]]()

    work_off(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(name for name, _ in told) == [str(n) for n in range(7)]
    assert {count for _, count in told} <= {1, 2}


def test_an_error_comes_back_when_the_others_are_done():
    """It is raised as it was, and what the others told was heard."""
    told = list[str]()
    jobs = [Job(name="bad", work=fail), *(Job(name=word, work=functools.partial(say, word)) for word in "abc")]

    with pytest.raises(DataError, match="no such images"):
        work_off(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(told) == ["a", "b", "c"]


def test_a_process_that_is_killed_is_missed():
    """Which one, by what signal, and what may help; the others go on."""
    told = list[str]()
    jobs = [Job(name="seed 7", work=be_killed), *(Job(name=word, work=functools.partial(say, word)) for word in "ab")]

    with pytest.raises(FlyweightError, match=r"seed 7: .* code -9 .* fewer seeds at once"):
        work_off(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=never)

    assert sorted(told) == ["a", "b"]


def test_a_process_sees_the_variables_of_who_asks(monkeypatch):
    """Set or taken away since the first process was started, a variable is as it is now."""
    monkeypatch.setenv("FLYWEIGHT_TEST_GONE", "yes")
    seen = list[dict[str, str | None]]()
    work_off([Job(name="first", work=show_variables)], worker_count=lambda _: 1, watch=seen.append, should_stop=never)
    monkeypatch.delenv("FLYWEIGHT_TEST_GONE")
    monkeypatch.setenv("FLYWEIGHT_TEST_NEW", "here")

    work_off([Job(name="second", work=show_variables)], worker_count=lambda _: 1, watch=seen.append, should_stop=never)

    assert seen == [
        {"FLYWEIGHT_TEST_NEW": None, "FLYWEIGHT_TEST_GONE": "yes"},
        {"FLYWEIGHT_TEST_NEW": "here", "FLYWEIGHT_TEST_GONE": None},
    ]


def test_a_stop_reaches_all_that_run_and_no_more_begin(tmp_path):
    """Two of three run, both keep what they have, the third never was."""
    told = list[str]()
    jobs = [Job(name=str(n), work=functools.partial(talk_until_stopped, tmp_path / str(n))) for n in range(3)]

    work_off(jobs, worker_count=lambda _started: 2, watch=told.append, should_stop=lambda: len(told) > 20)

    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["saved", "saved"]


def test_whoever_fails_to_listen_stops_the_jobs(tmp_path):
    """An error in `watch` rises, and what runs is saved rather than left to run."""

    def refuse(_message: object) -> None:
        raise RuntimeError("cannot show that")

    with pytest.raises(RuntimeError, match="cannot show that"):
        work_off(
            [Job(name="only", work=functools.partial(talk_until_stopped, tmp_path / "file"))],
            worker_count=lambda _started: 1,
            watch=refuse,
            should_stop=never,
        )

    assert appears(tmp_path / "file")


SCRIPT = """
import functools, sys
from pathlib import Path
from test_processes import Job, talk_until_stopped, work_off
from flyweight.execute.signals import stopping_on_signals

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    jobs = [Job(name=str(n), work=functools.partial(talk_until_stopped, folder / str(n))) for n in range(3)]
    with stopping_on_signals() as should_stop:
        work_off(
            jobs,
            worker_count=lambda _started: 2,
            watch=lambda _word: print("heard", flush=True),
            should_stop=should_stop,
        )
    print("done", flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program of its own, like one in a terminal, that has three jobs for two places; its first jobs have spoken."""
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
            assert process.stdout.readline() == "heard\n", process.stderr.read()
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves_every_job_quietly(tmp_path, script, number):
    """Ctrl-C reaches every process at once, as `kill -- -GROUP` does; each job is saved and nothing complains."""
    os.killpg(script.pid, number)

    out, err = script.communicate(timeout=60)

    assert out.endswith("done\n")
    assert err == ""
    assert len(list((tmp_path / "saved").iterdir())) >= 2


def test_jobs_whose_program_is_killed_are_saved(tmp_path, script):
    """With nobody left to tell anything to, what runs keeps what it has and ends."""
    script.kill()
    script.wait()

    assert appears(tmp_path / "saved" / "0")
    assert appears(tmp_path / "saved" / "1")
    assert not (tmp_path / "saved" / "2").exists()


def test_no_jobs_are_no_work():
    """An empty list is done at once."""
    work_off([], worker_count=lambda _started: 2, watch=ignore, should_stop=never)


def appears(path: Path) -> bool:
    """Whether the file is there, now or soon."""
    patience = time.monotonic() + 60
    while not path.exists() and time.monotonic() < patience:
        time.sleep(0.05)
    return path.exists()


def test_ctrl_c_while_a_process_starts_is_held_back_and_not_lost():
    """It is not seen by the process that starts, and heard by us at the latest when that has started."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        with workers._deaf_to_ctrl_c():
            os.kill(os.getpid(), signal.SIGINT)
            child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.stdout.strip() == "alive"


CHILD = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
