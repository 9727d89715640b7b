"""How many jobs train side by side: cores, memory and what is left over go in, a number comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

BYTES_OF_A_SEED: Final = 1 << 30  # 0.6 GB for the images of MNIST, and some room
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def worker_count(started: int, *, n_jobs: int, cores: int, limit: int) -> int:
    """How many jobs may run at once when `started` of `n_jobs` have begun: one a core, and all that are left at last.

    What a last wave would leave cores idle for joins the wave before it, where no more than `limit` run then. Three
    jobs that take turns on two cores are over after 1.5 times the seconds of one; two and then the third, after 2.

    >>> [worker_count(started, n_jobs=5, cores=2, limit=8) for started in range(5)]
    [2, 2, 2, 3, 3]
    """
    last_wave = cores + n_jobs % cores
    is_last = started > n_jobs - last_wave  # its first job waits for one of the wave before to end
    return last_wave if is_last and last_wave <= limit else cores


def seeds_in_memory() -> int:
    """How many trainings the memory of this machine, or of the container it is, has room for."""
    return usable_memory() // BYTES_OF_A_SEED


def usable_memory(limit_file: Path = CGROUP_LIMIT) -> int:
    """Bytes that all processes here may hold together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = limit_file.read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical  # "max" where there is no limit
