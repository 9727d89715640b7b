"""The machine that figures belong to, and how much of it was free when they were measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

import torch

from flyweight.train import device as devices

SECONDS_LOOKED: Final = 1.0
PROC_STAT: Final = Path("/proc/stat")


def describe_machine() -> dict[str, Any]:
    """The machine and build that the figures belong to."""
    return devices.describe(torch.device("cpu"))


def cores_taken() -> float:
    """How many of the cores that this process may use are kept busy by others, looked at for a second."""
    return lacking(all_cores=os.cpu_count() or 1, busy=_busy_cores(), usable=devices.usable_cores())


def lacking(*, all_cores: int, busy: float, usable: int) -> float:
    """On a large machine others may be busy without being in the way.

    >>> lacking(all_cores=64, busy=40.0, usable=4), lacking(all_cores=2, busy=0.75, usable=2)
    (0.0, 0.75)
    """
    return max(0.0, usable - (all_cores - busy))


def _busy_cores() -> float:
    if not PROC_STAT.exists():
        return os.getloadavg()[0]
    before, began = _busy_seconds(), time.monotonic()
    time.sleep(SECONDS_LOOKED)
    return (_busy_seconds() - before) / (time.monotonic() - began)


def _busy_seconds() -> float:
    """Of all cores since the machine started: user, nice, system, interrupts and what a hypervisor kept."""
    _, user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = PROC_STAT.read_text().splitlines()[0].split()
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")
