"""What may look on while a run is under way: it says what it finds, and may give a reason to end the run.

A monitor takes no part in the training: a run takes the same steps to the same bits with one and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from flyweight.experiment.events import Event, Found
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.train.metrics import EpochMetrics


class Monitor(Protocol):
    """Looks on at one run. reason: why the run should end, empty as long as it should not."""

    reason: str

    def watch(self, event: Event) -> Sequence[Found]:
        """What an event shows that was not reported before."""


# Makes the monitor of a run from its recipe and the epochs that a resumed run has done already. For runs in other
# processes it is pickled: a function of a module, or a `functools.partial` of one.
MakeMonitor: TypeAlias = Callable[[ResolvedRecipe, Sequence[EpochMetrics]], Monitor]
