"""The interface of a monitor, which checks a run while it trains, reports findings and may give a reason to end it.

A monitor does not change the training: the weights are equal to the bit with and without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from flyweight.experiment.events import Event, Found
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.train.metrics import EpochMetrics


class Monitor(Protocol):
    """Checks one run. reason: why the run should end, else empty."""

    reason: str

    def watch(self, event: Event) -> Sequence[Found]:
        """New findings from an event."""


# Makes the monitor of a run from its recipe and the epochs that a resumed run has done already. For runs in other
# processes it is pickled: a function of a module, or a `functools.partial` of one.
MakeMonitor: TypeAlias = Callable[[ResolvedRecipe, Sequence[EpochMetrics]], Monitor]
