"""Requests in, records out: what is on record is not trained again, and who computes is up to an executor."""

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
from flyweight.records.store import Store
from tiny import tiny_recipe


@dataclass
class OneByOne:
    """An executor that computes in this process, and remembers what it was asked for."""

    asked: list[tuple[str, int, str | None]] = field(default_factory=list)

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
            self.asked.append((job.recipe.name, job.seed, job.resumed))
            if job.resumed:
                resume(job.resumed, store=store, watch=watch, should_stop=should_stop)
            else:
                about = {"group_id": job.group_id, "group_seeds": job.group_seeds, "purpose": job.purpose}
                run(job.recipe, seed=job.seed, store=store, watch=watch, should_stop=should_stop, **about)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


def test_only_what_is_not_on_record_is_trained(tmp_path, store):
    """One seed stands, one goes on, one begins; records come in the order of the seeds, and then nothing is left."""
    recipe = tiny_recipe(tmp_path)
    known, stopped = run(recipe, seed=4, store=store), run(recipe, seed=2, store=store, should_stop=lambda: True)
    executor, request = OneByOne(), TrainingRequest(recipe=recipe, seeds=(4, 0, 2))

    (found,) = execute([request], store=store, executor=executor)
    (again,) = execute([request], store=store, executor=executor)

    assert executor.asked == [("tiny", 2, stopped.id), ("tiny", 0, None)]
    assert [(one.seed, one.status) for one in found.records] == [(4, "finished"), (0, "finished"), (2, "finished")]
    assert (found.records[0].id, found.records[2].id) == (known.id, stopped.id)
    assert found.is_whole
    assert again.records == found.records


def test_a_request_that_was_stopped_is_not_whole(tmp_path, store):
    """What began is among the records."""
    (found,) = execute(
        [TrainingRequest(recipe=tiny_recipe(tmp_path), seeds=(0,))],
        store=store,
        executor=OneByOne(),
        should_stop=lambda: True,
    )

    assert [one.status for one in found.records] == ["interrupted"]
    assert not found.over
    assert not found.is_whole


def test_the_seeds_of_several_recipes_take_turns_with_their_purpose(tmp_path, store):
    """No recipe waits for all of another, and each run is recorded for what it was asked for."""
    first = TrainingRequest(recipe=tiny_recipe(tmp_path), seeds=(0, 1), purpose="reproduction")
    second = TrainingRequest(recipe=tiny_recipe(tmp_path, "train.lr=0.01", 'name="other"'), seeds=(0,), purpose="trial")
    executor = OneByOne()

    execute([first, second], store=store, executor=executor)

    assert [job[:2] for job in executor.asked] == [("tiny", 0), ("other", 0), ("tiny", 1)]
    assert [run.purpose for run in reversed(store.runs(purpose="all"))] == ["reproduction", "trial", "reproduction"]


def test_what_is_asked_anew_is_trained_whatever_is_on_record(tmp_path, store):
    """Seeds that a person trains are trained; so is every seed of a certification."""
    recipe = tiny_recipe(tmp_path)
    known = run(recipe, seed=0, store=store)

    (anew,) = execute([TrainingRequest(recipe=recipe, seeds=(0,), is_anew=True)], store=store, executor=OneByOne())
    (found,) = look_up([TrainingRequest(recipe=recipe, seeds=(0,), purpose="certification")], store)

    assert anew.records[0].id != known.id
    assert found.fresh == (0,)


def test_other_images_or_another_recipe_do_not_stand(tmp_path, store):
    """A file that was changed since is another set, though it has the same name."""
    recipe = tiny_recipe(tmp_path)
    run(recipe, seed=0, store=store)
    request = TrainingRequest(recipe=recipe, seeds=(0,))
    assert look_up([request], store)[0].fresh == ()

    data = Path(recipe.data.name)
    data.write_bytes(_with_one_pixel_changed(data))

    assert look_up([request], store)[0].fresh == (0,)


def test_a_run_of_another_fingerprint_is_reused_and_named(tmp_path, store, monkeypatch):
    """It stands for the seed, and whoever watches is told of it, once."""
    recipe, seen = tiny_recipe(tmp_path), list[Event]()
    known = run(recipe, seed=0, store=store, threads=2)

    (found,) = execute(
        [TrainingRequest(recipe=recipe, seeds=(0, 1))], store=store, executor=OneByOne(), watch=seen.append
    )

    assert [one.id for one in found.elsewhere] == [known.id]
    (reused,) = (event for event in seen if isinstance(event, Reused))
    assert (reused.run_id, reused.seed, reused.fingerprint["threads"]) == (known.id, 0, 2)


def test_nothing_begins_where_one_request_is_over_budget(tmp_path, store):
    """All are planned before the first is trained."""
    fits, too_dear = tiny_recipe(tmp_path), tiny_recipe(tmp_path, "budget.params=10")
    executor = OneByOne()

    with pytest.raises(OverBudgetError):
        execute([TrainingRequest(recipe=one, seeds=(0,)) for one in (fits, too_dear)], store=store, executor=executor)

    assert executor.asked == []


def _with_one_pixel_changed(path: Path) -> bytes:
    import io

    import numpy as np

    with np.load(path) as arrays:
        changed = {name: arrays[name].copy() for name in arrays}
    changed["x_train"][0, 0, 0] ^= 1
    buffer = io.BytesIO()
    np.savez(buffer, **changed)
    return buffer.getvalue()
