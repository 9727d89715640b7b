"""How many jobs run in parallel: all cores busy, a hard limit, and no core idle at the end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flyweight.execute.worker_count import usable_memory, worker_count

JOBS, CORES = st.integers(1, 40), st.integers(1, 8)


def worked_off(seconds: list[int], *, cores: int, limit: int) -> tuple[list[int], list[int], Fraction]:
    """Simulate jobs of these seconds that share the cores fairly: their order of start, how many ran in parallel at
    each moment, and when all had ended."""
    left: dict[int, Fraction] = {}
    began: list[int] = []
    together: list[int] = []
    now = Fraction(0)
    while left or len(began) < len(seconds):
        while len(began) < len(seconds) and len(left) < worker_count(
            len(began), n_jobs=len(seconds), cores=cores, limit=limit
        ):
            left[len(began)] = Fraction(seconds[len(began)])
            began.append(len(began))
        together.append(len(left))
        speed = min(Fraction(1), Fraction(cores, len(left)))
        shortest = min(left.values())
        now += shortest / speed
        # One ends at a time, as in life: its place is free a moment before those of its equals.
        first = min(left, key=lambda job: left[job])
        left = {job: rest - shortest for job, rest in left.items() if job != first}
    return began, together, now


@given(seconds=st.lists(st.integers(1, 9), min_size=1, max_size=40), cores=CORES, limit=st.integers(0, 20))
def test_every_job_runs_once_and_never_too_many_at_once(seconds, cores, limit):
    """Each job starts once, with at most one per core, or in the last wave at most what memory allows."""
    began, together, _ = worked_off(seconds, cores=cores, limit=limit)

    assert began == list(range(len(seconds)))
    assert max(together) <= max(cores, min(limit, 2 * cores - 1))


@given(n_jobs=JOBS, cores=CORES)
@example(n_jobs=5, cores=2)
def test_equal_jobs_keep_all_cores_busy_to_the_end(n_jobs, cores):
    """Jobs of equal length end after their share of the time of all cores, to the second."""
    _, _, seconds = worked_off([1] * n_jobs, cores=cores, limit=2 * cores)

    assert seconds == max(Fraction(n_jobs, cores), Fraction(1))


@given(n_jobs=JOBS, cores=CORES)
def test_without_spare_memory_the_last_jobs_wait(n_jobs, cores):
    """If memory allows one job per core, there is never more than one per core."""
    _, together, seconds = worked_off([1] * n_jobs, cores=cores, limit=cores)

    assert max(together) <= cores
    assert seconds == -(-n_jobs // cores)


@pytest.mark.parametrize(("text", "is_limited"), [("4096\n", True), ("max\n", False), (None, False)])
def test_memory_is_that_of_the_container(tmp_path: Path, text, is_limited):
    """The limit of a container if there is one, else the memory of the machine."""
    limit = tmp_path / "memory.max"
    if text is not None:
        limit.write_text(text)

    found = usable_memory(limit)

    assert (found == 4096) is is_limited
    assert found > 0
