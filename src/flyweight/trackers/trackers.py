"""The trackers by name; the name is also that of the required package and of the extra."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


# The variables that say where a tracker sends a run; secrets are not among them.
ADDRESS: Final[dict[str, tuple[str, ...]]] = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "tensorboard": (),
    "wandb": ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT"),
}


def address_of(name: str) -> dict[str, str]:
    """Where the environment sends the runs of a tracker: the variables that are set."""
    found = {variable: value for variable in ADDRESS[name] if (value := os.environ.get(variable))}
    path = found.get("MLFLOW_TRACKING_URI", "")
    if path and ":" not in path and path != "databricks":
        found["MLFLOW_TRACKING_URI"] = str(Path(path).absolute())  # it is read in other folders, too
    return found


@contextmanager
def at_address(name: str, address: Mapping[str, str]) -> Iterator[None]:
    """The environment with this address of a tracker instead of its own; for one thread."""
    own = {variable: os.environ.pop(variable, None) for variable in ADDRESS[name]}
    os.environ.update(address)
    try:
        yield
    finally:
        for variable, value in own.items():
            os.environ.pop(variable, None)
            if value is not None:
                os.environ[variable] = value


def where(name: str, address: Mapping[str, str], home: Path) -> str:
    """An address in words, without a password."""
    match name:
        case "mlflow":
            uri = address.get("MLFLOW_TRACKING_URI") or str(home / "trackers" / "mlflow.db")
            return re.sub(r"//[^@/]*@", "//", uri)
        case "wandb" if address.get("WANDB_MODE", "offline") != "offline":
            server = address.get("WANDB_BASE_URL") or "wandb.ai"
            return "/".join([server, *(address[name] for name in ADDRESS["wandb"][2:] if name in address)])
    return str(home / "trackers" / name)


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
