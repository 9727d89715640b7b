"""Where runs are computed: the interface of executors, such as processes on the cores, a GPU or other machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from flyweight.execute.request import TrainingJob
from flyweight.experiment.events import Event
from flyweight.records.store import Store


class Executor(Protocol):
    """Computes runs and records each in the store as `experiment.run` does."""

    def make_ready(self) -> None:
        """Start in the background what the first run would wait for; a second call does nothing."""

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Compute every job and give its events to `watch`, in this process.

        When `should_stop` becomes true, the runs under way are saved at their current step, and no more are started.

        Raises:
            Exception: the first error of a job, after the others have ended.
        """
