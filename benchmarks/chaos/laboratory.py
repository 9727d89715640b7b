"""What the trials need: a recipe that trains in a second, commands in processes of their own, and references."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import numpy as np

from flyweight.cli import main
from flyweight.evidence.integrity import faults_of
from flyweight.execute.processes import METHOD, make_ready
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

N_TRAIN, N_TEST = 240, 60
EPOCHS: Final = 4
SEEDS: Final = 3
RECIPE: Final = """
name = "tiny"
[model]
net = "c6nb bn r m2 do.1 c8nb bn r gmp flat fc10"
[data]
name = "{data}"
validation = 40
[augment]
rotate = 5.0
[train]
epochs = {epochs}
batch_size = 16
lr = 0.05
"""
PATIENCE_SECONDS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended. code: as a shell shows it; below 0 it is the signal that killed it."""

    code: int
    err: str

    @property
    def is_traceback(self) -> bool:
        return "Traceback" in self.err


class Laboratory:
    """A folder with a recipe and its images, a home for each trial, and the weights of runs that nobody disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.recipe = folder / "tiny.toml"
        self.images = folder / "digits.npz"
        with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
            counts = {"train": N_TRAIN, "test": N_TEST}
            np.savez(
                self.images,
                **{f"{kind}_{part}": mnist[f"{kind}_{part}"][:n] for part, n in counts.items() for kind in "xy"},
            )
        self.recipe.write_text(RECIPE.format(data=self.images, epochs=EPOCHS), encoding="utf-8")

    def home(self) -> Path:
        """A new, empty home."""
        return Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))

    @cached_property
    def _undisturbed(self) -> tuple[Path, float]:
        home = self.home()
        began = time.monotonic()
        ended = self.command(home, *self.training())
        seconds = time.monotonic() - began
        assert ended.code == 0, ended.err
        assert self.command(home, *self.seeds()).code == 0
        return home, seconds

    @property
    def seconds(self) -> float:
        """How long a training takes that nobody stops."""
        return self._undisturbed[1]

    @cached_property
    def reference(self) -> dict[int, str]:
        """SHA-256 of the weights of each seed that nobody stopped."""
        store = Store.open(home=self._undisturbed[0])
        return {run.seed: str(store.folder(run.id).weights_digest()) for run in store.runs()}

    def finished_run(self) -> tuple[Store, RunRecord]:
        """A run that is over, in a home of its own."""
        home = self.home()
        assert self.command(home, *self.training()).code == 0
        store = Store.open(home=home)
        return store, store.get("@latest")

    def training(self) -> tuple[str, ...]:
        return ("train", str(self.recipe), "--device", "cpu")

    def seeds(self) -> tuple[str, ...]:
        return (*self.training(), "--seeds", str(SEEDS), "--at-once", "2")

    def start(self, home: Path, *words: str, max_file_bytes: int | None = None) -> Command:
        return Command(home, words, self.folder, max_file_bytes)

    def command(self, home: Path, *words: str, max_file_bytes: int | None = None) -> Ended:
        """A command from its beginning to its end."""
        return self.start(home, *words, max_file_bytes=max_file_bytes).ended()

    def faults(self, home: Path, *, n_runs: int) -> str:
        """What is wrong with the runs of a home; empty if all are there once, whole, and like undisturbed ones."""
        store = Store.open(home=home)
        runs = store.runs(purpose="all")
        if sorted(run.seed for run in runs) != list(range(n_runs)):
            return f"seeds on record: {sorted(run.seed for run in runs)}"
        for run in runs:
            if run.status != "finished":
                return f"seed {run.seed} is {run.status}: {run.message}"
            if store.folder(run.id).weights_digest() != self.reference[run.seed]:
                return f"seed {run.seed}: other weights than without a stop"
            if [line.epoch for line in store.epochs(run.id)] != list(range(1, EPOCHS + 1)):
                return f"seed {run.seed}: epochs {[line.epoch for line in store.epochs(run.id)]}"
            if faults := faults_of(run, store):
                return f"seed {run.seed}: {'; '.join(faults)}"
            left = [
                path.name for path in store.folder(run.id).path.iterdir() if path.name.startswith((".unf", "check"))
            ]
            if [name for name in left if name != "checksums.json"]:
                return f"seed {run.seed} left {left} behind"
        return ""


class Command:
    """A command in a process group of its own, forked from one that has loaded torch."""

    def __init__(self, home: Path, words: tuple[str, ...], folder: Path, max_file_bytes: int | None) -> None:
        make_ready("benchmarks.chaos.preload")
        descriptor, self._err = tempfile.mkstemp()
        os.close(descriptor)
        given = (words, str(home), str(folder), self._err, max_file_bytes)
        context: Any = multiprocessing.get_context(METHOD)
        self._process: BaseProcess = context.Process(target=_carry_out, args=given)
        self._process.start()

    def send(self, number: int, *, to_group: bool = False) -> None:
        pid = self._process.pid
        assert pid is not None
        with suppress(ProcessLookupError):
            os.killpg(pid, number) if to_group else os.kill(pid, number)

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, text: str, *, seconds: float) -> None:
        """Wait until the command has printed a text, or has ended, or the time is over."""
        end = time.monotonic() + seconds
        while self.is_running and time.monotonic() < end and text not in Path(self._err).read_text(errors="replace"):
            time.sleep(0.01)

    def ended(self) -> Ended:
        self._process.join(PATIENCE_SECONDS)
        if self._process.is_alive():
            self.send(signal.SIGKILL, to_group=True)
            self._process.join()
        path = Path(self._err)
        err = path.read_text(encoding="utf-8", errors="replace")
        path.unlink()
        return Ended(code=int(self._process.exitcode or 0), err=err)


def _carry_out(words: tuple[str, ...], home: str, folder: str, err: str, max_file_bytes: int | None) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {"FLYWEIGHT_HOME": home, "OMP_NUM_THREADS": "1", "XDG_DATA_HOME": folder}
    os.chdir(folder)
    descriptor = os.open(err, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if max_file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    main(words)
