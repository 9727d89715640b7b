"""What a run of one recipe and seed needs, before its first step: images, net, batches and settings."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import flyweight
from flyweight import __version__, files
from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches, Stream, seeds
from flyweight.data.facts import ImageSource
from flyweight.data.imageset import ImageSet
from flyweight.data.splits import Split, channel_statistics, usable_spread, validation_part
from flyweight.errors import DataError, RecipeError
from flyweight.experiment.augmentation import augmentation_of
from flyweight.experiment.resolved import source_of
from flyweight.experiment.splits import split_of
from flyweight.model import own_code
from flyweight.model.build import build
from flyweight.model.notation import is_own_module
from flyweight.model.tied import stored_once
from flyweight.recipe import Recipe
from flyweight.records.record import OWN_CODE
from flyweight.records.weights import Weights
from flyweight.train import device as devices
from flyweight.train.device import DeviceName, Precision
from flyweight.train.evaluate import Evaluation, evaluate
from flyweight.train.loss import CrossEntropy
from flyweight.train.optim import Optimizer, OptimizerSettings, optimizer_for
from flyweight.train.training import Training, start


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """`mean` and `std` (see `usable_spread`) are per channel, of the images trained on, for pixel values in 0..1.

    loss: what the recipe minimises. precision: the one that steps use on this device. evaluate: the evaluation of a net
    on images (N, C, H, W) uint8 and labels (N,), never augmented.
    """

    image_set: ImageSet
    split: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    training: Training
    batches: Batches
    evaluate: Callable[[nn.Module, np.ndarray, np.ndarray], Evaluation]
    loss: CrossEntropy
    precision: Precision
    environment: dict[str, Any]

    @property
    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels that epochs are evaluated on; default: held-out ones, but a protocol can choose others."""
        return validation_part(self.image_set, self.split)

    @property
    def has_validation(self) -> bool:
        return len(self.split.validation) > 0

    @property
    def trained_on(self) -> tuple[np.ndarray, np.ndarray]:
        """The training images and labels, without augmentation."""
        rows = self.batches.rows.numpy()
        return self.image_set.train_images[rows], self.image_set.train_labels[rows]


@dataclass(frozen=True, kw_only=True)
class PreparedImages:
    """The images of a recipe on their device, and their split: what the seeds of a recipe share if it has one split.

    images, labels: the training images (N, C, H, W) uint8 and labels (N,) int64. mean, std: as of `Workbench`.
    """

    image_set: ImageSet
    split: Split
    images: torch.Tensor
    labels: torch.Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]


def prepare(
    recipe: Recipe, *, seed: int, device: DeviceName, threads: int | None, source: ImageSource | None = None
) -> Workbench:
    """Configure this process, load the images, split them, build the net; equal recipe and seed give an equal bench.

    source: the images of the recipe, which may have been read already.
    """
    devices.choose(device)  # a missing device is an error before any image is loaded
    images = source_of(recipe, source).images
    return set_up(recipe, images, seed=seed, device=device, threads=threads)


def set_up(recipe: Recipe, image_set: ImageSet, *, seed: int, device: DeviceName, threads: int | None) -> Workbench:
    """`prepare` with the images of the recipe, already loaded."""
    devices.prepare(threads=threads or devices.DEFAULT_THREADS)
    return set_up_with(prepare_images(recipe, image_set, seed=seed, device=device), recipe, seed=seed)


def prepare_images(
    recipe: Recipe, image_set: ImageSet, *, seed: int, device: DeviceName, known: PreparedImages | None = None
) -> PreparedImages:
    """The images on the device with their split. known: those of another seed, used where they are the same."""
    if known is not None and not recipe.protocol.seed_after_split:
        return known
    where = devices.choose(device)
    split = split_of(recipe, image_set, seed)
    mean, spread = channel_statistics(image_set.train_images, split.train[: recipe.data.train_limit])
    return PreparedImages(
        image_set=image_set,
        split=split,
        images=torch.from_numpy(image_set.train_images).to(where) if known is None else known.images,
        labels=torch.from_numpy(image_set.train_labels).to(where) if known is None else known.labels,
        mean=mean,
        std=usable_spread(spread),
    )


def set_up_with(prepared: PreparedImages, recipe: Recipe, *, seed: int) -> Workbench:
    """The bench of a seed; this process is configured."""
    where, mean, std = prepared.images.device, prepared.mean, prepared.std
    precision = devices.working_precision(recipe.train.precision, where)
    return Workbench(
        image_set=prepared.image_set,
        split=prepared.split,
        mean=mean,
        std=std,
        training=_training(recipe, prepared.image_set.shape, seed, where),
        batches=Batches(
            prepared.images,
            prepared.labels,
            rows=torch.from_numpy(prepared.split.train[: recipe.data.train_limit]),
            mean=mean,
            std=std,
            batch_size=recipe.train.batch_size,
            seed=seed,
            shuffle=recipe.train.shuffle,
            augmentation=_augmentation(recipe, prepared.image_set),
        ),
        evaluate=functools.partial(
            _evaluate, device=where, mean=mean, std=std, batch_size=recipe.train.eval_batch_size
        ),
        loss=CrossEntropy(label_smoothing=recipe.train.label_smoothing, reduction=recipe.train.loss_reduction),
        precision=precision,
        environment={
            "flyweight": __version__,
            "code": code_fingerprint(),
            **_own_code(recipe.model.net),
            **devices.describe(where),
            "precision": devices.products(precision, where),
        },
    )


def _own_code(net: str) -> dict[str, str]:
    """The hash of the file of an own module."""
    found = own_code.hash_of(net)
    return {} if found is None else {OWN_CODE: found}


def _augmentation(recipe: Recipe, image_set: ImageSet) -> Augmentation:
    """The augmentation of training images; none if the protocol gives them the transform of the evaluation."""
    if recipe.protocol.shared_transform == "evaluation":
        return Augmentation()
    return augmentation_of(recipe, image_set)


@functools.cache
def code_fingerprint() -> str:
    """SHA-256 (hex) over the modules of the package: a version number does not identify a changed checkout."""
    package = Path(flyweight.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()};".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _training(recipe: Recipe, shape: tuple[int, int, int], seed: int, device: torch.device) -> Training:
    generator = torch.Generator().manual_seed(seeds(seed, Stream.INITIALISATION)[0])
    net = _net(recipe.model.net, shape, generator)
    if recipe.model.start is not None:
        load_weights(net, Path(recipe.model.start))
    model = devices.to_device(net, device)
    return start(model, optimizer_of(recipe, model), ema=recipe.train.ema)


def load_weights(net: nn.Module, path: Path) -> None:
    """Replace the weights of a net by those of a file.

    Raises:
        DataError: no such file, or no weights. RecipeError: the weights of another net.
    """
    try:
        found = Weights.from_bytes(files.read_bytes(path))
    except OSError as error:
        raise DataError(f"model.start: cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError) as error:
        raise DataError(f"model.start: {path} must hold the weights of a run, found something else.") from error
    shapes = {name: tuple(tensor.shape) for name, tensor in stored_once(net.state_dict()).items()}
    theirs = {name: tensor.shape for name, tensor in found.tensors.items()}
    if shapes != theirs:
        differing = sorted(name for name in shapes.keys() | theirs if shapes.get(name) != theirs.get(name))
        raise RecipeError(
            f"model.start: the weights of {found.net!r} do not fit this net: {', '.join(differing[:5])} differ; train "
            "the net that they are of, or leave --from out."
        )
    net.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in found.tensors.items()}, strict=False)


def optimizer_of(recipe: Recipe, model: nn.Module) -> Optimizer:
    """The optimizer of a recipe over the parameters of a net."""
    settings = recipe.train
    return optimizer_for(
        model,
        OptimizerSettings(
            name=settings.optimizer,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            beta2=settings.beta2,
            weight_decay=settings.weight_decay,
            weight_decay_on=settings.weight_decay_on,
        ),
    )


def _net(net: str, shape: tuple[int, int, int], generator: torch.Generator) -> nn.Module:
    if is_own_module(net):
        from flyweight.model.trace import load_module, prepare_layers

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**63 - 1, (1,), generator=generator)))
            module = load_module(net)
            prepare_layers(net, module, shape)
            return module
    return build(net, shape, generator=generator)


def _evaluate(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, *, device: torch.device, **settings: Any
) -> Evaluation:
    return evaluate(model, torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), **settings)
