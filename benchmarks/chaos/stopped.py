"""Trainings that are killed, stopped by signals, or run out of disk: nothing is lost, and the bits are the same."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.chaos.laboratory import SEEDS, Ended, Laboratory
from benchmarks.chaos.record import Trials
from flyweight.records.store import Store

CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SHARE_AFTER_ROW: Final = 0.8  # of the trials are stopped after the row is written: before, there is little to lose
N_LEVELS: Final = 24


def stopped(lab: Laboratory) -> Iterator[Trials]:
    """The trials of one training and of several seeds at once, and those of a full disk."""
    promise = "resumed to the weights of a run without a stop, nothing counted twice"
    for name, words, n_runs, n, n_small in (
        ("kill -9 of train", lab.training(), 1, 200, 2),
        ("kill -9 of train --seeds", lab.seeds(), SEEDS, 40, 1),
    ):

        def killed(_number: int, draw: Random, words: tuple[str, ...] = words, n_runs: int = n_runs) -> tuple[str, str]:
            return _stop(lab, words, n_runs, signal.SIGKILL, draw)

        yield Trials(name=name, promise=promise, n=n, n_small=n_small, one=killed)
    for number, code in CODES.items():

        def told(_number: int, draw: Random, kind: signal.Signals = number) -> tuple[str, str]:
            return _stop(lab, lab.training(), 1, kind, draw)

        name = f"{number.name} to train"
        yield Trials(
            name=name, promise=f"exit code {code} or the run is finished; {promise}", n=25, n_small=1, one=told
        )
    is_mountable = _is_mountable(lab.folder)
    kind = "a file system of a fixed size" if is_mountable else "a limit of the size of files"
    yield Trials(
        name="full disk",
        promise=f"exit code 7 and no traceback on {kind}, at {N_LEVELS} levels; with room again, {promise}",
        n=N_LEVELS,
        n_small=2,
        one=lambda level, _draw: _fill(lab, level, is_mountable=is_mountable),
    )


def _stop(lab: Laboratory, words: tuple[str, ...], n_runs: int, kind: signal.Signals, draw: Random) -> tuple[str, str]:
    """Start, stop at a random moment, go on, and compare."""
    home, seconds = lab.home(), lab.seconds * (1 if n_runs == 1 else 2)
    command = lab.start(home, *words)
    if draw.random() < SHARE_AFTER_ROW:
        command.wait_for(" run ", seconds=10 * seconds)
        seconds *= 0.5
    time.sleep(draw.random() * seconds)
    was_running = command.is_running
    command.send(kind, to_group=kind == signal.SIGKILL)
    ended = command.ended()
    if ended.is_traceback and kind != signal.SIGKILL:
        return "traceback", f"a traceback after {kind.name}: {ended.err[-300:]}"
    if was_running and kind != signal.SIGKILL and ended.code not in (0, CODES[kind], -kind):
        return "exit code", f"exit code {ended.code} after {kind.name}"
    outcome, miss = _go_on(lab, home, words, n_runs)
    if not miss:
        shutil.rmtree(home)
    return outcome, miss


def _go_on(lab: Laboratory, home: Path, words: tuple[str, ...], n_runs: int) -> tuple[str, str]:
    store = Store.open(home=home)
    store.mark_lost()
    runs = store.runs(purpose="all")
    if not runs:
        outcome, ended = "stopped before the first row", lab.command(home, *words)
    elif len(runs) == n_runs and all(run.status == "finished" for run in runs):
        outcome, ended = "was finished", Ended(code=0, err="")
    else:
        outcome, ended = "resumed", lab.command(home, "train", "--resume", runs[0].id)
    if ended.code:
        said = "".join(ended.err.strip().splitlines()[-1:]).replace(f"{home}/", "")
        return outcome, f"{outcome}: exit code {ended.code}: {said}"
    return outcome, lab.faults(home, n_runs=n_runs)


def _fill(lab: Laboratory, level: int, *, is_mountable: bool) -> tuple[str, str]:
    """A training with (level + 1) / 24 of the room that it needs; then with enough."""
    place = lab.home()
    needed = 1_400_000 if is_mountable else 250_000
    room = needed * (level + 1) // N_LEVELS
    try:
        if is_mountable:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", place], check=True)  # noqa: S607
            first = lab.command(place, *lab.training())
            subprocess.run(["mount", "-o", "remount,size=50m", place], check=True)  # noqa: S607
        else:
            first = lab.command(place, *lab.training(), max_file_bytes=room)
        if first.is_traceback:
            return "traceback", f"{room:,} bytes: {first.err.strip().splitlines()[-1]}"
        if first.code not in (0, 7):
            return f"exit code {first.code}", f"{room:,} bytes: exit code {first.code}: {first.err.strip()[-200:]}"
        outcome, miss = _go_on(lab, place, lab.training(), 1)
        return f"exit code {first.code}, then {outcome}", miss and f"{room:,} bytes: {miss}"
    finally:
        if is_mountable:
            subprocess.run(["umount", place], check=False)  # noqa: S607


def _is_mountable(folder: Path) -> bool:
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    try:
        words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
        done = subprocess.run(words, capture_output=True, check=False)
    except OSError:
        return False
    if done.returncode == 0:
        subprocess.run(["umount", place], check=True)  # noqa: S607
    return done.returncode == 0
