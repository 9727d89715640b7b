"""Run a sequence of layers with the kernels where possible, and with torch elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from flyweight.kernels import functions
from flyweight.kernels.library import library


def run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Apply the modules to x (N, ...) in order.

    Batch norm is fused with the activation and the 2 x 2 max pooling after it. A layer with hooks is called itself, and
    nothing is fused while torch records the calls, for an export or a count.
    """
    if not _may_fuse(x):
        for module in modules:
            x = module(x)
        return x
    at = 0
    while at < len(modules):
        used, x = _step(modules[at : at + 3], x)
        at += used
    return x


def _may_fuse(x: Tensor) -> bool:
    is_recorded = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    return x.device.type == "cpu" and not is_recorded and library() is not None


def _step(modules: Sequence[nn.Module], x: Tensor) -> tuple[int, Tensor]:
    """The number of modules applied, and the output."""
    first = modules[0]
    if x.ndim != 4 or x.dtype not in functions.DTYPES or _has_hooks(first):
        return 1, first(x)
    if isinstance(first, nn.Conv2d) and functions.can_convolve(x, first):
        return 1, functions.convolve(x, first)
    if functions.is_two_by_two(first) and min(x.shape[2:]) > 1:
        return 1, functions.max_pool(x)
    if not (isinstance(first, nn.BatchNorm2d) and _can_normalise(first, x)):
        return 1, first(x)
    following = [None if _has_hooks(module) else module for module in modules[1:]] + [None, None]
    activation = functions.fusable_activation(following[0])
    used = 1 if activation is None else 2
    pools = functions.is_two_by_two(following[used - 1]) and min(x.shape[2:]) > 1
    return used + pools, functions.norm(x, first, activation or functions.IDENTITY, pools=pools)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _can_normalise(module: nn.BatchNorm2d, x: Tensor) -> bool:
    """True for float32 with running averages of fixed momentum, and enough values for a variance."""
    averages = module.running_mean
    is_usual = averages is not None and averages.dtype == torch.float32 and module.momentum is not None
    if module.training:
        return is_usual and x.numel() > x.shape[1]
    return is_usual and not torch.is_grad_enabled()
