"""The machine of a benchmark, and how busy it was."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import torch

from flyweight.train import device as devices

SECONDS_MEASURED: Final = 1.0
PROC_STAT: Final = Path("/proc/stat")


def describe_machine() -> dict[str, Any]:
    """Processor, system and versions; with a CUDA GPU, that too."""
    return {**devices.describe(torch.device("cpu")), **({"gpu": _gpu()} if torch.cuda.is_available() else {})}


def _gpu() -> dict[str, Any]:
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory_bytes": found.total_memory,
        "multiprocessors": found.multi_processor_count,
        "cuda": torch.version.cuda,
        "driver": _driver(),
        "kernels": devices.kernels(torch.device("cuda")),
    }


@functools.cache
def _driver() -> str:
    """The version of the GPU's driver, "" if nvidia-smi does not say it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""


def cores_taken() -> float:
    """Cores usable by this process that other programs use, measured for a second."""
    return missing_cores(all_cores=os.cpu_count() or 1, busy=_busy_cores(), usable=devices.usable_cores())


def missing_cores(*, all_cores: int, busy: float, usable: int) -> float:
    """Usable cores that are not free: on a large machine, busy cores need not be missing.

    >>> missing_cores(all_cores=64, busy=40.0, usable=4), missing_cores(all_cores=2, busy=0.75, usable=2)
    (0.0, 0.75)
    """
    return max(0.0, usable - (all_cores - busy))


def _busy_cores() -> float:
    if not PROC_STAT.exists():
        return os.getloadavg()[0]
    before, began = _busy_seconds(), time.monotonic()
    time.sleep(SECONDS_MEASURED)
    return (_busy_seconds() - before) / (time.monotonic() - began)


def _busy_seconds() -> float:
    """Seconds of all cores since the machine started: user, nice, system, interrupts, and taken by a hypervisor."""
    _, user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = PROC_STAT.read_text().splitlines()[0].split()
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")
