"""Several seeds side by side: the same runs as one after the other, in one group."""

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


def test_seeds_side_by_side_are_the_runs_they_would_be_alone(tmp_path, store):
    """Each seed's weights equal those of a run of its own with one thread, and all share a group."""
    recipe, seen = tiny_recipe(tmp_path), list[Event]()

    records = run_seeds(recipe, seeds=[2, 0, 1], store=store, executor=Processes(at_once=2), watch=seen.append)

    assert [record.seed for record in records] == [0, 1, 2]
    assert [record.status for record in records] == ["finished"] * 3
    assert len({record.group_id for record in records}) == 1
    alone = run(recipe, seed=1, store=store)
    assert same(weights(store, alone.id), weights(store, records[1].id))
    assert sum(isinstance(event, EpochDone) for event in seen) == 6
    assert sum(isinstance(event, Ended) for event in seen) == 3


def test_a_stopped_group_goes_on_with_all_that_is_left(tmp_path, store):
    """Stopped runs are saved and resumed, seeds that never began begin, and the end is the same."""
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


def test_runs_that_talk_without_a_pause_still_hear_that_they_should_stop(tmp_path, store):
    """Short epochs tell something all the time; a stop is heard meanwhile, and every run that began is saved."""
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


def test_a_group_that_is_stopped_before_it_begins_has_no_runs(tmp_path, store):
    """Nothing was started, so there is nothing to save, and that is no error."""
    assert run_seeds(tiny_recipe(tmp_path), seeds=[0, 1], store=store, should_stop=lambda: True) == ()


SCRIPT = """
import os, sys
from flyweight.experiment.events import never
from flyweight.execute.process_executor import PRELOAD
from flyweight.execute.processes import Job, make_ready, work_off

def tell_of_this_process(tell, should_stop):
    import torch

    loaded = [name for name in ("flyweight.experiment.run", "torch._dynamo") if name in before]
    tell((loaded, len(os.listdir("/proc/self/task")), torch.cuda.is_initialized()))

before = set(sys.modules)

if __name__ == "__main__":
    make_ready(PRELOAD)
    work_off([Job(name="only", work=tell_of_this_process)], worker_count=lambda _: 1, watch=print, should_stop=never)
"""


@pytest.mark.skipif(METHOD != "forkserver", reason="processes are not forked on this platform")
def test_a_training_begins_with_all_that_it_needs(tmp_path):
    """A process is forked with torch and our engine loaded, with one thread and no GPU in use; the program has none."""
    (tmp_path / "script.py").write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "(['flyweight.experiment.run', 'torch._dynamo'], 1, False)\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_error_in_a_seed_reaches_whoever_started_it(tmp_path, store):
    """What only the seed's own process finds missing comes back as the error it is."""
    with pytest.raises(MissingError, match="--device cuda"):
        run_seeds(tiny_recipe(tmp_path), seeds=[0, 1], store=store, executor=Processes(device="cuda"))

    assert store.runs() == ()


def test_a_group_over_budget_starts_nothing(tmp_path, store):
    """The gate stands before the first process."""
    with pytest.raises(OverBudgetError):
        run_seeds(tiny_recipe(tmp_path, "budget.params=10"), seeds=[0, 1], store=store)

    assert store.runs() == ()
