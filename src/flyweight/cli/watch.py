"""What a person sees while nets train: a live bar per run on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flyweight.cli.output import talk
from flyweight.experiment.events import Ended, EpochDone, Event, Started, Stepped

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def watching(*, named: bool = False) -> Iterator[Callable[[Event], None]]:
    """A function that shows what it is told, on stderr, as fits what stderr is.

    named: call a run by its recipe too, where runs of several go side by side.
    """
    lines = Lines(named=named)
    if not sys.stderr.isatty():
        yield lines
        return
    with _progress() as progress:
        yield _Bars(progress, lines)


class Lines:
    """One plain line when a run starts, per epoch, and when it ends otherwise than finished."""

    def __init__(self, *, named: bool = False) -> None:
        self.named = named
        self.labels: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        label = self.label(event)
        match event:
            case Started():
                again = f", going on in epoch {event.first_epoch}" if event.first_epoch > 1 else ""
                talk(f"{label}  run {event.run_id}{again}")
            case EpochDone():
                talk(epoch_line(event, label))
            case Ended(status=status) if status != "finished" or event.message:
                talk(f"{label}  {status}: {event.message}" if event.message else f"{label}  {status}")

    def label(self, event: Event) -> str:
        """What a run is called: its seed, which the first event of a run may put after the name of its recipe."""
        seed = f"seed {event.seed}"
        if isinstance(event, Started):
            self.labels[event.run_id] = f"{event.name} {seed}" if self.named else seed
        return self.labels.get(event.run_id, seed)


def epoch_line(event: EpochDone, label: str) -> str:
    """Loss and accuracy of an epoch, in less than 80 columns where the label is a seed."""
    line = event.metrics
    return (
        f"{label}  epoch {line.epoch}/{event.epochs}  "
        f"train {line.train_loss:.4f} {line.train_accuracy:.2%}  "
        f"validation {line.validation_loss:.4f} {line.validation_accuracy:.2%}  {line.seconds:.1f} s"
    )


class _Bars:
    """A bar for each run, and its epochs' lines above them."""

    def __init__(self, progress: Progress, lines: Lines) -> None:
        self.progress = progress
        self.lines = lines
        self.bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        label = self.lines.label(event)
        match event:
            case Started():
                self.bars[event.run_id] = self.progress.add_task(
                    label, total=event.epochs, epoch=f"{event.first_epoch}/{event.epochs}", figures=""
                )
            case Stepped():
                self.progress.update(
                    self.bars[event.run_id],
                    completed=event.epoch - 1 + event.step / event.n_steps,
                    epoch=f"{event.epoch}/{event.epochs}",
                    figures=_figures(event),
                )
            case EpochDone():
                self.progress.print(epoch_line(event, label), highlight=False)
                self.progress.update(self.bars[event.run_id], completed=event.metrics.epoch)
            case Ended():
                bar = self.bars.pop(event.run_id, None)
                if bar is not None:
                    self.progress.remove_task(bar)
                if event.status != "finished" or event.message:
                    self.lines(event)


def _figures(event: Stepped) -> str:
    """Step, running loss and accuracy, speed and time left."""
    minutes, seconds = divmod(round(event.seconds_left), 60)
    return (
        f"step {event.step}/{event.n_steps} {event.loss:.3f} {event.accuracy:6.2%} "
        f"{event.images_per_second:,.0f} img/s {minutes}:{seconds:02} left"
    )


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description} {task.fields[epoch]}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        transient=True,
    )
