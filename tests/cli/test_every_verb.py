"""Whatever is typed and whatever lies in the folder, every verb ends with a documented exit code and no traceback."""

from __future__ import annotations

import inspect
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from generated import LEFT_OUT, command_line, names_in, write_files

import flyweight
from flyweight.cli import app
from flyweight.cli.app import OUR_FAULT, VERBS, run
from flyweight.errors import EXIT_CODES, FlyweightError
from flyweight.execute.signals import StopRequest

HOMES = (*["home"] * 12, "no home", "no database", "bad rows", "no columns", "nowhere")
MAX_LINE = 3_000  # of a message; a list of all recipes is one
MAX_SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("files")
    write_files(place)
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder is the current one, nothing trains longer than a step, and nothing takes a minute."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(StopRequest, "__init__", lambda self: setattr(self, "signal_number", signal.SIGINT))
    monkeypatch.setattr(signal, "alarm", signal.alarm)
    return folder


def require_plain(words: tuple[str, ...], code: int, err: str) -> None:
    shown = [word[:100] for word in words]
    assert code in EXIT_CODES, (shown, code, err[-2000:])
    assert "Traceback" not in err, (shown, err[-3000:])
    assert OUR_FAULT not in err, (shown, err[-3000:])
    assert all(len(line) <= MAX_LINE for line in err.splitlines()), (shown, len(err))
    assert code or "flyweight: " not in err, (shown, err[-500:])


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(120, id="few"),
        pytest.param(600, id="more", marks=pytest.mark.slow),
        pytest.param(10_000, id="many", marks=pytest.mark.soak),
    ],
)
def test_generated_commands_end_with_a_documented_exit_code(count, here, capsys, monkeypatch):
    """One after another in one process, each with one of several homes, whole and damaged."""
    draw, names, seen = random.Random(count), names_in(here), set()

    def too_long(_number: int, _frame: object) -> None:
        raise AssertionError(f"more than {MAX_SECONDS} s: {words}")

    monkeypatch.setattr(app, "traceback", _Raising())
    before = signal.signal(signal.SIGALRM, too_long)
    try:
        for _ in range(count):
            words = command_line(draw, names)
            monkeypatch.setenv("FLYWEIGHT_HOME", str(here / draw.choice(HOMES)))
            signal.alarm(MAX_SECONDS)
            code = run(words)
            signal.alarm(0)
            require_plain(words, code, capsys.readouterr().err)
            seen.add((words[0], code))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

    assert {verb for verb, _ in seen} >= VERBS.keys() - set(LEFT_OUT)
    assert {code for _, code in seen} >= {0, 2, 6, 7}


class _Raising:
    """In the place of the module `traceback`: a fault of ours is the error of the test."""

    @staticmethod
    def print_exc() -> None:
        error = sys.exc_info()[1]
        assert error is not None
        raise error


@pytest.mark.parametrize("count", [pytest.param(20, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.soak)])
def test_generated_commands_as_processes(folder, count):
    """As a shell calls them: with signals, streams and the exit of Python."""
    draw, names = random.Random(1), names_in(folder)
    for _ in range(count):
        words = command_line(draw, names)
        if any("\0" in word for word in words) or words[0] in ("train", "journey"):
            continue
        environment = os.environ | {"FLYWEIGHT_HOME": str(folder / draw.choice(HOMES))}
        done = subprocess.run(
            [sys.executable, "-m", "flyweight", *(os.fsencode(word) if word.isprintable() else word for word in words)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=10 * MAX_SECONDS,
        )
        require_plain(words, done.returncode, done.stderr)


def test_a_fault_of_ours_asks_to_be_reported(flyweight, monkeypatch):
    """Only then there is a traceback; an error of the machine is one line."""

    def ours() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(app.VERBS, "recipes", ours)
    code, _, err = flyweight("recipes")
    assert code == 1
    assert "ZeroDivisionError: a bug" in err
    assert "Please report it" in err

    def disk() -> None:
        raise OSError(28, "No space left on device", "runs")

    monkeypatch.setitem(app.VERBS, "recipes", disk)
    assert flyweight("recipes") == (7, "", "flyweight: runs: No space left on device.\n")


def test_every_public_function_turns_errors_of_the_machine_into_one_line(tmp_path):
    """What the command line does, Python does: a file that is none, bytes that are no text, a path with NUL."""
    functions = {name: found for name in flyweight.__all__ if inspect.isfunction(found := getattr(flyweight, name))}

    assert len(functions) >= 25
    plain = {name for name, found in functions.items() if hasattr(found, "__wrapped__")}
    assert functions.keys() - plain == {"load_images", "load_recipe"}  # they call one that is
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for path in (pipe, tmp_path / "bytes.toml", "a\0b.toml", tmp_path, "x" * 300 + ".toml"):
        with pytest.raises(FlyweightError):
            flyweight.load_recipe(path)
        with pytest.raises(FlyweightError):
            flyweight.load_images(str(path))
        with pytest.raises(FlyweightError):
            flyweight.read_code(path)
