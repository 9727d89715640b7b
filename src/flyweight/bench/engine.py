"""The engine as a contender: takes the same steps as `flyweight train`, some at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flyweight.bench.task import BATCH_SIZE, LR, MOMENTUM, NET, ROTATE, SHAPE, TRANSLATE, Images, Precision, digits
from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches
from flyweight.model.build import build
from flyweight.train import device as devices
from flyweight.train import loop
from flyweight.train.evaluate import Evaluation, evaluate
from flyweight.train.optim import OptimizerSettings, optimizer_for
from flyweight.train.settings import FitSettings
from flyweight.train.training import start


class Engine:
    """A training of `net` on `images`."""

    def __init__(
        self,
        images: Images,
        *,
        threads: int,
        net: str = NET,
        batch_size: int = BATCH_SIZE,
        precision: Precision = "float32",
    ) -> None:
        devices.prepare(threads=threads)
        self.images = images
        self.precision: Precision = precision
        self.model = devices.to_device(new_net(net), torch.device("cpu"))
        optimizer = optimizer_for(self.model, OptimizerSettings(name="sgd", lr=LR, momentum=MOMENTUM))
        self.training = start(self.model, optimizer, ema=0.0)
        self.batches = Batches(
            torch.from_numpy(images.images),
            torch.from_numpy(images.labels),
            mean=[images.mean],
            std=[images.std],
            batch_size=batch_size,
            seed=0,
            augmentation=Augmentation(rotate=ROTATE, translate=TRANSLATE, whole_pixels=True, interpolation="nearest"),
        )

    def take(self, *, steps: int) -> None:
        """Take this many steps, across the ends of epochs, without validation."""
        steps_taken = iter(range(1, steps + 1))
        # Late enough that training never ends before the steps are taken, even with one step per epoch.
        last = self.training.epoch + steps
        status = self._fit(epochs=last, validate=_not_measured, should_stop=lambda: next(steps_taken) == steps)
        assert status == "interrupted", status

    def epochs(self, *, count: int) -> None:
        """Train this many epochs, each validated on the test images."""
        self._fit(epochs=self.training.epoch - 1 + count, validate=self.evaluate)

    def evaluate(self, model: nn.Module) -> Evaluation:
        """The evaluation of `model` on the test images."""
        images = self.images
        return evaluate(
            model,
            torch.from_numpy(images.test_images),
            torch.from_numpy(images.test_labels),
            mean=[images.mean],
            std=[images.std],
        )

    def _fit(self, *, epochs: int, validate: Callable[[nn.Module], Evaluation], **settings: Any) -> str:
        outcome = loop.fit(
            self.training,
            self.batches,
            FitSettings(epochs=epochs, lr=lambda _progress: LR, precision=self.precision),
            validate=validate,
            **settings,
        )
        return outcome.status


def start_engine(
    *, count: int | None = None, test_count: int | None = None, threads: int, precision: Precision = "float32"
) -> Engine:
    """The engine over the first `count` digits."""
    return Engine(digits(count=count, test_count=test_count), threads=threads, precision=precision)


def new_net(net: str = NET) -> nn.Module:
    """The net with its initial weights, always the same."""
    return build(net, SHAPE, generator=torch.Generator().manual_seed(0))


def _not_measured(_model: nn.Module) -> Evaluation:
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.empty(0))
