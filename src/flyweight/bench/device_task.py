"""What `bench device` trains: recipes read with tomllib alone, and seeds of them as one stacked net; what is shared.

A machine with a GPU may have torch and numpy and nothing else, so no import here needs another package.
"""

from __future__ import annotations

import functools
import gc
import json
import math
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from flyweight.bench.sizes import DeviceSize
from flyweight.data import sources
from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches, Stream
from flyweight.data.batches import seeds as numbers
from flyweight.data.imageset import ImageSet
from flyweight.data.splits import channel_statistics, held_out, split
from flyweight.data.stacked_batches import StackedBatches
from flyweight.model.build import build
from flyweight.model.stacked import Stack
from flyweight.train import device as devices
from flyweight.train.captured import StackedSteps
from flyweight.train.device import Precision, to_device, working_precision
from flyweight.train.evaluate import Evaluation, evaluate_stack
from flyweight.train.loss import CrossEntropy
from flyweight.train.optim import OptimizerSettings, optimizer_for
from flyweight.train.outcome import Outcome
from flyweight.train.population import Population
from flyweight.train.population_loop import PopulationCalls, capture, fit_population
from flyweight.train.schedules import ScheduleSettings, factor
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training, start

FAST, GPU, BEST, ONE_EPOCH = "own/20k-fast", "own/20k-gpu", "own/20k-best", "own/25k-one-epoch"
MEGA: Final = 1e6

# The defaults of a recipe: those of `flyweight.recipe.recipe`, which needs pydantic. A test compares them.
DATA: Final[dict[str, Any]] = {"split_seed": 0, "validation": None}
TRAIN: Final[dict[str, Any]] = {
    "epochs": 5,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "weight_decay_on": "weights",
    "schedule": "one-cycle",
    "warmup": 0.2,
    "step_epochs": 1,
    "gamma": 0.1,
    "final_lr": 0.0,
    "label_smoothing": 0.0,
    "ema": 0.0,
    "keep": "best",
    "precision": "float32",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A recipe of the package, as far as its training depends on it."""

    name: str
    net: str
    split_seed: int
    validation: int | None
    augmentation: Augmentation
    epochs: int
    batch_size: int
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    loss: CrossEntropy
    ema: float
    keep: Literal["best", "last"]
    precision: Precision

    def lr(self, progress: float) -> float:
        return self.optimizer.lr * factor(progress, self.schedule)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """An image set, and its images (N, C, H, W) uint8 and labels (N,) int64 on a device."""

    image_set: ImageSet
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @property
    def device(self) -> torch.device:
        return self.images.device

    @functools.lru_cache(maxsize=8)  # noqa: B019  # a process has one or two
    def split(self, seed: int, wanted: int | None) -> Parts:
        """Which images train, and which validate: `wanted`, or fewer of a small set."""
        n_images = len(self.image_set.train_images)
        found = split(self.image_set, seed=seed, validation=min(held_out(n_images, wanted), n_images // 6))
        mean, std = channel_statistics(self.image_set.train_images, found.train)
        validation = torch.from_numpy(found.validation).to(self.device)
        return Parts(rows=torch.from_numpy(found.train), validation=validation, mean=mean, std=std)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The rows that train, on the CPU, and those that validate, on the device; mean and std of the former, in 0..1."""

    rows: Tensor
    validation: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Seeds that trained as one stacked net.

    seconds: from the images on the device and split to the test figures, without capture_seconds: of compiling,
    capturing and a first evaluation. step_seconds: the epochs without validation. validation, test: accuracies (0 to
    1), of the seeds that did not diverge.
    """

    members: int
    seconds: float
    step_seconds: float
    capture_seconds: float
    why_eager: str
    validation: dict[int, float]
    test: dict[int, float]


def read_task(name: str, size: DeviceSize) -> Task:
    """The task of a recipe of the package, such as "own/20k-fast"; the size can make it shorter."""
    values = _recipe(name)
    data, train = DATA | values.get("data", {}), TRAIN | values.get("train", {})
    return Task(
        name=name,
        net=values["model"]["net"],
        split_seed=data["split_seed"],
        validation=data["validation"],
        augmentation=Augmentation(**values.get("augment", {})),
        epochs=min(train["epochs"], size.max_epochs or train["epochs"]),
        batch_size=train["batch_size"],
        optimizer=OptimizerSettings(
            name=train["optimizer"],
            **{key: train[key] for key in ("lr", "momentum", "nesterov", "beta2", "weight_decay", "weight_decay_on")},
        ),
        schedule=ScheduleSettings(
            name=train["schedule"],
            warmup=train["warmup"],
            final=train["final_lr"],
            drops=train["epochs"] / train["step_epochs"],
            gamma=train["gamma"],
        ),
        loss=CrossEntropy(label_smoothing=train["label_smoothing"]),
        ema=train["ema"],
        keep=train["keep"],
        precision=train["precision"],
    )


def _recipe(name: str) -> dict[str, Any]:
    """The sections of a recipe, over those that it extends."""
    values = tomllib.loads((resources.files("flyweight") / "recipe" / f"{name}.toml").read_text(encoding="utf-8"))
    sections = _recipe(values.pop("extends")) if "extends" in values else {}
    for key, value in values.items():
        sections[key] = {**sections.get(key, {}), **value} if isinstance(value, dict) else value
    return sections


def read_pixels(device: torch.device, size: DeviceSize) -> Pixels:
    """MNIST, the first images of it if the size is smaller, on the device."""
    found = sources.load("mnist")
    found = replace(
        found,
        train_images=found.train_images[: size.train_images],
        train_labels=found.train_labels[: size.train_images],
        test_images=found.test_images[: size.test_images],
        test_labels=found.test_labels[: size.test_images],
    )
    arrays = (found.train_images, found.train_labels, found.test_images, found.test_labels)
    images, labels, test_images, test_labels = (torch.from_numpy(array).to(device) for array in arrays)
    return Pixels(image_set=found, images=images, labels=labels, test_images=test_images, test_labels=test_labels)


def batches_of(task: Task, pixels: Pixels, seeds: Sequence[int]) -> tuple[list[Batches], Tensor]:
    """The batches of each seed, and the rows (M,) of the validation images, the same for all."""
    parts = pixels.split(task.split_seed, task.validation)
    batches = [
        Batches(
            pixels.images,
            pixels.labels,
            rows=parts.rows,
            mean=parts.mean,
            std=parts.std,
            batch_size=task.batch_size,
            seed=seed,
            augmentation=task.augmentation,
        )
        for seed in seeds
    ]
    return batches, parts.validation


def new_net(task: Task, pixels: Pixels, seed: int) -> nn.Module:
    """The net of a seed with its initial weights, on the device."""
    generator = torch.Generator().manual_seed(numbers(seed, Stream.INITIALISATION)[0])
    return to_device(build(task.net, pixels.image_set.shape, generator=generator), pixels.device)


def new_training(task: Task, pixels: Pixels, seed: int) -> Training:
    """The training of a seed before its first step."""
    net = new_net(task, pixels, seed)
    return start(net, optimizer_for(net, task.optimizer), ema=task.ema)


def settings_of(task: Task, device: torch.device) -> FitSettings:
    """Length, learning rate, loss and precision of the task."""
    precision = working_precision(task.precision, device)
    return FitSettings(epochs=task.epochs, lr=task.lr, loss=task.loss, precision=precision)


def captured_steps(task: Task, pixels: Pixels, batches: Sequence[Batches]) -> StackedSteps:
    """The steps of seeds as one stacked net, captured where that is possible; the first epoch is loaded."""
    trainings = [new_training(task, pixels, one.seed) for one in batches]
    population = Population(
        trainings,
        Stack(task.net, pixels.image_set.shape, members=len(trainings)),
        functools.partial(optimizer_for, settings=task.optimizer),
        ema=task.ema,
    )
    settings = settings_of(task, pixels.device)
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    stacked = StackedBatches(batches, dtype=dtype)
    steps = StackedSteps(population, stacked, loss=settings.loss, precision=settings.precision)
    capture(steps, settings)
    return steps


def train(task: Task, pixels: Pixels, seeds: Sequence[int]) -> Trained:
    """Train seeds as one stacked net, validated after each epoch; the test images are opened once, at the end."""
    batches, validation = batches_of(task, pixels, seeds)
    held, all_test = (
        rows.expand(len(seeds), -1)
        for rows in (validation, torch.arange(len(pixels.test_labels), device=pixels.device))
    )
    began = time.perf_counter()
    steps = captured_steps(task, pixels, batches)
    evaluated = functools.partial(evaluate_stack, scale=steps.batches.scale, offset=steps.batches.offset)

    def validate(stack: Stack) -> Sequence[Evaluation]:
        return evaluated(stack, pixels.images, pixels.labels, held)

    outcomes: dict[int, Outcome] = {}
    calls = PopulationCalls(
        validate=validate,
        on_progress=lambda _active, _n_steps: None,
        on_epoch=lambda _active: None,
        on_end=outcomes.__setitem__,
        should_stop=lambda _number: False,
    )
    population = steps.population
    warm_up_began = time.perf_counter()
    for rows in (held, all_test % len(pixels.labels)):  # as many training images as there are test images
        evaluated(population.result, pixels.images, pixels.labels, rows)
    capture_seconds = steps.capture_seconds + time.perf_counter() - warm_up_began
    fit_population(steps, settings_of(task, pixels.device), calls)
    finished = [number for number, outcome in outcomes.items() if outcome.status == "finished"]
    if task.keep == "best":
        for number in finished:
            population.result.load_member(number, population.trainings[number].best_weights)
    test = evaluated(population.result, pixels.test_images, pixels.test_labels, all_test)
    seconds = time.perf_counter() - began - capture_seconds
    histories = {number: population.trainings[number].history for number in finished}
    kept = {
        number: population.trainings[number].best if task.keep == "best" else history[-1]
        for number, history in histories.items()
    }
    return Trained(
        members=len(seeds),
        seconds=seconds,
        step_seconds=max((sum(one.seconds for one in history) for history in histories.values()), default=0.0),
        capture_seconds=capture_seconds,
        why_eager=steps.why_eager,
        validation={
            seeds[number]: reached for number in finished if (reached := kept[number].validation_accuracy) is not None
        },
        test={seeds[number]: test[number].accuracy for number in finished},
    )


@dataclass(kw_only=True)
class Measurement:
    """What the parts share. ends_at: by time.perf_counter.

    rates: images a second by (seeds, batch size), measured; they say how long a training will take.
    """

    pixels: Pixels
    size: DeviceSize
    ends_at: float
    rates: dict[tuple[int, int], float] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.perf_counter()

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def release(self) -> None:
        """Return the memory of what was measured before, captured graphs included."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def expected_seconds(self, name: str, members: int) -> float:
        """Of a training, by the measured stack that is most like it; 0 if there is none."""
        task = read_task(name, self.size)
        images = members * task.epochs * len(self.pixels.images)
        if not self.rates:
            return 0.0
        nearest = min(self.rates, key=lambda one: abs(math.log(one[0] * one[1] / (members * task.batch_size))))
        return 2.0 + 1.5 * images / self.rates[nearest]


def print_one(name: str, device: str, size: DeviceSize, *, began: float) -> None:
    """Train seed 0 of a recipe, and print the seconds of each phase as JSON. began: when the imports did."""
    ready = time.perf_counter()
    devices.prepare(threads=devices.DEFAULT_THREADS)
    pixels = read_pixels(torch.device(device), size)
    loaded = time.perf_counter()
    found = train(read_task(name, size), pixels, [0])
    phases = {
        "imports": ready - began,
        "images": loaded - ready,
        "capture": found.capture_seconds,
        "training": found.seconds,
    }
    print(json.dumps({"phases": phases, "test": found.test.get(0)}))


def ascii_line(text: str) -> str:
    """Text whose width needs no other package to know."""
    return " ".join(text.encode("ascii", "replace").decode().split())
