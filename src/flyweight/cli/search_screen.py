"""The screen of a search under way: time left, counts, the best net so far, and what trains now."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flyweight.cli.watch import time_left
from flyweight.records.search_record import TrialFigures, TrialRecord
from flyweight.report.search.text import best_so_far, counts, sparkline
from flyweight.search.events import PhaseBegan, SearchEvent, TrialBegan, TrialEnded

PHASES = {
    "calibration": "measuring the speed of this machine",
    "trials": "trials",
    "finals": "finals on fresh seeds, test images closed",
    "test": "the winner and the first design open the test images",
    "done": "done",
}


class Screen:
    """A context that shows events; its lines vanish at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(stderr=True), transient=True, refresh_per_second=2)
        self._live.get_renderable = self.page  # type: ignore[method-assign]
        self._heading, self._phase = "", PHASES["calibration"]
        self._trials: dict[int, TrialFigures] = {}
        self._running: dict[int, TrialRecord] = {}
        self._best: TrialEnded | None = None
        self._left: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def watch(self, event: SearchEvent) -> None:
        """Take in an event."""
        match event:
            case PhaseBegan():
                self._phase = PHASES[event.phase]
                if event.plan is not None:
                    plan = event.plan
                    rungs = ", ".join(map(str, plan.rungs))
                    self._heading = f"{plan.name}: {plan.budget}, {plan.strategy}, {plan.epochs} epochs (rungs {rungs})"
            case TrialBegan(trial=trial):
                self._running[trial.number] = trial
            case TrialEnded(trial=ended):
                self._running.pop(ended.number, None)
                self._trials[ended.number] = ended
                self._left = (time.monotonic(), event.seconds_left)
                if event.is_best:
                    self._best = event

    def page(self) -> Group:
        """The lines of now."""
        lines = [Text(self._heading, style="bold"), Text(self._phase + self._time())]
        if self._trials:
            ended = sorted(self._trials.values(), key=lambda one: one.number)
            lines.append(Text(f"{counts(ended)}; {len(self._running)} under way"))
            lines.append(Text(f"best so far {sparkline(best_so_far(ended))}"))
        if self._best is not None and self._best.trial.accuracy is not None:
            trial = self._best.trial
            lines.append(Text(f"best: trial {trial.number}, {trial.accuracy:.2%} validation at rung {trial.rung}"))
            lines.append(Text(f"  {self._best.net}  ({trial.params:,} parameters)"))
        lines += [
            Text(f"  trial {trial.number}: {trial.design['net']}", style="dim", overflow="ellipsis", no_wrap=True)
            for trial in list(self._running.values())
        ]
        return Group(*lines)

    def _time(self) -> str:
        if self._left is None or self._phase != PHASES["trials"]:
            return ""
        since, left = self._left
        return f", {time_left(max(0.0, left - (time.monotonic() - since)))} left before the finals"
