"""The kernels as torch functions with gradients: convolution, batch norm with activation and pooling, dropout.

Input and output are float32 or bfloat16 in channels-last memory on the CPU. They agree with the layers of torch within
rounding; the bits do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flyweight.kernels.library import Library, library

# Activations that can be fused into batch norm: number in kernels.cpp, and slope below zero.
IDENTITY: Final = (0, 0.0)
DTYPES: Final = (torch.float32, torch.bfloat16)


def fusable_activation(module: nn.Module | None) -> tuple[int, float] | None:
    """Number and slope of an activation in the kernels; None for any other module."""
    match module:
        case nn.ReLU():
            return 1, 0.0
        case nn.LeakyReLU():
            return 1, float(module.negative_slope)
        case nn.SiLU():
            return 2, 0.0
    return None


def is_two_by_two(module: nn.Module | None) -> bool:
    """True for 2 x 2 max pooling without overlap."""
    if not isinstance(module, nn.MaxPool2d):
        return False
    settings = (module.kernel_size, module.stride, module.padding, module.dilation)
    return settings == (2, 2, 0, 1) and not module.ceil_mode and not module.return_indices


# With more channels torch is as fast or faster.
MAX_CHANNELS: Final = 64


def can_convolve(x: Tensor, module: nn.Conv2d) -> bool:
    """True for a square, dense convolution of stride 1 with few channels, on a processor with a kernel for it."""
    kernel, padding = module.kernel_size[0], int(module.padding[0])
    is_plain = (
        module.kernel_size == (kernel, kernel)
        and module.padding == (padding, padding)
        and (module.stride, module.dilation, module.groups) == ((1, 1), (1, 1), 1)
        and module.padding_mode == "zeros"
        and module.weight.dtype == torch.float32
    )
    if not is_plain or padding >= kernel or kernel > min(x.shape[2:]) + 2 * padding or not len(x):
        return False
    has = {torch.float32: _library().convolves_float32, torch.bfloat16: _library().convolves_bfloat16}
    return has.get(_working_type(x), False) and max(module.in_channels, module.out_channels) <= MAX_CHANNELS


def convolve(x: Tensor, module: nn.Conv2d) -> Tensor:
    """Apply `module` to x (N, C, H, W); under autocast the weights are rounded, but not their gradients."""
    result: Tensor = _Convolve.apply(x.to(_working_type(x)), module.weight, module.bias, module.padding[0])  # type: ignore[no-untyped-call]
    return result


def _working_type(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def norm(x: Tensor, module: nn.BatchNorm2d, activation: tuple[int, float] = IDENTITY, *, pools: bool = False) -> Tensor:
    """Apply `module` to x (N, C, H, W), then the activation, and 2 x 2 max pooling if `pools`."""
    if module.training and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
    result: Tensor = _Norm.apply(x, module.weight, module.bias, module, activation, pools)  # type: ignore[no-untyped-call]
    return result


def max_pool(x: Tensor) -> Tensor:
    """2 x 2 max pooling of x (N, C, H, W); an odd last row or column is left out."""
    result: Tensor = _MaxPool.apply(x)  # type: ignore[no-untyped-call]
    return result


def drop(x: Tensor, *, p: float, seed: int) -> Tensor:
    """Set each value to 0 with probability `p` and divide the others by 1 - p; only `seed` decides which."""
    result: Tensor = _Drop.apply(x, p, seed)  # type: ignore[no-untyped-call]
    return result


def _library() -> Library:
    found = library()
    assert found is not None, "the kernels were not built"
    return found


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _like(x: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    return torch.empty((*x.shape[:2], height, width), dtype=dtype, memory_format=torch.channels_last)


def _sides(x: Tensor) -> tuple[int, int, int, int]:
    """Images, height, width, channels: the order in memory."""
    n, channels, height, width = x.shape
    return n, height, width, channels


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        x, weight = _channels_last(x), weight.contiguous()
        n, height, width, channels = _sides(x)
        out, _, kernel, _ = weight.shape
        grown = 2 * padding - kernel + 1
        y = torch.empty((n, out, height + grown, width + grown), dtype=x.dtype, memory_format=torch.channels_last)
        _library().convolve(
            *(x.dtype == torch.float32, x.data_ptr(), y.data_ptr(), weight.data_ptr(), _address(bias)),
            *(n, height, width, channels, out, kernel, padding, False, torch.get_num_threads()),
        )
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.has_bias = padding, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dy = _channels_last(dy)
        is_wide, threads = x.dtype == torch.float32, torch.get_num_threads()
        n, height, width, out = _sides(dy)
        kernel, channels, dx = weight.shape[2], weight.shape[1], None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _library().convolve(
                *(is_wide, dy.data_ptr(), dx.data_ptr(), weight.data_ptr(), None, n, height, width, out, channels),
                *(kernel, kernel - 1 - ctx.padding, True, threads),
            )
        of_weight, of_bias = torch.empty_like(weight), torch.empty(out) if ctx.has_bias else None
        _library().convolve_weights(
            *(is_wide, x.data_ptr(), dy.data_ptr(), of_weight.data_ptr(), _address(of_bias), *_sides(x), out),
            *(kernel, ctx.padding, threads),
        )
        return dx, of_weight, of_bias, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        module: nn.BatchNorm2d,
        activation: tuple[int, float],
        pools: bool,
    ) -> Tensor:
        x = _channels_last(x)
        n, height, width, channels = _sides(x)
        shape = (height // 2, width // 2) if pools else (height, width)
        y = _like(x, *shape, x.dtype)
        argmax = _like(x, *shape, torch.uint8) if pools else None
        saved = torch.empty((4, channels))
        _library().norm(
            *(x.dtype == torch.float32, x.data_ptr(), y.data_ptr(), _address(argmax), n, height, width, channels),
            *(_address(weight), _address(bias), _address(module.running_mean), _address(module.running_var)),
            *(module.training, module.momentum, module.eps, saved.data_ptr(), *activation, torch.get_num_threads()),
        )
        ctx.save_for_backward(x, weight, saved, argmax)
        ctx.activation = activation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, saved, argmax = ctx.saved_tensors
        n, height, width, channels = _sides(x)
        dy, dx, of_weight_and_bias = _channels_last(dy), torch.empty_like(x), torch.empty((2, channels))
        _library().norm_backward(
            *(x.dtype == torch.float32, x.data_ptr(), dy.data_ptr(), _address(argmax), dx.data_ptr()),
            *(n, height, width, channels, _address(weight), saved.data_ptr()),
            *(of_weight_and_bias[0].data_ptr(), of_weight_and_bias[1].data_ptr()),
            *(*ctx.activation, torch.get_num_threads()),
        )
        of_weight, of_bias = (None, None) if weight is None else of_weight_and_bias
        return dx, of_weight, of_bias, None, None, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _channels_last(x)
        n, height, width, channels = _sides(x)
        y, argmax = (_like(x, height // 2, width // 2, dtype) for dtype in (x.dtype, torch.uint8))
        _library().pool(
            *(x.dtype == torch.float32, x.data_ptr(), y.data_ptr(), argmax.data_ptr(), n, height, width, channels),
            torch.get_num_threads(),
        )
        ctx.save_for_backward(argmax)
        ctx.shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (argmax,) = ctx.saved_tensors
        dy = _channels_last(dy)
        dx = torch.empty(ctx.shape, dtype=dy.dtype, memory_format=torch.channels_last)
        _library().pool_backward(
            *(dy.dtype == torch.float32, dy.data_ptr(), argmax.data_ptr(), dx.data_ptr(), *_sides(dx)),
            torch.get_num_threads(),
        )
        return dx


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: int) -> Tensor:
        ctx.p, ctx.seed = p, seed
        return _dropped(x, p, seed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(dy, ctx.p, ctx.seed), None, None


def _dropped(x: Tensor, p: float, seed: int) -> Tensor:
    """The mask follows the channels-last order of values, whatever the memory layout."""
    x = _channels_last(x) if x.ndim == 4 else x.contiguous()
    if x.device.type != "cpu" or x.dtype not in DTYPES or library() is None:
        return torch.where(dropout_mask(x.shape, p, seed, x.device), x / (1 - p), 0)
    y = torch.empty_like(x)
    _library().dropout(
        *(x.dtype == torch.float32, x.data_ptr(), y.data_ptr(), x.numel()),
        *(seed, _threshold(p), 1 / (1 - p), torch.get_num_threads()),
    )
    return y


def _threshold(p: float) -> int:
    return min(round(p * 2**32), 2**32 - 1)


def dropout_mask(shape: torch.Size, p: float, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """True for the values that dropout keeps: the mask of the kernel, computed by torch."""
    return dropout_masks(shape, p, torch.tensor([seed], device=device))[0]


def dropout_masks(shape: torch.Size, p: float, seeds: Tensor) -> Tensor:
    """(S, *shape) bool, the masks of S seeds (int64, below 2**32), for shapes (N, C, H, W) or (N, C).

    A random number is a hash of position and seed (the mixing function "lowbias32" of Wellons, 2018).
    """
    position = torch.arange(shape.numel(), device=seeds.device)
    draws = _mixed(_mixed(position) ^ seeds.view(-1, 1)) >= _threshold(p)
    if len(shape) != 4:
        return draws.view(-1, *shape)
    n, channels, height, width = shape
    return draws.view(-1, n, height, width, channels).permute(0, 1, 4, 2, 3)


def normal_numbers(seeds: Tensor, *, count: int) -> Tensor:
    """(S, count) float32, standard normal numbers of S seeds (int64), the same on every device within rounding.

    Two hashes of position and seed, as in `dropout_masks`, by the transform of Box and Muller (1958).
    """
    position = torch.arange(2 * count, device=seeds.device).view(2, 1, count)
    low = (seeds ^ (seeds >> 32)) & 0xFFFFFFFF
    uniform = (_mixed(_mixed(position) ^ low.view(-1, 1)).float() + 0.5) / 2**32
    return (-2 * uniform[0].log()).sqrt() * torch.cos(2 * math.pi * uniform[1])


def _mixed(x: Tensor) -> Tensor:
    low = 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & low
    x = ((x ^ (x >> 15)) * 0x846CA68B) & low
    return x ^ (x >> 16)
