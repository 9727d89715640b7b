"""The events of a run, which `watch` gets: small values that can be sent between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flyweight.train.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run has its row and folder. judged_on: the split that its epochs are evaluated on.

    n_stacked: how many runs train as one stacked net, itself included; `StackEpochDone` has the epochs of all of them.
    began_with: for a resumed run, what decides its bits and was otherwise when it started (kernels, precision).
    """

    run_id: str
    seed: int
    name: str
    params: int
    epochs: int
    first_epoch: int = 1
    judged_on: str = "validation"
    n_stacked: int = 1
    began_with: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """A step within an epoch; loss and accuracy are running means of the epoch so far."""

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
    """An epoch has ended and was evaluated on the validation images."""

    run_id: str
    seed: int
    epochs: int
    metrics: EpochMetrics


@dataclass(frozen=True, kw_only=True)
class StackStepped:
    """A step of several runs that train as one stacked net; losses and accuracies: running means of each run."""

    seeds: tuple[int, ...]
    epoch: int
    epochs: int
    step: int
    n_steps: int
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class StackEpochDone:
    """An epoch of several runs that train as one stacked net has ended; metrics: of each run, all of the same epoch."""

    seeds: tuple[int, ...]
    epochs: int
    judged_on: str
    metrics: tuple[EpochMetrics, ...]


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The training is over; its kept net is evaluated on the images of a part: "training", "validation" or "test"."""

    run_id: str
    seed: int
    epochs: int
    part: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run has ended or was stopped; its folder is complete."""

    run_id: str
    seed: int
    status: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The monitor of a run has a finding, from the run or (epoch 0) from before its first step.

    code, title and severity are set by the monitor. step: the step of the epoch, if it was found within one.
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
    """A run on record was used for a request although its fingerprint is not that of the newest run.

    fingerprint: what decides the bits of its weights.
    """

    run_id: str
    seed: int
    name: str
    fingerprint: Mapping[str, object]


Event = Started | Stepped | EpochDone | StackStepped | StackEpochDone | Measuring | Ended | Found | Reused


def ignore(_event: object) -> None:
    """Do nothing: the default for `watch`."""


def never() -> bool:
    """False: the default for `should_stop`."""
    return False
