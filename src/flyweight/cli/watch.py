"""Progress of trainings: a live bar per run on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final

from flyweight.cli.output import talk
from flyweight.experiment.events import (
    Ended,
    EpochDone,
    Event,
    Found,
    Measuring,
    Reused,
    StackEpochDone,
    StackStepped,
    Started,
    Stepped,
)
from flyweight.records.ids import SHORT_ID

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from flyweight.train.device import DeviceName
    from flyweight.train.metrics import EpochMetrics


# Split that epochs are evaluated on, as a short label.
JUDGED_ON: Final = {"validation": "validation", "test": "test", "train": "training set"}


def announce_compiling(device: DeviceName = "auto") -> None:
    """Announce that the kernels for the processor are compiled, which happens once per machine; a GPU has others."""
    from flyweight.kernels.library import is_to_be_built
    from flyweight.train.device import choose

    if is_to_be_built() and choose(device).type == "cpu":
        talk("compiling the kernels for this processor (once, about ten seconds) ...")


@contextmanager
def watching(*, named: bool = False) -> Iterator[Callable[[Event], None]]:
    """A function that shows events on stderr, as bars on a terminal and as lines elsewhere.

    named: whether the label of a run has the name of its recipe, for runs of several recipes.
    """
    lines = Lines(named=named)
    if not sys.stderr.isatty():
        yield lines
        return
    with _progress() as progress:
        yield _Bars(progress, lines)


class Lines:
    """One plain line when a run starts, per epoch, and when it ends without finishing.

    Runs that train as one stacked net share one line per epoch.
    """

    def __init__(self, *, named: bool = False) -> None:
        self.named = named
        self.labels: dict[str, str] = {}
        self.judged_on: dict[str, str] = {}
        self.stacked: set[str] = set()

    def __call__(self, event: Event) -> None:
        label = self.label(event)
        match event:
            case Started():
                self.note_start(event)
                again = f", continues with epoch {event.first_epoch}" if event.first_epoch > 1 else ""
                if event.run_id not in self.stacked:
                    talk(f"{label}  run {event.run_id[:SHORT_ID]}{again}")
                if event.began_with:
                    talk(began_line(event, label))
            case EpochDone():
                if event.run_id not in self.stacked:
                    talk(self.epoch_line(event, label))
            case StackEpochDone():
                talk(stack_epoch_line(event))
            case Found():
                talk(found_line(event, label))
            case Reused():
                talk(reused_line(event))
            case Ended(status=status) if status != "finished" or event.message:
                talk(f"{label}  {status}: {event.message}" if event.message else f"{label}  {status}")

    def note_start(self, event: Started) -> None:
        """Remember what the lines of a run need."""
        self.judged_on[event.run_id] = event.judged_on
        if event.n_stacked > 1:
            self.stacked.add(event.run_id)

    def label(self, event: Event) -> str:
        """The seed of a run, after the name of its recipe if `named`."""
        if isinstance(event, StackStepped | StackEpochDone):
            return f"{len(event.seeds)} seeds"
        seed = f"seed {event.seed}"
        if isinstance(event, Started):
            self.labels[event.run_id] = f"{event.name} {seed}" if self.named else seed
        return self.labels.get(event.run_id, seed)

    def epoch_line(self, event: EpochDone, label: str) -> str:
        """Loss and accuracy of an epoch, in less than 80 columns if the label is a seed."""
        line, judged_on = event.metrics, self.judged_on.get(event.run_id, "validation")
        return (
            f"{label}  epoch {line.epoch}/{event.epochs}  "
            f"train {line.train_loss:.4f} {line.train_accuracy:.2%}  "
            f"{_validated(line, JUDGED_ON[judged_on])}{line.seconds:.1f} s"
        )


def _validated(line: EpochMetrics, images: str) -> str:
    """Loss and accuracy on the images that epochs are judged on, if there are any."""
    if line.validation_loss is None or line.validation_accuracy is None:
        return ""
    return f"{images} {line.validation_loss:.4f} {line.validation_accuracy:.2%}  "


def stack_epoch_line(event: StackEpochDone) -> str:
    """Mean loss and accuracy of an epoch over the seeds of a stack, with the standard deviation between them."""
    lines = event.metrics
    accuracies = [line.validation_accuracy for line in lines if line.validation_accuracy is not None]
    spread = f" ± {100 * stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    validated = f"{JUDGED_ON[event.judged_on]} {fmean(accuracies):.2%}{spread}  " if accuracies else ""
    train = f"{fmean(line.train_loss for line in lines):.4f} {fmean(line.train_accuracy for line in lines):.2%}"
    return (
        f"{len(event.seeds)} seeds  epoch {lines[0].epoch}/{event.epochs}  train {train}  "
        f"{validated}{lines[0].seconds:.1f} s"
    )


def began_line(event: Started, label: str) -> str:
    """What a resumed run began with, where that is not what it continues with."""
    began = ", ".join(f"{name} {value}" for name, value in event.began_with.items())
    return f"{label}  began with {began}: its weights will differ from those of a run without the stop"


def found_line(event: Found, label: str) -> str:
    """A finding of the doctor, with epoch and step."""
    step = "" if event.step is None else f", step {event.step}"
    when = f"epoch {event.epoch}{step}" if event.epoch else "before the run"
    return f"{label}  doctor, {when}: {event.code} {event.severity}, {event.title}"


def reused_line(event: Reused) -> str:
    """The earlier run that is used instead of a new one, with its fingerprint."""
    known = ", ".join(f"{name} {value}" for name, value in event.fingerprint.items())
    return f"{event.name} seed {event.seed}: uses the earlier run {event.run_id[:SHORT_ID]}, computed with {known}"


STACK: Final = "stack"  # the key of the bar of stacked runs, which is no run id


class _Bars:
    """A bar for each run, or one for all runs of a stack, with the lines of their epochs above."""

    def __init__(self, progress: Progress, lines: Lines) -> None:
        self.progress = progress
        self.lines = lines
        self.bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        label = self.lines.label(event)
        match event:
            case Started():
                self.lines.note_start(event)
                self._add(event, label)
                if event.began_with:
                    self.progress.print(began_line(event, label), highlight=False)
            case StackStepped() if STACK in self.bars:
                self.progress.update(
                    self.bars[STACK],
                    description=label,
                    completed=event.epoch - 1 + event.step / event.n_steps,
                    epoch=f"{event.epoch}/{event.epochs}",
                    figures=_stack_figures(event),
                )
            case StackEpochDone():
                self.progress.print(stack_epoch_line(event), highlight=False)
            case Stepped() | EpochDone() if event.run_id in self.lines.stacked:
                pass
            case Stepped():
                self.progress.update(
                    self.bars[event.run_id],
                    completed=event.epoch - 1 + event.step / event.n_steps,
                    epoch=f"{event.epoch}/{event.epochs}",
                    figures=_figures(event),
                )
            case EpochDone():
                self.progress.print(self.lines.epoch_line(event, label), highlight=False)
                self.progress.update(self.bars[event.run_id], completed=event.metrics.epoch)
            case Measuring() if event.run_id in self.bars:
                self.progress.update(
                    self.bars[event.run_id],
                    completed=event.epochs,
                    figures=f"measuring the kept net on the {event.part} images",
                )
            case Found():
                self.progress.print(found_line(event, label), highlight=False)
            case Reused():
                self.progress.print(reused_line(event), highlight=False)
            case Ended():
                self.remove(event.run_id)
                if event.status != "finished" or event.message:
                    self.lines(event)

    def _add(self, event: Started, label: str) -> None:
        is_stacked = event.n_stacked > 1
        key = STACK if is_stacked else event.run_id
        if key not in self.bars:
            first = f"{event.first_epoch}/{event.epochs}"
            shown = f"{event.n_stacked} seeds" if is_stacked else label
            self.bars[key] = self.progress.add_task(shown, total=event.epochs, epoch=first, figures="")

    def remove(self, run_id: str) -> None:
        """Remove the bar of a run; that of a stack goes with its last run."""
        stacked = self.lines.stacked
        is_last_of_stack = stacked == {run_id}
        stacked.discard(run_id)
        bar = self.bars.pop(STACK if is_last_of_stack else run_id, None)
        if bar is not None:
            self.progress.remove_task(bar)


@contextmanager
def watching_trials() -> Iterator[Callable[[Event], None]]:
    """A line when a run ends and, on a terminal, a bar for each run in progress: for trials."""
    overall = Overall({}, {})

    def log(event: Event) -> None:
        line = overall.line_for(event)
        if line:
            talk(line)

    if not sys.stderr.isatty():
        yield log
        return
    with _progress() as progress:
        bars = _Bars(progress, Lines(named=True))

        def show(event: Event) -> None:
            if isinstance(event, Started | Stepped | StackStepped):
                bars(event)
            elif isinstance(event, Ended):
                bars.remove(event.run_id)
            log(event)

        yield show


@contextmanager
def watching_all(work: Mapping[str, float], runs: Mapping[str, int]) -> Iterator[Callable[[Event], None]]:
    """On a terminal, one bar for many runs with the time left; elsewhere, a line when a run ends.

    work: cost of one run of each recipe, in any unit. runs: number of runs of each recipe.
    """
    overall = Overall(work, runs)
    if not sys.stderr.isatty():
        yield overall
        return
    with _overall_progress() as progress:
        bar = progress.add_task("", total=1.0, figures=overall.figures())

        def show(event: Event) -> None:
            line = overall.line_for(event)
            if line:
                progress.print(line, highlight=False)
            progress.update(bar, completed=overall.share, figures=overall.figures())

        yield show


class Overall:
    """Progress of many runs, and the time left at the average speed so far."""

    def __init__(
        self, work: Mapping[str, float], runs: Mapping[str, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.work, self.n_runs, self.clock = work, sum(runs.values()), clock
        self.total = sum(work[name] * n for name, n in runs.items())
        self.began = clock()
        self.names: dict[str, str] = {}
        self.judged_on: dict[str, str] = {}
        self.shares: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.last_lines: dict[str, str] = {}
        self.n_over = 0

    def __call__(self, event: Event) -> None:
        line = self.line_for(event)
        if line:
            talk(f"{line}; {self.figures()}")

    def line_for(self, event: Event) -> str | None:
        """Count an event; returns a line when a run ends."""
        match event:
            case Started():
                self.names[event.run_id], self.judged_on[event.run_id] = event.name, JUDGED_ON[event.judged_on]
                self.first[event.run_id] = self.shares[event.run_id] = (event.first_epoch - 1) / event.epochs
            case Stepped():
                self.shares[event.run_id] = (event.epoch - 1 + event.step / event.n_steps) / event.epochs
            case EpochDone():
                self.shares[event.run_id] = event.metrics.epoch / event.epochs
                images = self.judged_on.get(event.run_id, "validation")
                reached = event.metrics.validation_accuracy
                self.last_lines[event.run_id] = "" if reached is None else f", {images} {reached:.2%}"
            case Ended():
                if event.status != "interrupted":
                    self.n_over += 1
                    self.shares[event.run_id] = 1.0
                last = f": {event.message}" if event.message else self.last_lines.get(event.run_id, "")
                return f"{self.names.get(event.run_id, event.run_id)} seed {event.seed}: {event.status}{last}"
            case Reused():
                return reused_line(event)
        return None

    @property
    def share(self) -> float:
        """The completed share of all work, weighted by the cost of the runs."""
        return self._done(self.shares) / self.total if self.total else 1.0

    def seconds_left(self) -> float | None:
        """At the average speed so far; None before anything is done."""
        done = self._done(self.shares)
        pace = (done - self._done(self.first)) / max(self.clock() - self.began, 1e-9)
        return (self.total - done) / pace if pace > 0 else None

    def figures(self) -> str:
        left = self.seconds_left() if self.n_over < self.n_runs else None
        return f"{self.n_over} of {self.n_runs} runs" + ("" if left is None else f", {time_left(left)} left")

    def _done(self, shares: Mapping[str, float]) -> float:
        return sum(self.work[self.names[run_id]] * share for run_id, share in shares.items())


def time_left(seconds: float) -> str:
    """Seconds as rounded text.

    >>> time_left(42), time_left(1500), time_left(9000)
    ('42 s', '25 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _overall_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %  {task.fields[figures]}"),
        console=Console(stderr=True),
        transient=True,
    )


def _figures(event: Stepped) -> str:
    """Step, running loss and accuracy, speed and time left."""
    minutes, seconds = divmod(round(event.seconds_left), 60)
    return (
        f"step {event.step}/{event.n_steps} {event.loss:.3f} {event.accuracy:6.2%} "
        f"{event.images_per_second:,.0f} img/s {minutes}:{seconds:02} left"
    )


def _stack_figures(event: StackStepped) -> str:
    """Step, mean running loss and accuracy of the seeds with the range, speed of all together and time left."""
    minutes, seconds = divmod(round(event.seconds_left), 60)
    spread = f"({100 * min(event.accuracies):.1f} to {100 * max(event.accuracies):.1f})"
    return (
        f"{event.step}/{event.n_steps} {fmean(event.losses):.3f} {fmean(event.accuracies):.1%} {spread} "
        f"{event.images_per_second / 1000:,.0f}k img/s {minutes}:{seconds:02}"
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
