"""Progress of trainings: what is said of single runs and of seeds that train as one stacked net."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from flyweight.cli import watch
from flyweight.experiment.events import (
    Ended,
    EpochDone,
    Event,
    Measuring,
    StackEpochDone,
    StackStepped,
    Started,
    Stepped,
)
from flyweight.train.metrics import EpochMetrics

SEEDS = tuple(range(64))


def metrics(epoch: int, accuracy: float) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        train_loss=0.25,
        train_accuracy=0.925,
        validation_loss=0.05,
        validation_accuracy=accuracy,
        lr=0.1,
        seconds=2.345,
        images_per_second=10_000.0,
    )


def started(seed: int, n_stacked: int, **more: object) -> Started:
    return Started(run_id=f"run{seed}", seed=seed, name="own/8k", params=1, epochs=3, n_stacked=n_stacked, **more)


def stepped(seed: int) -> Stepped:
    return Stepped(
        run_id=f"run{seed}",
        seed=seed,
        epoch=1,
        epochs=3,
        step=5,
        n_steps=10,
        loss=0.5,
        accuracy=0.9,
        images_per_second=1000.0,
        seconds_left=61.0,
    )


def of_a_stack() -> Iterator[Event]:
    """64 seeds: an epoch, then one diverges and the others finish."""
    accuracies = [0.99 + seed / 100_000 for seed in SEEDS]
    yield from (started(seed, 64) for seed in SEEDS)
    yield from (stepped(seed) for seed in SEEDS)
    yield StackStepped(
        seeds=SEEDS,
        epoch=1,
        epochs=3,
        step=5,
        n_steps=10,
        losses=(0.5,) * 64,
        accuracies=tuple(accuracies),
        images_per_second=1_234_567.0,
        seconds_left=61.0,
    )
    yield from (
        EpochDone(run_id=f"run{seed}", seed=seed, epochs=3, metrics=metrics(1, accuracies[seed])) for seed in SEEDS
    )
    yield StackEpochDone(
        seeds=SEEDS, epochs=3, judged_on="validation", metrics=tuple(metrics(1, one) for one in accuracies)
    )
    yield Ended(run_id="run3", seed=3, status="diverged", message="loss nan at epoch 2, step 1; first seen in conv1")
    yield from (Ended(run_id=f"run{seed}", seed=seed, status="finished", message="") for seed in SEEDS if seed != 3)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(watch, "talk", lines.append)
    return lines


def test_seeds_of_a_stack_share_one_line_per_epoch(said):
    """The mean, and the standard deviation between seeds; a seed that diverges is named. All within 80 columns."""
    lines = watch.Lines()

    for event in of_a_stack():
        lines(event)

    assert said == [
        "64 seeds  epoch 1/3  train 0.2500 92.50%  validation 99.03% ± 0.02  2.3 s",
        "seed 3  diverged: loss nan at epoch 2, step 1; first seen in conv1",
    ]
    assert max(map(len, said)) <= 80


def test_a_single_run_has_lines_of_its_own(said):
    """Its start and each of its epochs."""
    lines = watch.Lines()

    for event in (
        started(0, 1),
        stepped(0),
        EpochDone(run_id="run0", seed=0, epochs=3, metrics=metrics(1, 0.99)),
        Ended(run_id="run0", seed=0, status="finished", message=""),
    ):
        lines(event)

    assert said == [
        "seed 0  run run0",
        "seed 0  epoch 1/3  train 0.2500 92.50%  validation 0.0500 99.00%  2.3 s",
    ]


def test_a_resumed_run_says_what_it_began_with(said):
    """Other kernels than at its start change its weights."""
    watch.Lines()(started(0, 1, first_epoch=2, began_with={"kernels": "torch alone: FLYWEIGHT_KERNELS=off"}))

    assert said[0] == "seed 0  run run0, continues with epoch 2"
    assert "began with kernels torch alone" in said[1]


def test_seeds_of_a_stack_share_one_bar(said):
    """One bar with mean and range, which goes with the last of them."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    progress = Progress(TextColumn("{task.description} {task.fields[epoch]} {task.fields[figures]}"), console=console)
    bars = watch._Bars(progress, watch.Lines())
    seen = set()

    for event in of_a_stack():
        bars(event)
        seen.add(len(progress.tasks))
        if isinstance(event, StackStepped):
            (task,) = progress.tasks
            assert task.description == "64 seeds"
            assert task.fields["figures"] == "5/10 0.500 99.0% (99.0 to 99.1) 1,235k img/s 1:01"

    assert seen == {0, 1}
    assert "64 seeds  epoch 1/3" in screen.getvalue()


def test_the_bar_says_what_happens_after_the_last_epoch():
    """The kept net is measured on three parts, which takes seconds."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    progress = Progress(TextColumn("{task.description} {task.fields[epoch]} {task.fields[figures]}"), console=console)
    bars = watch._Bars(progress, watch.Lines())
    seen = []

    bars(started(0, 1))
    for part in ("training", "validation", "test"):
        bars(Measuring(run_id="run0", seed=0, epochs=3, part=part))
        seen += [(task.completed, task.fields["figures"]) for task in progress.tasks]

    assert seen == [(3, f"measuring the kept net on the {part} images") for part in ("training", "validation", "test")]
