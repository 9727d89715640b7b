"""Where runs are computed: processes on the cores are one executor; a GPU or other machines can be others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from flyweight.execute.request import TrainingJob
from flyweight.experiment.events import Event
from flyweight.records.store import Store


class Executor(Protocol):
    """Computes runs and records each in the store as `experiment.run` does."""

    def make_ready(self) -> None:
        """Begin in the background what the first run would wait for; called again it does nothing."""

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Do every job and pass their events on, in this process.

        When `should_stop` becomes true, the runs under way are saved where they stand, and no more begin.

        Raises:
            Exception: the first error of a job, when the others are over.
        """
