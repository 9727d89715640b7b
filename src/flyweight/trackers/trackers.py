"""The trackers by name; the name is also that of the required package and of the extra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from flyweight.errors import MissingError, UsageError, nearest
from flyweight.records.record import EpochRecord, RunRecord
from flyweight.trackers.mlflow import MlflowRuns
from flyweight.trackers.tensorboard import TensorBoardFiles
from flyweight.trackers.wandb import WandbRuns


class Tracker(Protocol):
    """A program that shows runs. Used by one thread."""

    def send(self, run: RunRecord, epochs: Sequence[EpochRecord]) -> None:
        """Update the run in the tracker to its record; sending it again changes nothing."""

    def close(self) -> None:
        """Close all open connections and files."""


# Each is created with the home; its files are in the folder `trackers` there.
TRACKERS: Final[dict[str, Callable[[Path], Tracker]]] = {
    "mlflow": MlflowRuns,
    "tensorboard": TensorBoardFiles,
    "wandb": WandbRuns,
}


def require_known(name: str) -> None:
    """Refuse a name that is not in the table."""
    if name not in TRACKERS:
        raise UsageError(f"a tracker must be one of {', '.join(TRACKERS)}, found {name!r}.{nearest(name, TRACKERS)}")


def require_installed(name: str) -> None:
    """Refuse a tracker whose package is missing, without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:  # a folder of that name, as wandb leaves behind, is found but has no origin
        raise MissingError(f"tracking with {name} needs the {name} package: pip install 'flyweight[{name}]'")


def open_tracker(name: str, home: Path) -> Tracker:
    """Open the tracker of this name.

    Raises:
        UsageError: the name is unknown. MissingError: its package is not installed.
    """
    require_known(name)
    require_installed(name)
    return TRACKERS[name](home)
