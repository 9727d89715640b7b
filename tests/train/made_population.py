"""Small populations for tests: S seeds of a net without ties, so that rounding alone makes stacked and alone differ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches
from flyweight.data.stacked_batches import StackedBatches
from flyweight.model.build import build
from flyweight.model.stacked import Stack
from flyweight.train.captured import StackedSteps
from flyweight.train.device import to_device
from flyweight.train.evaluate import Evaluation, evaluate, evaluate_stack
from flyweight.train.loop import fit
from flyweight.train.loss import CrossEntropy
from flyweight.train.optim import OptimizerSettings, optimizer_for
from flyweight.train.outcome import Outcome
from flyweight.train.population import Population
from flyweight.train.population_loop import PopulationCalls, fit_population
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training, start

NET = "c4p1nb bn silu do.2 a2 c6 silu sdo.1 bn gap flat fc3"
IMAGE = (1, 12, 12)
STATISTICS = {"mean": (0.4,), "std": (0.3,)}
N_IMAGES, BATCH = 90, 16
N_STEPS = 6  # the last batch has 10 images

SGD = OptimizerSettings(name="sgd", lr=0.1, nesterov=True, weight_decay=1e-3, weight_decay_on="weights")
OPTIMIZERS = {
    "sgd": SGD,
    "sgd without momentum": OptimizerSettings(name="sgd", lr=0.1, momentum=0.0, weight_decay=1e-3),
    "adam": OptimizerSettings(name="adam", lr=0.1, beta2=0.99),
    "adamw": OptimizerSettings(name="adamw", lr=0.1, weight_decay=0.05, weight_decay_on="weights"),
}


def images_of(seed: int = 0, n: int = N_IMAGES) -> tuple[Tensor, Tensor]:
    """Three classes that a tiny net can distinguish: stripes across, down, and none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 90, (n, *IMAGE), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, ::3] += 120
    images[labels == 1, :, :, ::3] += 120
    return images, labels


@dataclass(kw_only=True)
class Made:
    """How the trainings of a test are made; all else follows from the seed."""

    net: str = NET
    optimizer: OptimizerSettings = SGD
    ema: float = 0.0
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(rotate=9, translate=0.08))
    images: tuple[Tensor, Tensor] = field(default_factory=images_of)
    batch_size: int = BATCH
    statistics: dict[str, tuple[float, ...]] = field(default_factory=lambda: STATISTICS)

    def training(self, seed: int) -> Training:
        model = build(self.net, IMAGE, generator=torch.Generator().manual_seed(seed))
        model = to_device(model, torch.device("cpu"))
        return start(model, optimizer_for(model, self.optimizer), ema=self.ema)

    def batches(self, seed: int) -> Batches:
        settings = {"batch_size": self.batch_size, "seed": seed, "augmentation": self.augmentation}
        return Batches(*self.images, **self.statistics, **settings)  # type: ignore[arg-type]

    def steps(
        self, seeds: Sequence[int], trainings: Sequence[Training] | None = None, *, loss: CrossEntropy | None = None
    ) -> StackedSteps:
        trainings = trainings or [self.training(seed) for seed in seeds]
        make = functools.partial(optimizer_for, settings=self.optimizer)
        population = Population(trainings, Stack(self.net, IMAGE, members=len(trainings)), make, ema=self.ema)
        batches = StackedBatches([self.batches(seed) for seed in seeds])
        return StackedSteps(population, batches, loss=loss or CrossEntropy(), precision="float32")


def settings(**changes: object) -> FitSettings:
    chosen: dict[str, object] = {"epochs": 3, "lr": lambda progress: 0.05 * (1 - progress) + 1e-3, **changes}
    return FitSettings(**chosen)  # type: ignore[arg-type]


def alone(made: Made, seed: int, chosen: FitSettings, work: Training | None = None, **watching: object) -> Training:
    """Train one seed on its own."""
    work = work or made.training(seed)
    fit(work, made.batches(seed), chosen, validate=_validate, **watching)  # type: ignore[arg-type]
    return work


def outcome_alone(made: Made, seed: int, chosen: FitSettings, work: Training | None = None) -> Outcome:
    return fit(work or made.training(seed), made.batches(seed), chosen, validate=_validate)


def _validate(model: nn.Module) -> Evaluation:
    return evaluate(model, *images_of(1, 33), **STATISTICS)


def together(
    steps: StackedSteps,
    chosen: FitSettings,
    *,
    should_stop: Callable[[int], bool] = lambda _number: False,
    on_epoch: Callable[[Sequence[int]], None] = lambda _numbers: None,
    on_progress: Callable[[Sequence[int], int], None] = lambda _numbers, _n: None,
    on_end: Callable[[int, Outcome], None] = lambda _number, _outcome: None,
) -> dict[int, Outcome]:
    """Train a population; returns how each member ended, in the order in which they did."""
    ended: dict[int, Outcome] = {}
    images, labels = images_of(1, 33)
    rows = torch.arange(33).expand(len(steps.population.trainings), 33)

    def end(number: int, outcome: Outcome) -> None:
        assert number not in ended
        ended[number] = outcome
        on_end(number, outcome)

    def validate(stack: Stack) -> list[Evaluation]:
        return evaluate_stack(stack, images, labels, rows, scale=steps.batches.scale, offset=steps.batches.offset)

    calls = PopulationCalls(
        validate=validate, on_progress=on_progress, on_epoch=on_epoch, on_end=end, should_stop=should_stop
    )
    fit_population(steps, chosen, calls)
    return ended


def stop_after(n: int, *numbers: int) -> Callable[[int], bool]:
    """Ask the given members, or all, to stop after n steps."""
    steps = dict.fromkeys(range(10), 0)

    def should_stop(number: int) -> bool:
        steps[number] += 1
        return steps[number] >= n and (not numbers or number in numbers)

    return should_stop


def weights(work: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in work.result.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two nets, each tensor relative to its length."""
    assert a.keys() == b.keys()
    lengths = [(a[name].double() - b[name].double()).norm() / b[name].double().norm().clamp_min(1e-6) for name in a]
    return float(max(lengths))
