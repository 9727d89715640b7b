"""The default executor: one stacked net on a CUDA GPU if there is one, processes on the cores elsewhere."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from flyweight.errors import require_counts
from flyweight.execute.executor import Executor
from flyweight.execute.process_executor import Processes
from flyweight.execute.request import TrainingJob
from flyweight.execute.stacked_executor import Stacked
from flyweight.experiment.events import Event
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.train.device import DeviceName


@dataclass(frozen=True, kw_only=True)
class Automatic:
    """device: a given one decides. at_once: maximum number of runs that train at the same time."""

    device: DeviceName = "auto"
    at_once: int | None = None

    def __post_init__(self) -> None:
        require_counts(at_once=self.at_once)

    @cached_property
    def chosen(self) -> Executor:
        """The executor that trains; finding a GPU needs torch, but only where there is a driver for one."""
        stacks = self.device in ("auto", "cuda") and has_cuda()
        return (Stacked if stacks else Processes)(device=self.device, at_once=self.at_once)

    def make_ready(self) -> None:
        self.chosen.make_ready()

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.chosen.train(jobs, store=store, watch=watch, should_stop=should_stop)


AUTOMATIC: Final = Automatic()


def has_cuda() -> bool:
    """Whether torch can use a CUDA GPU; without a driver for one, torch is not loaded to find out."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
