"""The steps of a population: nothing comes from the host, captured ones equal uncaptured ones, and time can be turned
back within an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from made_population import (
    IMAGE,
    N_STEPS,
    NET,
    OPTIMIZERS,
    Made,
    alone,
    distance,
    images_of,
    same,
    settings,
    stop_after,
    together,
    weights,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flyweight.data.augment import Augmentation
from flyweight.data.stacked_batches import StackedBatches
from flyweight.model.build import build
from flyweight.model.stacked import Stack
from flyweight.train.captured import WARM_UP_STEPS, StackedSteps
from flyweight.train.device import to_device
from flyweight.train.epoch import plan_epoch
from flyweight.train.loss import CrossEntropy
from flyweight.train.population import Population
from flyweight.train.training import Training, start
from recorded_graphs import RecordedGraph, install

RICH = "c3p1nb +(c3p1nb bn leaky) r m2 2@(c3p1 bn gelu do.1) gmp unused(c1/1) flat fc6 bn r do.2 fc3 ls"
AFFINE = {"rotate": 9.0, "translate": 0.1, "scale": 0.1, "shear": 5.0}
AUGMENTATIONS = {
    "none": Augmentation(),
    "affine": Augmentation(**AFFINE),
    "whole pixels": Augmentation(translate=0.1, whole_pixels=True),
    "nearest": Augmentation(**AFFINE, interpolation="nearest"),
    "some": Augmentation(**AFFINE, probability=0.5),
    "elastic": Augmentation(elastic=1.0, elastic_smoothness=1.5),
    "some elastic": Augmentation(rotate=5.0, elastic=1.0, elastic_smoothness=1.5, probability=0.5),
    "filled": Augmentation(**AFFINE, fill=(30.0,)),
    "nearest, filled": Augmentation(**AFFINE, interpolation="nearest", fill=(30.0,)),
    "flip": Augmentation(flip_probability=0.5),
    "brightness": Augmentation(brightness=0.4),
    "crop": Augmentation(crop_size=9, crop_probability=0.5),
    "erase": Augmentation(erase_probability=0.5, erase_size=0.3),
    "all": Augmentation(
        **AFFINE,
        elastic_smoothness=1.5,
        elastic=0.7,
        probability=0.6,
        crop_size=9,
        crop_probability=0.4,
        erase_probability=0.3,
        flip_probability=0.5,
        brightness=0.3,
        fill=(30.0,),
    ),
}
RANDOM = ("bernoulli", "rand", "normal", "uniform", "dropout", "multinomial", "exponential", "random_")
WAITS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "is_nonzero", "equal.default", "lift")


class Watched(TorchDispatchMode):
    """Remembers the operations within, and on which devices their tensors are."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.names.append(str(function))
        self.devices |= {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
        return result


class PlainMomentum(torch.optim.Optimizer):
    """For the meta device, which torch's fused optimizers do not know."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), {"lr": 0.1})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                    parameter.sub_(buffer.mul_(0.9).add_(parameter.grad) * group["lr"])


def without_values(net: str, augmentation: Augmentation, *, ema: float) -> StackedSteps:
    """The steps of two seeds on the meta device, where tensors have no values: reading one is an error."""
    images, labels = (tensor.to("meta") for tensor in images_of())
    made = Made(net=net, augmentation=augmentation, images=(images, labels))

    def training() -> Training:
        model = to_device(build(net, IMAGE), torch.device("meta"))
        work = start(model, PlainMomentum(model), ema=ema)
        if work.average is not None:
            work.average.to("meta")
        return work

    population = Population([training(), training()], Stack(net, IMAGE, members=2), PlainMomentum, ema=ema)
    batches = StackedBatches([made.batches(seed) for seed in (0, 1)])
    batches.load(1)
    return StackedSteps(population, batches, loss=CrossEntropy(label_smoothing=0.1), precision="float32")


@pytest.mark.parametrize("net", [NET, RICH])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_a_step_takes_nothing_from_the_host(augmentation, net, monkeypatch):
    """No value is read, no tensor comes from the CPU, and no generator of random numbers is asked."""
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_settings: nullcontext())  # unknown on this device
    steps = without_values(net, augmentation, ema=0.9)

    with Watched() as watched:
        steps._compute(16)
        steps._compute(10)

    assert watched.devices == {"meta"}
    assert len(watched.names) > 200
    assert [name for name in watched.names if any(word in name for word in (*RANDOM, *WAITS))] == []


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_a_step_on_real_tensors_waits_for_nothing(augmentation, monkeypatch):
    """The same with values, and with torch's own optimizer."""
    monkeypatch.setattr("flyweight.data.stacked_batches.draws_field_on_cpu", lambda *_: False)
    made = Made(augmentation=augmentation, ema=0.9)
    steps = made.steps((0, 1))
    begun(steps)

    with Watched() as watched:
        steps.take(0)

    assert len(watched.names) > 100
    assert any("_fused_sgd_" in name for name in watched.names)
    assert [name for name in watched.names if any(word in name for word in (*RANDOM, *WAITS))] == []


def begun(steps: StackedSteps, *, step: int = 0) -> StackedSteps:
    chosen = settings()
    steps.population.stack.train()
    plans = [plan_epoch(one, 1, epochs=chosen.epochs, lr=chosen.lr) for one in steps.batches.batches]
    steps.begin(plans, epoch=1, step=step)
    return steps


def state_of(steps: StackedSteps) -> list[Tensor]:
    return [tensor.clone() for tensor in steps._state()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_time_can_be_turned_back_to_any_step(optimizer, first):
    """The state before each step of an epoch comes back with its batch, and after that the state of the end."""
    made = Made(optimizer=OPTIMIZERS[optimizer], ema=0.9)
    steps = begun(made.steps((0, 1, 2)), step=first)
    states, batches = [], []
    for step in range(first, N_STEPS):
        states.append(state_of(steps))
        batches.append(steps.batches.batch(torch.tensor([step]), steps.batches.size_of(step)))
        steps.take(step)
    end = state_of(steps)

    for number, step in enumerate(range(first, N_STEPS)):
        with steps.rewound(step) as batch:
            assert equal(state_of(steps), states[number])
            assert torch.equal(batch.images, batches[number].images)
            assert torch.equal(batch.rows, batches[number].rows)
        assert equal(state_of(steps), end)

    assert len(states) == N_STEPS - first


def test_an_epoch_gives_the_same_bits_again():
    """From the same state, and also after the epoch was started again."""
    made = Made(augmentation=AUGMENTATIONS["all"], ema=0.9)
    steps = begun(made.steps((0, 1)))
    start_state = state_of(steps)
    for step in range(N_STEPS):
        steps.take(step)
    end = state_of(steps)

    with torch.no_grad():
        for tensor, value in zip(steps._state(), start_state, strict=True):
            tensor.copy_(value)
    begun(steps)
    for step in range(N_STEPS):
        steps.take(step)

    assert equal(state_of(steps), end)


@pytest.fixture
def graphs(monkeypatch) -> list[RecordedGraph]:
    return install(monkeypatch)


def captured(made: Made, seeds: Sequence[int] = (0, 1), **more: object) -> StackedSteps:
    steps = made.steps(seeds, **more)  # type: ignore[arg-type]
    steps.why_eager = ""
    return steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_captured_steps_equal_uncaptured_ones(optimizer, ema, graphs, monkeypatch):
    """Two graphs, of whole and of smaller batches, are replayed for a whole training: the bits are the same."""
    monkeypatch.setattr("flyweight.data.stacked_batches.draws_field_on_cpu", lambda *_: False)
    made = Made(optimizer=OPTIMIZERS[optimizer], ema=ema, augmentation=AUGMENTATIONS["some elastic"])
    eager, replayed = made.steps((0, 1)), captured(made)

    expected, found = (together(steps, settings()) for steps in (eager, replayed))

    assert found == expected
    assert [graph.replays for graph in graphs] in ([15, 3], [3, 15])
    assert replayed.why_eager == ""
    for ours, theirs in zip(replayed.population.trainings, eager.population.trainings, strict=True):
        assert same(weights(ours), weights(theirs))
        assert [line.train_loss for line in ours.history] == [line.train_loss for line in theirs.history]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_captured_steps_continue_when_members_end(optimizer, graphs):
    """One is stopped in mid-epoch and one diverges: the others and the message are those of uncaptured steps."""
    made = Made(optimizer=OPTIMIZERS[optimizer], ema=0.9)
    works = [[made.training(seed) for seed in range(4)] for _ in range(2)]
    for first, *_ in works:
        with torch.no_grad():
            dict(first.model.named_parameters())["bn1.weight"].fill_(3e38)
    eager, replayed = made.steps(range(4), works[0]), captured(made, range(4), trainings=works[1])

    expected, found = (
        together(steps, settings(), should_stop=stop_after(N_STEPS + 2, 1)) for steps in (eager, replayed)
    )

    assert found == expected
    assert [(number, outcome.status) for number, outcome in found.items()] == [
        (0, "diverged"),
        (1, "interrupted"),
        (2, "finished"),
        (3, "finished"),
    ]
    assert len(graphs) == 2
    for ours, theirs in zip(works[1][1:], works[0][1:], strict=True):
        assert same(weights(ours), weights(theirs))
        kept = [
            [training.optimizer.state[one].keys() for one in training.model.parameters()] for training in (ours, theirs)
        ]
        assert kept[0] == kept[1]
        assert all(kept[0])


def test_a_capture_leaves_no_trace(graphs):
    """Warm-up steps and the capture itself change no weight, statistic, average or counter."""
    made = Made(ema=0.9)
    steps = begun(captured(made))
    before = state_of(steps)

    steps.capture()

    assert equal(state_of(steps), before)
    assert len(graphs) == 2
    assert [graph.shares for graph in graphs] == [None, graphs[0].pool()]
    assert steps.capture_seconds > 0


@pytest.mark.parametrize("first", [N_STEPS - 1, N_STEPS])
def test_a_training_that_is_near_the_end_of_an_epoch_can_be_captured(first, graphs):
    """No step that is captured reads beyond the images of the epoch."""
    made = Made()
    whole, stopped = made.training(0), made.training(0)
    alone(made, 0, settings(), whole)
    asked = iter(range(1, 10**9))
    alone(made, 0, settings(), stopped, should_stop=lambda: next(asked) == first)
    assert (stopped.epoch, stopped.step) == (1, first)

    steps = captured(made, (0,), trainings=[stopped])
    ended = together(steps, settings())

    assert ended[0].status == "finished"
    assert len(graphs) == 2
    assert distance(weights(stopped), weights(whole)) < 1e-4


def test_a_refused_capture_is_recorded_and_the_steps_continue(graphs, monkeypatch):
    """The reason is one line; the result is that of a training that was never captured."""

    def refuse(*_args: object, **_settings: object) -> None:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    made = Made()
    expected = made.steps((0, 1))
    together(expected, settings())
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    steps = captured(made)

    ended = together(steps, settings())

    assert steps.why_eager == "capture refused: operation not permitted"
    assert {outcome.status for outcome in ended.values()} == {"finished"}
    for ours, theirs in zip(steps.population.trainings, expected.population.trainings, strict=True):
        assert same(weights(ours), weights(theirs))


def test_too_little_memory_in_a_capture_leaves_no_trace(graphs, monkeypatch):
    """The error is raised, and the trainings are as they were: a smaller stack begins with the same weights."""
    made = Made(ema=0.9)
    steps = begun(captured(made))
    before, calls = state_of(steps), []
    argmax = Tensor.argmax

    def too_large(self: Tensor, *args: Any) -> Tensor:
        calls.append(1)
        if len(calls) == WARM_UP_STEPS:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return argmax(self, *args)

    monkeypatch.setattr(Tensor, "argmax", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        steps.capture()

    assert equal(state_of(steps), before)


class Kernels:
    """Kernels of a GPU, as far as their check goes. wrong: by how much their gradients are wrong, or an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wrong: float | Exception) -> None:
        self.given_up, self.is_off = "", False
        gradients = StackedSteps._gradients

        def computed(steps: StackedSteps) -> Tensor:
            found = gradients(steps)
            steps._compute(steps.batches.size_of(0))  # a trace that must not stay
            if self.is_off:
                return found
            if isinstance(wrong, Exception):
                raise wrong
            return found * (1 + wrong)

        monkeypatch.setattr(StackedSteps, "_gradients", computed)
        monkeypatch.setattr("flyweight.train.captured.stacked", self)

    def why_unusable(self, _device: torch.device) -> str:
        return self.given_up

    def give_up(self, reason: str) -> None:
        self.given_up = reason

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        self.is_off = True
        yield
        self.is_off = False


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (0.02, ""),
        (0.3, "the Triton kernels differ from torch by 30.0% on this machine"),
        (math.nan, "the Triton kernels differ from torch by nan% on this machine"),
        (RuntimeError("no ptxas\nfor sm_75"), "the Triton kernels do not run on this machine: no ptxas"),
    ],
)
@pytest.mark.parametrize("done", [0, N_STEPS])
def test_kernels_that_fail_or_disagree_are_given_up(wrong, reason, done, monkeypatch):
    """With one line that says why; the comparison leaves no trace, wherever in an epoch the trainings are."""
    kernels, made = Kernels(monkeypatch, wrong), Made(ema=0.9)
    steps = begun(made.steps((0, 1)), step=done)
    before = state_of(steps)

    steps.capture()

    assert kernels.given_up == reason
    assert equal(state_of(steps), before)


def test_too_little_memory_is_no_fault_of_the_kernels(monkeypatch):
    """It is raised, so that a smaller stack is tried with them."""
    kernels = Kernels(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    steps = begun(Made().steps((0, 1)))
    before = state_of(steps)

    with pytest.raises(torch.OutOfMemoryError):
        steps.capture()

    assert kernels.given_up == ""
    assert equal(state_of(steps), before)
