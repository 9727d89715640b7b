"""The first training steps of a new net at several learning rates.

In: a recipe, its workbench, and the MACs of its net. Out: a `StartProbe`. The number of steps depends only on the cost,
so the same recipe gives the same probe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import torch
from torch import Tensor, nn

from flyweight.data.batches import Batch, Stream, seeds
from flyweight.doctor.probes import Maybe, StartProbe
from flyweight.errors import DataError
from flyweight.experiment.setup import Workbench, optimizer_of
from flyweight.recipe import Recipe
from flyweight.train.loss import cross_entropy
from flyweight.train.step import backward, forward, update

FACTORS: Final = (0.01, 0.1, 1.0, 10.0)
FEW_FACTORS: Final = (0.1, 1.0, 10.0)
MAX_STEPS, MIN_STEPS = 24, 6
MAX_IMAGES: Final = 64
MAX_READ: Final = 1024  # images of a batch that are augmented; only MAX_IMAGES are used
AFFORDABLE_MACS: Final = 6e10  # all forward and backward passes together: two or three seconds on one core
PASSES: Final = 3  # a backward pass has twice the MACs of a forward pass


def probe_start(recipe: Recipe, bench: Workbench, *, macs: int) -> StartProbe:
    """Train the first steps from the same initial weights at several multiples of the learning rate.

    Raises:
        DataError: the net cannot take a step.
    """
    batch_size = min(MAX_IMAGES, recipe.train.batch_size, len(bench.batches.rows))
    factors, steps = affordable(macs * batch_size)
    batches = _batches(bench, steps=steps, batch_size=batch_size)
    tries = {f"{factor:g}": _try(recipe, bench, batches, factor=factor) for factor in factors}
    own = tries["1"]
    return StartProbe(
        steps=steps,
        batch_size=batch_size,
        losses={factor: tried.losses for factor, tried in tries.items()},
        update_ratio=own.update_ratio,
        gradient=own.gradient,
    )


def affordable(macs_per_step: int) -> tuple[tuple[float, ...], int]:
    """The factors and the number of steps for a net with these MACs per step.

    >>> affordable(1_000_000), affordable(10**12)
    (((0.01, 0.1, 1.0, 10.0), 24), ((0.1, 1.0, 10.0), 6))
    """
    for factors in (FACTORS, FEW_FACTORS):
        steps = int(AFFORDABLE_MACS / (PASSES * max(1, macs_per_step) * len(factors)))
        if steps >= MAX_STEPS:
            return factors, MAX_STEPS
    return FEW_FACTORS, max(MIN_STEPS, steps)


@dataclass(frozen=True, kw_only=True)
class _Tried:
    losses: tuple[Maybe, ...]
    update_ratio: Mapping[str, Maybe]
    gradient: Mapping[str, Maybe]


def _batches(bench: Workbench, *, steps: int, batch_size: int) -> tuple[Batch, ...]:
    """The first images of the first training batches."""
    read = bench.batches.alike(batch_size=min(bench.batches.batch_size, MAX_READ))
    found = []
    for step in range(steps):
        batch = read(1 + step // read.n_steps, step % read.n_steps)
        few = slice(batch_size)
        found.append(Batch(images=batch.images[few].clone(), labels=batch.labels[few], rows=batch.rows[few]))
    return tuple(found)


def _try(recipe: Recipe, bench: Workbench, batches: Sequence[Batch], *, factor: float) -> _Tried:
    """Steps at `factor` times the learning rate, with warm-up in the first half; stops if the loss is not a number."""
    model = copy.deepcopy(bench.training.model).train()
    optimizer = optimizer_of(recipe, model)
    rise = max(1, len(batches) // 2)
    whole = min(recipe.train.batch_size, len(bench.batches.rows))
    dropout_seeds = seeds(bench.batches.seed, Stream.DROPOUT, 1, count=len(batches))
    losses: list[Maybe] = []
    ratios: list[dict[str, float]] = []
    gradient: dict[str, Maybe] = {}
    with torch.random.fork_rng(devices=[]):
        for step, batch in enumerate(batches):
            logits = _logits(model, batch.images, dropout_seed=dropout_seeds[step])
            plain = cross_entropy(logits.detach(), batch.labels).item()
            if not math.isfinite(plain):
                break
            losses.append(plain)
            loss = bench.loss(logits, batch)
            if bench.loss.reduction == "sum":  # scaled to the sum over a whole batch
                loss = loss * (whole / len(batch.labels))
            backward(loss, optimizer)
            gradient = gradient or gradients(model)
            before = {path: weight.detach().clone() for path, weight in _learning(model).items()}
            update(optimizer, lr=factor * recipe.train.lr * min(1.0, (step + 1) / rise))
            ratios.append({path: _ratio(before[path], weight) for path, weight in _learning(model).items()})
    lost = (None,) * (len(batches) - len(losses))
    return _Tried(losses=(*losses, *lost), update_ratio=_medians(model, ratios[rise:]), gradient=gradient)


def _logits(model: nn.Module, images: Tensor, *, dropout_seed: int) -> Tensor:
    try:
        return forward(model, images, dropout_seed=dropout_seed, precision="float32")
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"the net must take a step with {len(images)} images, found: {first}") from error


def gradients(model: nn.Module) -> dict[str, Maybe]:
    """The root mean square of the gradient of each layer's weights; None if it is not a number."""
    squares = {path: weight.grad.double().square().mean().item() for path, weight in _learning(model).items()}  # type: ignore[union-attr]
    return {path: math.sqrt(square) if math.isfinite(square) else None for path, square in squares.items()}


def _learning(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights (two or more dimensions) with a gradient, by the path of their layer."""
    named = model.named_parameters()
    return {name.removesuffix(".weight"): one for name, one in named if one.ndim > 1 and one.grad is not None}


def _ratio(before: Tensor, after: Tensor) -> float:
    """|change| / |weights|; nan if all weights were 0."""
    return float((after.detach() - before).norm() / before.norm())


def _medians(model: nn.Module, ratios: Sequence[Mapping[str, float]]) -> dict[str, Maybe]:
    """The median ratio of each layer over the steps at the full rate; None without any finite one."""
    found: dict[str, Maybe] = {}
    for path in _learning(model):
        finite = [ratio[path] for ratio in ratios if math.isfinite(ratio[path])]
        found[path] = median(finite) if finite else None
    return found
