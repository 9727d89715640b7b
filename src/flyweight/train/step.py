"""The parts of a training step: forward, backward, update. The loop, the probes and the benchmark share them.

A step draws no random numbers except from the given seed, and reads nothing from the device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flyweight.train.device import Precision
from flyweight.train.optim import Optimizer


def forward(model: nn.Module, images: Tensor, *, dropout_seed: int, precision: Precision) -> Tensor:
    """images (N, C, H, W) float32 to logits (N, classes) float32, computed in `precision`.

    Dropout uses the global generators, which are seeded here, so call it inside `torch.random.fork_rng`.
    """
    _seed(images.device, dropout_seed)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Tensor = model(images)
    return logits.float()


def backward(loss: Tensor, optimizer: Optimizer) -> None:
    """Replace the gradients of the weights with those of this loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]


def update(optimizer: Optimizer, *, lr: float) -> None:
    """Take an optimizer step with this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def averaged(model: nn.Module, *, decay: float) -> AveragedModel:
    """A running average of the weights and buffers of `model`; call `update_parameters(model)` after each step."""
    return AveragedModel(model, multi_avg_fn=functools.partial(_update_averages, decay), use_buffers=True)


@torch.no_grad()
def _update_averages(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor], n_averaged: Tensor) -> None:
    """Exponential moving average with a smaller decay at first, so that the initial weights lose their influence.

    The decay of step n is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage. Integers (the
    counters of batch norm) are copied.
    """
    share = (1 - (1 + n_averaged) / (10 + n_averaged)).clamp_min(1 - decay)
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, share.to(average.dtype))
        else:
            average.copy_(value)


def _seed(device: torch.device, seed: int) -> None:
    """Seed the generators of a step; torch.manual_seed would queue a call for each absent kind of device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
