"""Requests in, records out: a run on record is not trained again, and an executor computes the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flyweight.errors import OverBudgetError
from flyweight.execute.execution import execute
from flyweight.execute.on_record import look_up
from flyweight.execute.request import TrainingJob, TrainingRequest
from flyweight.experiment.events import Event, Reused
from flyweight.experiment.run import resume, run
from flyweight.recipe import Recipe
from flyweight.records.store import Store
from tiny import tiny_recipe


@dataclass
class OneByOne:
    """An executor that computes in this process and remembers its jobs."""

    jobs: list[tuple[str, int, str | None]] = field(default_factory=list)

    def make_ready(self) -> None:
        """Nothing has to be loaded."""

    def train(
        self,
        jobs: Sequence[TrainingJob],
        *,
        store: Store,
        watch: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        for job in jobs:
            recipe = job.request.recipe
            assert isinstance(recipe, Recipe)
            self.jobs.append((recipe.name, job.seed, job.resumed))
            if job.resumed:
                resume(job.resumed, store=store, watch=watch, should_stop=should_stop)
            else:
                about = {"group_id": job.group_id, "group_seeds": job.request.seeds, "purpose": job.request.purpose}
                run(recipe, seed=job.seed, store=store, watch=watch, should_stop=should_stop, **about)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def test_only_what_is_not_on_record_is_trained(tmp_path, store):
    """One seed is reused, one resumed, one started; records come in the order of the seeds, and then none remains."""
    recipe = tiny_recipe(tmp_path)
    known, stopped = run(recipe, seed=4, store=store), run(recipe, seed=2, store=store, should_stop=lambda: True)
    executor, request = OneByOne(), TrainingRequest(recipe=recipe, seeds=(4, 0, 2))

    (found,) = execute([request], store=store, executor=executor)
    (again,) = execute([request], store=store, executor=executor)

    assert executor.jobs == [("tiny", 2, stopped.id), ("tiny", 0, None)]
    assert [(one.seed, one.status) for one in found.records] == [(4, "finished"), (0, "finished"), (2, "finished")]
    assert (found.records[0].id, found.records[2].id) == (known.id, stopped.id)
    assert found.is_complete
    assert again.records == found.records


def test_a_stopped_request_is_not_complete(tmp_path, store):
    """A started seed is among the records."""
    (found,) = execute(
        [TrainingRequest(recipe=tiny_recipe(tmp_path), seeds=(0,))],
        store=store,
        executor=OneByOne(),
        should_stop=lambda: True,
    )

    assert [one.status for one in found.records] == ["interrupted"]
    assert not found.is_complete


def test_the_seeds_of_several_recipes_take_turns_with_their_purpose(tmp_path, store):
    """No recipe waits for all runs of another, and each run is recorded with the purpose of its request."""
    first = TrainingRequest(recipe=tiny_recipe(tmp_path), seeds=(0, 1), purpose="reproduction")
    second = TrainingRequest(recipe=tiny_recipe(tmp_path, "train.lr=0.01", 'name="other"'), seeds=(0,), purpose="trial")
    executor = OneByOne()

    execute([first, second], store=store, executor=executor)

    assert [job[:2] for job in executor.jobs] == [("tiny", 0), ("other", 0), ("tiny", 1)]
    assert [run.purpose for run in reversed(store.runs(purpose="all"))] == ["reproduction", "trial", "reproduction"]


def test_retrain_trains_seeds_that_are_on_record(tmp_path, store):
    """So does every seed of a certification."""
    recipe = tiny_recipe(tmp_path)
    known = run(recipe, seed=0, store=store)

    (retrained,) = execute([TrainingRequest(recipe=recipe, seeds=(0,), retrain=True)], store=store, executor=OneByOne())
    (found,) = look_up([TrainingRequest(recipe=recipe, seeds=(0,), purpose="certification")], store)

    assert retrained.records[0].id != known.id
    assert found.new_seeds == (0,)


def test_a_run_on_other_images_is_not_reused(tmp_path, store):
    """A file that has changed since is another set, even under the same name."""
    recipe = tiny_recipe(tmp_path)
    run(recipe, seed=0, store=store)
    request = TrainingRequest(recipe=recipe, seeds=(0,))
    assert look_up([request], store)[0].new_seeds == ()

    data = Path(recipe.data.name)
    data.write_bytes(_with_one_pixel_changed(data))

    assert look_up([request], store)[0].new_seeds == (0,)


def test_a_run_of_another_fingerprint_is_reused_and_named(tmp_path, store, monkeypatch):
    """The run is used for its seed, and `watch` gets one event about it."""
    recipe, seen = tiny_recipe(tmp_path), list[Event]()
    known = run(recipe, seed=0, store=store, threads=2)

    (found,) = execute(
        [TrainingRequest(recipe=recipe, seeds=(0, 1))], store=store, executor=OneByOne(), watch=seen.append
    )

    assert [one.id for one in found.other_fingerprint] == [known.id]
    (reused,) = (event for event in seen if isinstance(event, Reused))
    assert (reused.run_id, reused.seed, reused.fingerprint["threads"]) == (known.id, 0, 2)


def test_nothing_starts_if_one_request_is_over_budget(tmp_path, store):
    """All are planned before the first is trained."""
    fits, expensive = tiny_recipe(tmp_path), tiny_recipe(tmp_path, "budget.params=10")
    executor = OneByOne()

    with pytest.raises(OverBudgetError):
        execute([TrainingRequest(recipe=one, seeds=(0,)) for one in (fits, expensive)], store=store, executor=executor)

    assert executor.jobs == []


def _with_one_pixel_changed(path: Path) -> bytes:
    import io

    import numpy as np

    with np.load(path) as arrays:
        changed = {name: arrays[name].copy() for name in arrays}
    changed["x_train"][0, 0, 0] ^= 1
    buffer = io.BytesIO()
    np.savez(buffer, **changed)
    return buffer.getvalue()
