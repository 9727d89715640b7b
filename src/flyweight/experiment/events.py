"""What a run tells whoever watches it: small values that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flyweight.train.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run has its row and folder. judged_on: the images that its epochs are judged on, as its protocol has it."""

    run_id: str
    seed: int
    name: str
    params: int
    epochs: int
    first_epoch: int = 1
    judged_on: str = "validation"


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """A look at a run in the middle of an epoch; loss and accuracy are the running means over the epoch so far."""

    run_id: str
    seed: int
    epoch: int
    epochs: int
    step: int
    n_steps: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch was measured on the validation images."""

    run_id: str
    seed: int
    epochs: int
    metrics: EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run is over, in whatever way; its folder holds all of it."""

    run_id: str
    seed: int
    status: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The monitor of a run found something while it was under way, or (epoch 0) before its first step.

    code, title and severity are the monitor's words. step: where in the epoch, if it was found in its middle.
    """

    run_id: str
    seed: int
    epoch: int
    code: str
    title: str
    severity: str
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reused:
    """A run on record stands for one that was asked for, though it was computed otherwise than the newest beside it.

    fingerprint: what decides its bits.
    """

    run_id: str
    seed: int
    name: str
    fingerprint: Mapping[str, object]


Event = Started | Stepped | EpochDone | Ended | Found | Reused


def ignore(_event: Event) -> None:
    """Watch nothing."""


def never() -> bool:
    """Nobody asks to stop."""
    return False
