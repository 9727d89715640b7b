"""One training step: forward, loss, backward, update. The loop, the probes and the benchmark take it from here.

Nothing is drawn and nothing is read from the device in a step: what chance decides comes in, and whoever wants to know
the loss reads it. The parts are functions of their own, since some want to look between them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flyweight.train.device import Precision


def forward(model: nn.Module, images: Tensor, *, dropout_seed: int, precision: Precision) -> Tensor:
    """images (N, C, H, W) float32 to logits (N, classes) float32, computed in `precision`.

    Dropout has no generator of its own: the global ones are seeded, so call it inside `torch.random.fork_rng`.
    """
    _seed(images.device, dropout_seed)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Tensor = model(images)
    return logits.float()


def backward(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Leave the gradients of the loss, and of nothing before it, with the weights."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]


def update(optimizer: torch.optim.Optimizer, *, lr: float) -> None:
    """Move the weights along their gradients at the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def averaged(model: nn.Module, *, decay: float) -> AveragedModel:
    """A running average of the weights and buffers of `model`; `update_parameters(model)` after each step moves it."""
    return AveragedModel(model, multi_avg_fn=functools.partial(_towards, decay), use_buffers=True)


@torch.no_grad()
def _towards(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor], n_averaged: Tensor) -> None:
    """Move each average towards its value by 1 - decay, and faster at first, where it would still hold the start.

    The decay of step n is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage. Counters of batch
    norm, which are whole numbers, are taken over.
    """
    share = (1 - (1 + n_averaged) / (10 + n_averaged)).clamp_min(1 - decay)
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, share.to(average.dtype))
        else:
            average.copy_(value)


def _seed(device: torch.device, seed: int) -> None:
    """Set the generators that a step draws from; torch.manual_seed keeps a note for each kind of absent device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
