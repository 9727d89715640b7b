"""Seeds that train as one stacked net: each is a run of its own on record, as if it had trained alone."""

from __future__ import annotations

import itertools
import shutil
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from flyweight.diagnose.monitor import monitor
from flyweight.errors import DataError, FlyweightError, MissingError, UsageError
from flyweight.experiment import population
from flyweight.experiment.events import (
    Ended,
    EpochDone,
    Event,
    Found,
    StackEpochDone,
    StackStepped,
    Started,
    Stepped,
    ignore,
    never,
)
from flyweight.experiment.plan import resolve
from flyweight.experiment.population import Member, can_stack, run_population
from flyweight.experiment.run import resume, run
from flyweight.model import own_code
from flyweight.model.stacked import Stack
from flyweight.recipe import Recipe, load
from flyweight.records.record import RunRecord
from flyweight.records.results import ReportedFigures
from flyweight.records.store import Store
from flyweight.train import checkpoint, population_loop
from flyweight.train.captured import StackedSteps
from flyweight.train.population import Population
from recorded_graphs import RecordedGraph, install
from tiny import TEST, TRAIN, same, small_recipe, weights

SEEDS = (2, 0, 1)
N_STEPS = 13  # of an epoch
CLOSE = 2e-3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return small_recipe(tmp_path_factory.mktemp("images"), "train.ema=0.9", "train.keep=last")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Runs without an interruption. together: of SEEDS as one stack; alone: of each seed by itself."""

    store: Store
    together: dict[int, RunRecord]
    alone: dict[int, RunRecord]

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        return weights(self.store, self.together[seed].id)

    def weights_alone(self, seed: int) -> dict[str, np.ndarray]:
        return weights(self.store, self.alone[seed].id)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    store = Store.open(home=tmp_path_factory.mktemp("whole"))
    together = trained(recipe, SEEDS, store)
    alone = {seed: run(recipe, seed=seed, store=store, device="cpu") for seed in SEEDS}
    return Whole(store=store, together=together, alone=alone)


def trained(
    recipe: Recipe,
    members: Sequence[Member | int],
    store: Store,
    *,
    watch: Callable[[Event], None] = ignore,
    should_stop: Callable[[], bool] = never,
    at_once: int | None = None,
) -> dict[int, RunRecord]:
    """The newest record of each seed after a population was trained on the CPU."""
    chosen = [Member(seed=one) if isinstance(one, int) else one for one in members]
    run_population(
        resolve(recipe), chosen, store=store, device="cpu", at_once=at_once, watch=watch, should_stop=should_stop
    )
    return {record.seed: record for record in reversed(store.runs(purpose="all"))}


def stop_after(n: int) -> Callable[[], bool]:
    """True from the time on at which every member has done n steps; it is asked once before the first one."""
    asked = itertools.count()
    return lambda: next(asked) >= n


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.linalg.norm(a[name] - b[name]) / max(np.linalg.norm(b[name]), 1e-6)) for name in a)


def test_each_seed_is_a_run_of_its_own_as_if_it_had_trained_alone(recipe, whole):
    """Row, folder, curves, predictions and figures are those of a single run; the test images are opened once."""
    records, store = whole.together, whole.store

    assert sorted(records) == [0, 1, 2]
    for seed, record in records.items():
        alone = whole.alone[seed]
        folder, other = store.folder(record.id), store.folder(alone.id)
        assert (record.status, record.message, record.epochs_done) == ("finished", "", 2)
        assert (record.test_openings, record.best_epoch) == (1, alone.best_epoch)
        assert record.environment["step"] == "eager: not captured on cpu"
        assert record.environment["stacked"] == 3
        assert {path.name for path in folder.path.iterdir()} == {path.name for path in other.path.iterdir()}
        folder.verify()
        assert load(folder.file("recipe")) == recipe
        assert distance(weights(store, record.id), weights(store, alone.id)) < CLOSE
        for name in ("train_loss", "validation_loss", "test_loss", "train_correct", "test_correct"):
            assert getattr(record, name) == pytest.approx(getattr(alone, name), rel=CLOSE), name
        assert (record.train_count, record.validation_count, record.test_count) == (TRAIN - 40, 40, TEST)
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"):
            curves = [[getattr(epoch, name) for epoch in store.epochs(one.id)] for one in (record, alone)]
            assert len(curves[0]) == 2
            assert curves[0] == pytest.approx(curves[1], rel=CLOSE), name
        for part in ("validation", "test"):
            ours, theirs = (one.predictions(part) for one in (folder, other))
            assert np.array_equal(ours.labels, theirs.labels)
            assert np.allclose(ours.probabilities, theirs.probabilities, atol=CLOSE)
        result = folder.result()
        assert (result.run, result.seed, result.test_openings, result.n_stacked) == (record.id, seed, 1, 3)
        assert result.test.correct == record.test_correct == int((ours.predicted == ours.labels).sum())
        assert result.train_seconds == record.train_seconds > 0
        assert not folder.has("checkpoint")


def test_whoever_watches_sees_each_run_and_the_stack(recipe, store, monkeypatch):
    """Every run has a start, epochs and an end of its own; the stack has its steps and epochs, of all seeds."""
    monkeypatch.setattr(population_loop, "SECONDS_BETWEEN_REPORTS", 0.0)
    seen: list[Event] = []

    records = trained(recipe, SEEDS, store, watch=seen.append)

    for seed, record in records.items():
        own = [event for event in seen if getattr(event, "run_id", "") == record.id]
        assert {event.seed for event in own} == {seed}
        kinds = [type(event) for event in own]
        assert kinds[0] is Started
        assert own[0].n_stacked == 3
        assert kinds[-1] is Ended
        assert (kinds.count(Started), kinds.count(EpochDone), kinds.count(Ended)) == (1, 2, 1)
        assert kinds.count(Stepped) >= N_STEPS
    stacked = [event for event in seen if isinstance(event, StackEpochDone)]
    assert [event.seeds for event in stacked] == [SEEDS, SEEDS]
    assert [[metrics.epoch for metrics in event.metrics] for event in stacked] == [[1] * 3, [2] * 3]
    steps = [event for event in seen if isinstance(event, StackStepped)]
    assert len(steps) >= N_STEPS
    assert all(len(event.losses) == len(event.accuracies) == len(event.seeds) == 3 for event in steps)
    done = [(event.epoch, event.step) for event in steps]
    assert done == sorted(done)
    assert all(0 < event.step <= event.n_steps == N_STEPS for event in steps)


@pytest.mark.parametrize("steps", [1, 7, N_STEPS, 20])
def test_stopped_runs_continue_to_the_bits_of_an_uninterrupted_population(recipe, whole, store, steps):
    """A stop within an epoch or at its end saves every run at its step; resumed together, nothing differs."""
    stopped = trained(recipe, SEEDS, store, should_stop=stop_after(steps))
    resumed = trained(recipe, [Member(seed=seed, resumed=stopped[seed].id) for seed in SEEDS], store)

    epoch, step = divmod(steps - 1, N_STEPS)
    assert {one.message for one in stopped.values()} == {f"after epoch {epoch + 1}, step {step + 1}"}
    assert {record.status for record in stopped.values()} == {"interrupted"}
    for seed in SEEDS:
        assert (resumed[seed].id, resumed[seed].status) == (stopped[seed].id, "finished")
        assert same(weights(store, resumed[seed].id), whole.weights(seed))
        assert resumed[seed].test_openings == 1
        for name in ("test_correct", "test_loss", "validation_loss", "train_loss", "best_epoch"):
            assert getattr(resumed[seed], name) == getattr(whole.together[seed], name)


def test_runs_at_different_steps_are_resumed_in_groups(recipe, whole, store):
    """Those at the same step train together; a run that was stopped alone can continue in a stack."""
    seen = list[Event]()
    by_step = {0: 5, 1: 20, 2: 5}
    stopped = {
        seed: run(recipe, seed=seed, store=store, device="cpu", should_stop=stop_after(steps))
        for seed, steps in by_step.items()
    }

    members = [Member(seed=seed, resumed=record.id) for seed, record in stopped.items()]
    records = trained(recipe, [*members, Member(seed=3), Member(seed=4)], store, watch=seen.append)

    sizes = {event.seed: event.n_stacked for event in seen if isinstance(event, Started)}
    assert sizes == {0: 2, 2: 2, 1: 1, 3: 2, 4: 2}
    assert [record.status for record in records.values()] == ["finished"] * 5
    for seed in by_step:
        assert records[seed].id == stopped[seed].id
        assert distance(weights(store, records[seed].id), whole.weights_alone(seed)) < CLOSE


def test_a_run_that_was_stopped_in_a_stack_can_continue_alone(recipe, whole, store):
    """And ends with the weights that it has alone, within rounding."""
    stopped = trained(recipe, SEEDS, store, should_stop=stop_after(8))

    resumed = resume(stopped[1].id, store=store, device="cpu")

    assert (resumed.id, resumed.status) == (stopped[1].id, "finished")
    assert distance(weights(store, resumed.id), whole.weights_alone(1)) < CLOSE


def test_a_run_that_diverges_is_recorded_and_the_others_finish(recipe, whole, store):
    """With the place where it did, without an opening of the test images."""
    stopped = trained(recipe, SEEDS, store, should_stop=stop_after(5))
    _spoil(store, recipe, stopped[0])

    records = trained(recipe, [Member(seed=seed, resumed=stopped[seed].id) for seed in SEEDS], store)

    assert records[0].status == "diverged"
    assert "loss nan at epoch 1, step" in records[0].message
    assert "first seen in conv2" in records[0].message
    assert records[0].test_openings == 0
    result = store.folder(records[0].id).result()
    assert (result.status, result.test) == ("diverged", None)
    store.folder(records[0].id).verify()
    for seed in (1, 2):
        assert same(weights(store, records[seed].id), whole.weights(seed))


def _spoil(store: Store, recipe: Recipe, record: RunRecord) -> None:
    """Give a stopped run weights that are no numbers."""
    from flyweight.experiment.setup import prepare

    work = prepare(recipe, seed=record.seed, device="cpu", threads=1).training
    folder = store.folder(record.id)
    checkpoint.from_bytes(folder.checkpoint(), work)
    with torch.no_grad():
        dict(work.model.named_parameters())["conv2.weight"].fill_(torch.nan)
    folder.write_checkpoint(checkpoint.to_bytes(work))


def test_members_that_end_early_wait_and_are_evaluated_with_the_rest(tmp_path, store):
    """Patience ends each by itself, in the epoch in which it ends alone."""
    recipe = small_recipe(tmp_path, "train.epochs=12", "train.lr=0.5", "train.patience=1")
    seen: list[Event] = []

    records = trained(recipe, range(4), store, watch=seen.append)

    epochs = {seed: record.epochs_done for seed, record in records.items()}
    assert len(set(epochs.values())) > 1
    for seed, record in records.items():
        alone = run(recipe, seed=seed, store=store, device="cpu")
        assert (record.status, record.message) == ("finished", alone.message)
        assert (record.epochs_done, record.test_openings) == (alone.epochs_done, 1)
    last, first = max(epochs.values()), min(epochs.values())
    assert [len(event.seeds) for event in seen if isinstance(event, StackEpochDone)][first - 1 : last] == [
        sum(done >= epoch for done in epochs.values()) for epoch in range(first, last + 1)
    ]


@dataclass
class StopsSeedOne:
    """A monitor that ends seed 1 after its first epoch."""

    reason: str = ""

    def watch(self, event: Event) -> Sequence[Found]:
        if isinstance(event, EpochDone) and event.seed == 1:
            self.reason = "planted"
            return [Found(run_id=event.run_id, seed=1, epoch=1, code="X1", title="planted", severity="error")]
        return []


def test_a_monitor_watches_its_own_run_and_ends_it_alone(recipe, whole, store):
    """Its reason is in the message, the run is saved and can be resumed, and the others finish as without it."""
    seen = list[Event]()

    members = [Member(seed=seed, monitor=lambda _resolved, _history: StopsSeedOne()) for seed in SEEDS]
    records = trained(recipe, members, store, watch=seen.append)

    assert [(event.run_id, event.code) for event in seen if isinstance(event, Found)] == [(records[1].id, "X1")]
    assert (records[1].status, records[1].message) == ("interrupted", "planted; after epoch 2, step 1")
    for seed in (0, 2):
        assert same(weights(store, records[seed].id), whole.weights(seed))
    resumed = trained(recipe, [Member(seed=1, resumed=records[1].id)], store)
    assert distance(weights(store, resumed[1].id), whole.weights(1)) < CLOSE


@pytest.mark.parametrize("rate", ["1e30", "3", "1e-5"])
def test_the_doctor_finds_in_a_population_what_it_finds_alone(tmp_path, store, rate):
    """Of each seed, in the same epoch, with the same end."""
    recipe = small_recipe(tmp_path, f"train.lr={rate}", "train.epochs=4")
    found: dict[str, list[tuple[int, int, str]]] = {"together": [], "alone": []}
    where = "together"

    def watch(event: Event) -> None:
        if isinstance(event, Found):
            found[where].append((event.seed, event.epoch, event.code))

    together = trained(recipe, [Member(seed=seed, monitor=monitor()) for seed in (0, 1)], store, watch=watch)
    where = "alone"
    for seed in (0, 1):
        alone = run(recipe, seed=seed, store=store, device="cpu", monitor=monitor(), watch=watch)
        assert (together[seed].status, together[seed].message) == (alone.status, alone.message)

    assert sorted(found["together"]) == sorted(found["alone"])
    assert found["alone"]


@pytest.mark.parametrize("moment", [Started, EpochDone, StackEpochDone])
def test_a_run_that_fails_is_closed_and_the_others_finish(recipe, whole, store, moment):
    """Its folder is gone: it can be resumed, and the error is raised after the others have ended."""

    def watch(event: Event) -> None:
        if isinstance(event, moment) and getattr(event, "seed", 0) == 0:
            (record,) = (one for one in store.runs() if one.seed == 0)
            path = store.folder(record.id).path
            if path.is_dir():
                shutil.rmtree(path)
                path.touch()

    with pytest.raises(MissingError, match=r"was stopped .* continue with: flyweight train --resume"):
        trained(recipe, SEEDS, store, watch=watch)

    records = {record.seed: record for record in store.runs()}
    assert records[0].status == "interrupted"
    assert "runs" in records[0].message
    for seed in (1, 2):
        assert records[seed].status == "finished"
        assert same(weights(store, records[seed].id), whole.weights(seed))


def test_a_watcher_that_fails_leaves_no_row_open(recipe, store):
    """Every row is closed as failed with its words, and the first error is raised."""

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise RuntimeError("the watcher fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        trained(recipe, SEEDS, store, watch=watch)

    assert [record.status for record in store.runs()] == ["failed"] * 3
    assert all("the watcher fell over" in record.message for record in store.runs())


def test_ctrl_c_closes_every_row_as_interrupted(recipe, store):
    """Nothing is left open, and the runs can be resumed."""

    def watch(event: Event) -> None:
        if isinstance(event, StackEpochDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(recipe, SEEDS, store, watch=watch)

    stopped = {record.seed: record for record in store.runs()}
    assert [record.status for record in stopped.values()] == ["interrupted"] * 3
    members = [Member(seed=seed, resumed=record.id) for seed, record in stopped.items()]
    records = trained(recipe, members, store)
    assert {record.status for record in records.values()} == {"finished"}


def test_a_damaged_checkpoint_stops_its_own_run_alone(recipe, store):
    """The others are resumed and finish; the error is raised after that, and the run can still be mended."""
    stopped = trained(recipe, SEEDS, store, should_stop=stop_after(4))
    path = store.folder(stopped[0].id).file("checkpoint")
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(DataError, match="checkpoint"):
        trained(recipe, [Member(seed=seed, resumed=stopped[seed].id) for seed in SEEDS], store)

    assert {record.seed: record.status for record in store.runs()} == {0: "interrupted", 1: "finished", 2: "finished"}


@pytest.mark.parametrize(
    ("switches", "validated"),
    [
        (("seed_after_split=true", "test_every_epoch=true", "last_batch_loss=true"), "validation"),
        (("evaluate_augmented=true", "shared_transform=training", "loss_divided_twice=true"), "validation"),
        (("shared_transform=evaluation",), "validation"),
        (("evaluate_on=test",), "test"),
        (("evaluate_on=train", "last_batch_loss=true"), "train"),
    ],
)
def test_protocols_report_what_they_report_alone(tmp_path, store, switches, validated):
    """Reported and clean figures, the split of each seed, and how often the test images were opened."""
    overrides = [f"protocol.{switch}" for switch in switches]
    overrides += [] if validated == "validation" else ["data.validation=none"]
    recipe = small_recipe(tmp_path, "train.keep=last", *overrides)

    records = trained(recipe, (0, 1), store)

    splits = set()
    for seed, record in records.items():
        alone = run(recipe, seed=seed, store=store, device="cpu")
        assert (record.status, record.split_hash) == ("finished", alone.split_hash)
        assert record.test_openings == alone.test_openings
        splits.add(record.split_hash)
        ours, theirs = (store.folder(one.id).reported() for one in (record, alone))
        assert len(ours.epochs) == len(theirs.epochs) == 2
        assert ours.class_counts == theirs.class_counts
        for found, expected in zip(ours.epochs, theirs.epochs, strict=True):
            assert found.epoch == expected.epoch
            assert found.train.loss == pytest.approx(expected.train.loss, rel=CLOSE)
            assert found.train.count == expected.train.count
            for part in ("validation", "test"):
                _assert_close(getattr(found, part), getattr(expected, part))
        for name in ("train_loss", "validation_loss", "test_loss"):
            assert getattr(record, name) == pytest.approx(getattr(alone, name), rel=CLOSE), name
    assert len(splits) == (2 if "seed_after_split=true" in switches else 1)


def _assert_close(found: ReportedFigures | None, expected: ReportedFigures | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.loss == pytest.approx(expected.loss, rel=CLOSE)
        assert found.accuracy == pytest.approx(expected.accuracy, abs=0.03)


class SmallMemory:
    """Stacks of more than `fits` members are too large for the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fits: int) -> None:
        self.tried: list[int] = []

        def stack(*args: object, members: int) -> Stack:
            self.tried.append(members)
            made = Stack(*args, members=members)  # type: ignore[arg-type]
            if members > fits:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return made

        monkeypatch.setattr(population, "Stack", stack)


def test_a_stack_that_is_too_large_is_halved_until_it_fits(tmp_path, store, monkeypatch):
    """All runs complete, in chunks; what did not fit is not tried again."""
    recipe, seen = small_recipe(tmp_path, "train.epochs=1"), list[Event]()
    memory = SmallMemory(monkeypatch, fits=2)

    records = trained(recipe, range(7), store, watch=seen.append)

    assert memory.tried == [7, 4, 2, 2, 2, 1]
    assert [event.n_stacked for event in seen if isinstance(event, Started)] == [2, 2, 2, 2, 2, 2, 1]
    assert [record.status for record in records.values()] == ["finished"] * 7
    assert {record.environment["stacked"] for record in records.values()} == {1, 2}
    alone = run(recipe, seed=6, store=store, device="cpu")
    assert distance(weights(store, records[6].id), weights(store, alone.id)) < CLOSE


def test_a_net_that_does_not_fit_alone_is_one_clear_line(tmp_path, store, monkeypatch):
    """It says what helps, and nothing is on record."""
    SmallMemory(monkeypatch, fits=0)

    with pytest.raises(FlyweightError, match=r"needs more memory than the GPU has free .*--device cpu") as error:
        trained(small_recipe(tmp_path), SEEDS, store)

    assert "\n" not in str(error.value)
    assert store.runs() == ()


def test_no_more_members_train_at_once_than_wanted(tmp_path, store):
    """Five in twos; after a stop no more are started."""
    recipe, seen = small_recipe(tmp_path, "train.epochs=1"), list[Event]()

    records = trained(recipe, range(5), store, at_once=2, watch=seen.append)

    assert [event.n_stacked for event in seen if isinstance(event, Started)] == [2, 2, 2, 2, 1]
    assert len(records) == 5
    other = Store.open(home=tmp_path / "other")
    trained(recipe, range(5), other, at_once=2, should_stop=stop_after(4))
    assert [record.status for record in other.runs()] == ["interrupted"] * 2


def test_only_nets_in_the_notation_can_be_stacked(tmp_path, monkeypatch):
    """A module of the user's own cannot."""
    (tmp_path / "own_module_of_a_stack.py").write_text(
        "from torch import nn\n"
        "class Tiny(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(144, 10))\n"
    )
    monkeypatch.chdir(tmp_path)

    assert can_stack(resolve(small_recipe(tmp_path)))
    own_code.trust("own_module_of_a_stack:Tiny")
    assert not can_stack(resolve(small_recipe(tmp_path, "model.net=own_module_of_a_stack:Tiny")))


def test_a_row_that_somebody_else_closed_ends_its_own_run_alone(recipe, whole, store):
    """The epochs of all are logged at once, and one by one where that is refused: the others lose none."""

    def watch(event: Event) -> None:
        if isinstance(event, Started) and event.seed == 0:
            store.finish(event.run_id, "failed", message="closed by hand")

    with pytest.raises(UsageError, match="already failed"):
        trained(recipe, SEEDS, store, watch=watch)

    records = {record.seed: record for record in store.runs()}
    assert (records[0].status, records[0].message) == ("failed", "closed by hand")
    for seed in (1, 2):
        assert records[seed].status == "finished"
        assert len(store.epochs(records[seed].id)) == 2
        assert same(weights(store, records[seed].id), whole.weights(seed))


def test_curves_are_saved_with_the_checkpoint(recipe, store):
    """A stopped run has the file of its finished epochs, one that was stopped in its first epoch has none."""
    early = trained(recipe, (0, 1), store, should_stop=stop_after(3))
    late = trained(recipe, (2, 3), store, should_stop=stop_after(N_STEPS + 3))

    for seed in (0, 1):
        assert not store.folder(early[seed].id).has("history")
    for seed in (2, 3):
        assert [line.epoch for line in store.folder(late[seed].id).history()] == [1]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """As on a GPU: steps are captured in graphs, here recorded ones of the CPU."""

    class Captured(StackedSteps):
        def __init__(self, *args: object, **settings: object) -> None:
            super().__init__(*args, **settings)  # type: ignore[arg-type]
            self.why_eager = ""

    monkeypatch.setattr(population, "StackedSteps", Captured)
    return install(monkeypatch)


def test_captured_runs_have_the_bits_of_uncaptured_ones_and_say_so(recipe, graphs, store, monkeypatch):
    """Through a stop and a resume; the fingerprint tells them apart."""
    captured = trained(recipe, SEEDS, store, should_stop=stop_after(17))
    assert len(graphs) == 2
    captured = trained(recipe, [Member(seed=seed, resumed=captured[seed].id) for seed in SEEDS], store)
    assert len(graphs) == 4
    monkeypatch.setattr(population, "StackedSteps", StackedSteps)
    other = Store.open(home=store.home.parent / "other")
    eager = trained(recipe, SEEDS, other)

    assert {record.environment["step"] for record in captured.values()} == {"captured"}
    assert {record.environment["step"] for record in eager.values()} == {"eager: not captured on cpu"}
    for seed in SEEDS:
        assert captured[seed].status == "finished"
        assert same(weights(store, captured[seed].id), weights(other, eager[seed].id))
        assert captured[seed].test_loss == eager[seed].test_loss


def test_a_capture_that_is_refused_is_on_record(recipe, graphs, store, monkeypatch):
    """With the reason, and the runs finish."""

    def refuse(*_args: object, **_settings: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)

    records = trained(recipe, SEEDS, store)

    expected = "eager: capture refused: operation not permitted when stream is capturing"
    assert [(record.status, record.environment["step"]) for record in records.values()] == [("finished", expected)] * 3


def test_too_little_memory_in_a_capture_halves_the_stack_without_a_trace(recipe, graphs, store, monkeypatch):
    """Warm-up steps of the larger stack change nothing: the smaller one begins as if it had been tried first."""
    sizes: list[int] = []

    class SmallStack(Stack):
        def forward(self, *args: object) -> torch.Tensor:
            sizes.append(self.members)
            if self.members > 2 and sizes.count(self.members) == 3:  # in the last step that warms up
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(population, "Stack", SmallStack)
    records = trained(recipe, (0, 1, 2, 3), store)
    monkeypatch.setattr(population, "Stack", Stack)
    other = Store.open(home=store.home.parent / "other")
    first = trained(recipe, (0, 1), other)

    assert {record.environment["stacked"] for record in records.values()} == {2}
    assert [record.status for record in records.values()] == ["finished"] * 4
    for seed in (0, 1):
        assert same(weights(store, records[seed].id), weights(other, first[seed].id))


@pytest.mark.parametrize("fails", [False, True])
def test_a_chunk_leaves_its_memory_to_the_next(recipe, store, monkeypatch, fails):
    """Also after an error, whose traceback refers to it: nothing of a chunk is alive when the next is tried."""
    before: list[weakref.ref[object]] = []
    alive: list[int] = []

    class Watched(StackedSteps):
        def __init__(self, made: Population, *args: object, **settings: object) -> None:
            alive.append(sum(one() is not None for one in before))
            super().__init__(made, *args, **settings)  # type: ignore[arg-type]
            before.extend(weakref.ref(one) for one in (self, made, made.stack))

    def watch(event: Event) -> None:
        if fails and isinstance(event, EpochDone) and event.seed in (0, 2):
            raise RuntimeError("no room")

    monkeypatch.setattr(population, "StackedSteps", Watched)
    try:
        records = trained(recipe, range(6), store, at_once=2, watch=watch)
    except RuntimeError:
        records = {record.seed: record for record in store.runs()}

    assert alive == [0, 0, 0]
    failed = {0, 2} if fails else set()
    assert {seed for seed, record in records.items() if record.status == "failed"} == failed
    assert {seed for seed, record in records.items() if record.status == "finished"} == set(range(6)) - failed
