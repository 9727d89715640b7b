"""`startup`: seconds until a command prints something; each command is a new process."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from flyweight.bench.rows import Row, row
from flyweight.bench.sizes import Size
from flyweight.bench.timing import alternate

SECTION: Final = "startup"
PROGRAM: Final = (sys.executable, "-m", "flyweight")
TRAINING: Final = ("train", "own/20k-fast", "--set", "data.train_limit=64", "--set", "train.epochs=1")


def startup(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the seconds of --help, of a table, and until the first line of a training."""
    with_threads = ("--threads", str(threads)) if threads else ()
    with tempfile.TemporaryDirectory() as home:
        seconds = alternate(
            {
                "flyweight --help": functools.partial(until_end, ["--help"]),
                "flyweight show": functools.partial(until_end, ["show", "own/20k-fast"]),
                "flyweight train": functools.partial(until_first_line, [*TRAINING, *with_threads, "--home", home]),
            },
            rounds=size.rounds,
        )
    # These do different work: a ratio between them would mean nothing.
    notes = {"flyweight show": "own/20k-fast", "flyweight train": "own/20k-fast, until its first line"}
    return [row(SECTION, name, "s", taken, note=notes.get(name, "")) for name, taken in seconds.items()]


def until_end(words: Sequence[str]) -> None:
    """Run a command to its end."""
    subprocess.run([*PROGRAM, *words], capture_output=True, check=True)  # noqa: S603  # our own program


def until_first_line(words: Sequence[str]) -> None:
    """Run a command until it prints a line on stderr, and end it."""
    command = [*PROGRAM, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stderr is not None
        process.stderr.readline()
        process.kill()
