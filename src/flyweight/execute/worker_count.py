"""How many jobs run in parallel, from the cores, the memory and the number of remaining jobs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

BYTES_OF_A_SEED: Final = 1 << 30  # 0.6 GB for the images of MNIST, and some room
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def worker_count(started: int, *, n_jobs: int, cores: int, limit: int) -> int:
    """The maximum number of parallel jobs when `started` of `n_jobs` have started: one per core, and more at the end.

    If the last wave would leave cores idle, its jobs join the wave before, unless more than `limit` would run then.
    Three jobs that share two cores take 1.5 times the seconds of one job; two and then the third take 2 times.

    >>> [worker_count(started, n_jobs=5, cores=2, limit=8) for started in range(5)]
    [2, 2, 2, 3, 3]
    """
    last_wave = cores + n_jobs % cores
    is_last = started > n_jobs - last_wave  # its first job waits for one of the wave before
    return last_wave if is_last and last_wave <= limit else cores


def seeds_in_memory() -> int:
    """How many trainings fit into the memory of this machine or container."""
    return usable_memory() // BYTES_OF_A_SEED


def usable_memory(limit_file: Path = CGROUP_LIMIT) -> int:
    """Bytes of memory for all processes together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = limit_file.read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical  # "max" where there is no limit
