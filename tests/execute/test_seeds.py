"""Several seeds in parallel: the same runs as one after the other, in one group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flyweight.errors import MissingError, OverBudgetError
from flyweight.execute.process_executor import Processes
from flyweight.execute.processes import METHOD
from flyweight.execute.seeds import resume_seeds, run_seeds
from flyweight.experiment.events import Ended, EpochDone, Event
from flyweight.experiment.run import run
from flyweight.records.store import Store
from tiny import same, tiny_recipe, weights


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def test_parallel_seeds_equal_single_runs(tmp_path, store):
    """Each seed's weights equal those of a single run with one thread, and all share a group."""
    recipe, seen = tiny_recipe(tmp_path), list[Event]()

    records = run_seeds(recipe, seeds=[2, 0, 1], store=store, executor=Processes(at_once=2), watch=seen.append)

    assert [record.seed for record in records] == [0, 1, 2]
    assert [record.status for record in records] == ["finished"] * 3
    assert len({record.group_id for record in records}) == 1
    alone = run(recipe, seed=1, store=store)
    assert same(weights(store, alone.id), weights(store, records[1].id))
    assert sum(isinstance(event, EpochDone) for event in seen) == 6
    assert sum(isinstance(event, Ended) for event in seen) == 3


def test_a_stopped_group_is_resumed_with_its_missing_seeds(tmp_path, store):
    """Stopped runs are resumed, missing seeds are started, and the weights are those without a stop."""
    recipe = tiny_recipe(tmp_path, "train.epochs=30", "train.keep=last")
    epochs: list[Event] = []

    stopped = run_seeds(
        recipe,
        seeds=range(3),
        store=store,
        executor=Processes(at_once=2),
        watch=lambda event: epochs.append(event) if isinstance(event, EpochDone) else None,
        should_stop=lambda: len(epochs) >= 4,
    )
    assert any(record.status == "interrupted" for record in stopped)
    assert len(stopped) < 3 or any(record.status != "finished" for record in stopped)

    finished = resume_seeds(stopped[0].group_id, store=store)

    assert [(record.seed, record.status) for record in finished] == [(seed, "finished") for seed in range(3)]
    alone = run(recipe, seed=0, store=store)
    assert same(weights(store, alone.id), weights(store, finished[0].id))


def test_runs_with_many_events_can_still_be_stopped(tmp_path, store):
    """Short epochs send events all the time; a stop is still seen, and every started run is saved."""
    seen: list[Event] = []

    records = run_seeds(
        tiny_recipe(tmp_path, "train.epochs=2000"),
        seeds=range(3),
        store=store,
        executor=Processes(at_once=2),
        watch=seen.append,
        should_stop=lambda: len(seen) > 20,
    )

    assert {record.status for record in records} == {"interrupted"}
    assert 1 <= len(records) <= 2


def test_a_group_stopped_before_its_start_has_no_runs(tmp_path, store):
    """Nothing was started, so nothing is saved, without an error."""
    assert run_seeds(tiny_recipe(tmp_path), seeds=[0, 1], store=store, should_stop=lambda: True) == ()


SCRIPT = """
import os, sys
from flyweight.experiment.events import never
from flyweight.execute.process_executor import PRELOAD
from flyweight.execute.processes import Job, make_ready, run_jobs

def report_this_process(send, should_stop):
    import torch

    loaded = [name for name in ("flyweight.experiment.run", "torch") if name in before]
    send((loaded, len(os.listdir("/proc/self/task")), torch.cuda.is_initialized()))

before = set(sys.modules)

if __name__ == "__main__":
    make_ready(PRELOAD)
    run_jobs([Job(name="only", work=report_this_process)], worker_count=lambda _: 1, watch=print, should_stop=never)
"""


@pytest.mark.skipif(METHOD != "forkserver", reason="processes are not forked on this platform")
def test_a_training_starts_with_torch_loaded(tmp_path):
    """Its process has torch and the engine loaded, one thread and no GPU in use; the program itself loads no torch."""
    (tmp_path / "script.py").write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "(['flyweight.experiment.run', 'torch'], 1, False)\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_error_in_a_seed_is_raised_in_the_program(tmp_path, store):
    """An error of the seed's process is raised with its own type and text."""
    with pytest.raises(MissingError, match="--device cuda"):
        run_seeds(tiny_recipe(tmp_path), seeds=[0, 1], store=store, executor=Processes(device="cuda"))

    assert store.runs() == ()


def test_a_group_over_budget_starts_nothing(tmp_path, store):
    """The budget is checked before the first process starts."""
    with pytest.raises(OverBudgetError):
        run_seeds(tiny_recipe(tmp_path, "budget.params=10"), seeds=[0, 1], store=store)

    assert store.runs() == ()
