"""Progress of runs in a notebook: a bar and a line for each run below the cell, which change as it trains.

Goes in: the events of runs. Comes out: HTML. Outside of a notebook there is none.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from flyweight.experiment.events import Ended, EpochDone, Event, Measuring, Started, Stepped, ignore

SECONDS_BETWEEN: Final = 0.2  # each change is a message to the browser


def shown_in_notebook(watch: Callable[[Event], None]) -> Callable[[Event], None]:
    """The function itself; or, if it is the default and this is a notebook, one that shows the progress there."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if watch is not ignore or not hasattr(shell, "kernel"):  # IPython in a terminal has no kernel
        return watch
    ipython: Any = import_module("IPython.display")
    handle = ipython.display(ipython.HTML(""), display_id=True)
    return NotebookProgress(lambda text: handle.update(ipython.HTML(text)))


class NotebookProgress:
    """show: replaces the HTML that was shown before."""

    def __init__(self, show: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.show, self.clock = show, clock
        self.shown_at = -SECONDS_BETWEEN
        self.done: dict[str, float] = {}
        self.lines: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                self._note(event.run_id, (event.first_epoch - 1) / event.epochs, f"{event.name}, seed {event.seed}")
            case Stepped():
                share = (event.epoch - 1 + event.step / event.n_steps) / event.epochs
                figures = f"loss {event.loss:.3f}, {event.accuracy:.1%}, {event.seconds_left:.0f} s left"
                self._note(event.run_id, share, f"seed {event.seed}, epoch {event.epoch}/{event.epochs}: {figures}")
            case EpochDone():
                line = event.metrics
                found = line.validation_accuracy
                judged = "" if found is None else f", validation {found:.2%}"
                figures = f"train {line.train_accuracy:.2%}{judged}"
                share = line.epoch / event.epochs
                self._note(event.run_id, share, f"seed {event.seed}, epoch {line.epoch}/{event.epochs}: {figures}")
            case Measuring():
                self._note(event.run_id, 1.0, f"seed {event.seed}: measuring the kept net on the {event.part} images")
            case Ended():
                message = f": {event.message}" if event.message else ""
                self._note(
                    event.run_id, self.done.get(event.run_id, 1.0), f"seed {event.seed}: {event.status}{message}"
                )
            case _:
                return
        if not isinstance(event, Stepped) or self.clock() - self.shown_at >= SECONDS_BETWEEN:
            self.shown_at = self.clock()
            self.show("".join(self._bar(run_id) for run_id in self.lines))

    def _note(self, run_id: str, share: float, line: str) -> None:
        self.done[run_id], self.lines[run_id] = share, line

    def _bar(self, run_id: str) -> str:
        bar = f'<progress max="1" value="{self.done[run_id]:.3f}"></progress>'
        return f"<div>{bar} {html.escape(self.lines[run_id])}</div>"
