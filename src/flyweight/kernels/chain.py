"""Run a sequence of layers with the kernels where possible, and with torch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from flyweight.kernels import functions, stacked
from flyweight.kernels.library import library

# Applies the first modules of a sequence: how many they are, and the output.
Step = Callable[[Sequence[nn.Module], Tensor], tuple[int, Tensor]]

# With fewer channels in a group (a depthwise convolution has one), a matrix product would multiply mostly zeros.
MIN_CHANNELS_OF_A_GROUP = 4


def run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Apply the modules to x (N, ...) in order.

    Batch norm is fused with the activation and the 2 x 2 max pooling after it, on a GPU a convolution with the pooling
    after it. A layer with hooks is called itself, and nothing is fused while torch records the calls, for an export or
    a count.
    """
    step = _step_of(x)
    at = 0
    while at < len(modules):
        used, x = step(modules[at : at + 3], x)
        at += used
    return x


def _step_of(x: Tensor) -> Step:
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():
        return _torch_step
    if x.device.type == "cpu" and library() is not None:
        return _cpu_step
    return _torch_step if stacked.why_unusable(x.device) else _gpu_step


def _torch_step(modules: Sequence[nn.Module], x: Tensor) -> tuple[int, Tensor]:
    return 1, modules[0](x)


def _cpu_step(modules: Sequence[nn.Module], x: Tensor) -> tuple[int, Tensor]:
    first = modules[0]
    if x.ndim != 4 or x.dtype not in functions.DTYPES or _has_hooks(first):
        return 1, first(x)
    if isinstance(first, nn.Conv2d) and functions.can_convolve(x, first):
        return 1, functions.convolve(x, first)
    if functions.is_two_by_two(first) and min(x.shape[2:]) > 1:
        return 1, functions.max_pool(x)
    if not (isinstance(first, nn.BatchNorm2d) and _can_normalise(first, x)):
        return 1, first(x)
    activation, pools, used = _after_norm(modules, x)
    return used, functions.norm(x, first, activation, pools=pools)


def _gpu_step(modules: Sequence[nn.Module], x: Tensor) -> tuple[int, Tensor]:
    """A convolution in groups is one of several nets side by side, or is computed like that."""
    first = modules[0]
    if x.ndim != 4 or _has_hooks(first):
        return 1, first(x)
    if isinstance(first, nn.Conv2d) and _is_plain(first):
        return _gpu_convolution(modules, x, first)
    if functions.is_two_by_two(first) and min(x.shape[2:]) > 1 and stacked.supports(x.dtype, x.device):
        return 1, stacked.max_pool(x)
    if not (isinstance(first, nn.BatchNorm2d) and first.training and _can_normalise(first, x)):
        return 1, first(x)
    if not stacked.can_normalise(x):
        return 1, first(x)
    activation, pools, used = _after_norm(modules, x)
    if first.num_batches_tracked is not None:
        first.num_batches_tracked.add_(1)
    assert first.momentum is not None, "checked by _can_normalise"
    normed = stacked.norm(
        x,
        first.weight,
        first.bias,
        first.running_mean,
        first.running_var,
        momentum=first.momentum,
        eps=first.eps,
        activation=activation,
        pools=pools,
    )
    return used, normed


def _gpu_convolution(modules: Sequence[nn.Module], x: Tensor, first: nn.Conv2d) -> tuple[int, Tensor]:
    x = x.to(torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype)
    padding, members = int(first.padding[0]), first.groups
    following = None if len(modules) < 2 or _has_hooks(modules[1]) else modules[1]
    for pools in (True, False) if functions.is_two_by_two(following) else (False,):
        if stacked.can_convolve(x, first.weight, members=members, padding=padding, pools=pools):
            y = stacked.convolve(x, first.weight, first.bias, members=members, padding=padding, pools=pools)
            return 1 + pools, y
    return 1, first(x)


def _is_plain(module: nn.Conv2d) -> bool:
    """True for stride 1, equal zero padding, and enough output channels in each group."""
    return (
        isinstance(module.padding, tuple)
        and len(set(module.padding)) == 1
        and (module.stride, module.dilation, module.padding_mode) == ((1, 1), (1, 1), "zeros")
        and module.out_channels >= MIN_CHANNELS_OF_A_GROUP * module.groups
    )


def _after_norm(modules: Sequence[nn.Module], x: Tensor) -> tuple[tuple[int, float], bool, int]:
    """The activation and the pooling that are fused into the batch norm before them, and how many modules that is."""
    following = [None if _has_hooks(module) else module for module in modules[1:]] + [None, None]
    activation = functions.fusable_activation(following[0])
    used = 1 if activation is None else 2
    pools = functions.is_two_by_two(following[used - 1]) and min(x.shape[2:]) > 1
    return activation or functions.IDENTITY, pools, used + pools


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _can_normalise(module: nn.BatchNorm2d, x: Tensor) -> bool:
    """True for float32 with running averages of fixed momentum, and enough values for a variance."""
    averages = module.running_mean
    is_usual = averages is not None and averages.dtype == torch.float32 and module.momentum is not None
    if module.training:
        return is_usual and x.numel() > x.shape[1]
    return is_usual and not torch.is_grad_enabled()
