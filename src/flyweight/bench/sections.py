"""What is measured: training against the notebook's way, seeds side by side, and how soon the program answers.

Every section gives rows of the same keys, so that one table holds them all.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from flyweight.bench.notebook import Pictures, loader, train_epoch
from flyweight.bench.timing import Timing, alternate
from flyweight.data import sources
from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches
from flyweight.data.splits import channel_statistics
from flyweight.experiment.run import run
from flyweight.experiment.seeds import run_seeds
from flyweight.model.build import build
from flyweight.recipe import load
from flyweight.records.store import Store
from flyweight.train import device as devices
from flyweight.train import loop
from flyweight.train.evaluate import Evaluation, evaluate

# The net of document 003, experiment 17, as it ran, with its rotation, shift and batch size.
NET: Final = (
    "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 c16p1 bn r c16p1 bn r gap flat do.1 "
    "fc50 r fc10"
)
ROTATE, TRANSLATE, BATCH_SIZE, LR, MOMENTUM = 7.0, 0.1, 128, 0.05, 0.9
WHOLE_EPOCH: Final = 60_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of one contender; `ratio` is how many times faster it is than the section's first."""

    section: str
    contender: str
    median_seconds: float
    quartile_low: float
    quartile_high: float
    rounds: int
    ratio: float
    note: str = ""


def training(*, rounds: int, steps: int, threads: int) -> list[Row]:
    """The same net, batches and number of steps, the notebook's way and ours; what both learned stands beside it.

    The notebook's way takes a thread for each core, as torch does by itself, and the faster of its two rows is the
    one to compare with; ours takes `threads`. `steps` batches make a round; the note scales its median to an epoch of
    60,000 images.
    """
    devices.prepare(threads=threads)
    image_set = sources.load("mnist")
    images, labels = image_set.train_images[: steps * BATCH_SIZE], image_set.train_labels[: steps * BATCH_SIZE]
    (mean,), (std,) = channel_statistics(image_set.train_images, np.arange(len(image_set.train_images)))
    ours = _Ours(images, labels, mean=mean, std=std, threads=threads)
    notebooks = {
        f"notebook, {workers} loader process(es)": _Notebook(images, labels, mean=mean, std=std, workers=workers)
        for workers in (0, devices.usable_cores())
    }
    contenders = {name: notebook.epoch for name, notebook in notebooks.items()}
    timings = alternate({**contenders, "flyweight": ours.epoch}, rounds=rounds)
    test = image_set.test_images[:2000], image_set.test_labels[:2000]
    models = {**{name: notebook.model for name, notebook in notebooks.items()}, "flyweight": ours.training.model}
    notes = {
        name: f"{timings[name].median * WHOLE_EPOCH / len(images):.1f} s an epoch of 60,000, "
        f"{_accuracy(model, *test, mean=mean, std=std):.1%} after {(rounds + 1) * steps} steps"
        for name, model in models.items()
    }
    return list(_rows("training", timings, notes))


class _Ours:
    """Our loop over the images, an epoch at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float, threads: int) -> None:
        self.threads = threads
        model = devices.settle(_net(), torch.device("cpu"))
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
        self.training = loop.start(model, optimizer, ema=0.0)
        self.batches = Batches(
            torch.from_numpy(images),
            torch.from_numpy(labels),
            mean=[mean],
            std=[std],
            batch_size=BATCH_SIZE,
            seed=0,
            augmentation=Augmentation(rotate=ROTATE, translate=TRANSLATE, whole_pixels=True, interpolation="nearest"),
        )

    def epoch(self) -> None:
        torch.set_num_threads(self.threads)
        loop.fit(
            self.training, self.batches, validate=_not_measured, epochs=self.training.epoch, lr=lambda _progress: LR
        )


class _Notebook:
    """The notebook's way over the same images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float, workers: int) -> None:
        pictures = Pictures(images[:, 0], labels, mean=mean, std=std, rotate=ROTATE, translate=TRANSLATE)
        self.batches = loader(pictures, batch_size=BATCH_SIZE, workers=workers)
        self.model = _net()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)

    def epoch(self) -> None:
        torch.set_num_threads(devices.usable_cores())
        for _loss in train_epoch(self.model, self.batches, self.optimizer):
            pass


def seeds(*, count: int, train_limit: int) -> list[Row]:
    """`count` seeds of own/20k-fast on `train_limit` images, one after the other, then our way."""
    recipe = load("own/20k-fast", overrides=[f"data.train_limit={train_limit}", "train.epochs=1"])
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(home=Path(folder))

        def one_after_the_other() -> None:
            for seed in range(count):
                run(recipe, seed=seed, store=store)

        def side_by_side() -> None:
            run_seeds(recipe, seeds=range(count), store=store)

        contenders = {"one after the other": one_after_the_other, "side by side": side_by_side}
        timings = alternate(contenders, rounds=1, warm_up=0)
    return list(_rows("seeds", timings, dict.fromkeys(contenders, f"{count} seeds, {train_limit:,} images each")))


def answers(*, rounds: int) -> list[Row]:
    """Seconds until help, a table and the first line of a training are there, each in a process of its own."""
    commands = {
        "flyweight --help": ["--help"],
        "flyweight show own/20k-fast": ["show", "own/20k-fast"],
        "first line of flyweight train": ["train", "own/20k-fast"],
    }
    with tempfile.TemporaryDirectory() as home:
        timings = alternate(
            {name: functools.partial(_until_it_speaks, words, home) for name, words in commands.items()},
            rounds=rounds,
        )
    # These do different work: a ratio between them would mean nothing.
    return list(_rows("answers", timings, {}, compare=False))


def _until_it_speaks(words: list[str], home: str) -> None:
    """Run a command until its end, or a training until its first line."""
    command = [sys.executable, "-m", "flyweight", *words]
    if words[0] == "train":
        command += ["--home", home, "--set", "data.train_limit=64", "--set", "train.epochs=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603  # our own
        assert process.stdout is not None
        assert process.stderr is not None
        if words[0] == "train":
            process.stderr.readline()
            process.kill()
        else:
            process.stdout.read()


def _net() -> nn.Module:
    return build(NET, (1, 28, 28), generator=torch.Generator().manual_seed(0))


def _not_measured(_model: nn.Module) -> Evaluation:
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.empty(0))


def _accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float) -> float:
    return evaluate(model, torch.from_numpy(images), torch.from_numpy(labels), mean=[mean], std=[std]).accuracy


def _rows(section: str, timings: dict[str, Timing], notes: dict[str, str], *, compare: bool = True) -> Iterator[Row]:
    first = next(iter(timings.values()))
    for name, timing in timings.items():
        low, high = timing.quartiles
        yield Row(
            section=section,
            contender=name,
            median_seconds=timing.median,
            quartile_low=low,
            quartile_high=high,
            rounds=len(timing.seconds),
            ratio=first.median / timing.median if compare else 1.0,
            note=notes.get(name, ""),
        )


def describe_machine() -> dict[str, Any]:
    """The machine and build that the figures belong to."""
    return devices.describe(torch.device("cpu"))
