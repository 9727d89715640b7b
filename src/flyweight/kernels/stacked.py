"""The GPU kernels as torch functions with gradients, for stacks of nets of one shape.

A stack of S nets ("members") with C channels each has maps of shape (B, S * C, H, W) in channels-last memory; member s
owns channels s * C to (s + 1) * C - 1. Weights are float32, stacked along dimension 0. Maps are float32 (multiplied as
TF32 where the GPU has it) or bfloat16; sums are float32. Equal input gives equal bits. Nothing here waits for the
device or copies to it, so all calls may be captured in a CUDA graph.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import gcd
from types import ModuleType
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DTYPES: Final = (torch.float32, torch.bfloat16)
MAX_CHANNELS: Final = 64
MAX_KERNEL: Final = 7
# First capability with matrix products of a type; float32 needs none.
BFLOAT16_CAPABILITY: Final = (8, 0)
FIRST_CAPABILITY: Final = (7, 5)

# Programs that keep a large GPU busy. Constants, so that the order of sums does not depend on the GPU.
PROGRAMS: Final = 640
MAX_PARTS: Final = 64
# The second dimension of a grid has less than 65,536 programs.
MAX_GRID: Final = 32768


@dataclass
class _Switch:
    """why_off: why the kernels were given up in this process; "" while they are used."""

    why_off: str = ""


_SWITCH: Final = _Switch()


def why_unusable(device: torch.device) -> str:
    """Why there are no Triton kernels for tensors on `device`; "" if there are."""
    return _SWITCH.why_off or _why_missing(device)


def give_up(reason: str) -> None:
    """Let torch compute everything from here on, in this process."""
    _SWITCH.why_off = reason


@contextmanager
def switched_off() -> Iterator[None]:
    """Within, torch computes everything."""
    before, _SWITCH.why_off = _SWITCH.why_off, "switched off"
    try:
        yield
    finally:
        _SWITCH.why_off = before


@functools.cache
def _why_missing(device: torch.device) -> str:
    if os.environ.get("FLYWEIGHT_KERNELS", "").lower() in ("off", "0", "no"):
        return "FLYWEIGHT_KERNELS=off"
    if device.type != "cuda" or torch.version.hip:
        return "Triton kernels need an NVIDIA GPU"
    if find_spec("triton") is None:  # importing it takes a while, and is not needed yet
        return "triton is not installed"
    if torch.cuda.get_device_capability(device) < FIRST_CAPABILITY:
        return f"Triton kernels need compute capability {FIRST_CAPABILITY[0]}.{FIRST_CAPABILITY[1]}"
    return ""


def supports(dtype: torch.dtype, device: torch.device) -> bool:
    """True if maps of this type can be computed on `device`."""
    return not why_unusable(device) and _has_products(dtype, device)


@functools.cache
def _has_products(dtype: torch.dtype, device: torch.device) -> bool:
    is_old = device.type == "cuda" and torch.cuda.get_device_capability(device) < BFLOAT16_CAPABILITY
    return dtype == torch.float32 or (dtype == torch.bfloat16 and not is_old)


def triton_version() -> str:
    """The version of triton, which must be installed."""
    import triton

    return str(triton.__version__)


def can_convolve(x: Tensor, weight: Tensor, *, members: int, padding: int, pools: bool = False) -> bool:
    """True for a square kernel of stride 1 and few channels, whose result is not empty."""
    (outs, channels, kernel, other), sides = weight.shape, x.shape[2:]
    least = min(sides) + 2 * padding - kernel + 1
    return (
        supports(x.dtype, x.device)
        and weight.dtype == torch.float32
        and kernel == other <= MAX_KERNEL
        and 0 <= padding < kernel
        and outs % members == 0
        and x.shape[1] == members * channels
        and max(outs // members, channels) <= MAX_CHANNELS
        and least >= (2 if pools else 1)
        and len(x) > 0
    )


def can_normalise(x: Tensor, *, pools: bool = False) -> bool:
    """True for maps with several values of each channel."""
    return supports(x.dtype, x.device) and x.numel() > x.shape[1] and (not pools or min(x.shape[2:]) > 1)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, members: int, padding: int, pools: bool = False
) -> Tensor:
    """Convolve the maps of each member with its own weights, then pool 2 x 2 if `pools`.

    x: (B, S * C, H, W); with less than 8 channels a member, any memory format is read as it is. weight: (S * O, C, k,
    k) float32, rounded to the type of x; bias: (S * O,) float32. Returns (B, S * O, H', W').
    """
    result: Tensor = _Convolve.apply(x, weight, bias, members, padding, pools)  # type: ignore[no-untyped-call]
    return result


def norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    momentum: float,
    eps: float,
    activation: tuple[int, float],
    pools: bool = False,
) -> Tensor:
    """Batch norm of x (B, channels, H, W) in training, then the activation, then 2 x 2 max pooling if `pools`.

    The running averages are updated. activation: number and slope, as of `functions.fusable_activation`.
    """
    averages, numbers = (running_mean, running_var), (momentum, eps)
    result: Tensor = _Norm.apply(x, weight, bias, averages, numbers, activation, pools)  # type: ignore[no-untyped-call]
    return result


def max_pool(x: Tensor) -> Tensor:
    """2 x 2 max pooling of x (B, channels, H, W); an odd last row or column is left out."""
    result: Tensor = _MaxPool.apply(x)  # type: ignore[no-untyped-call]
    return result


def drop(x: Tensor, *, p: float, seeds: Tensor) -> Tensor:
    """Dropout of x (B, S * C, H, W) or (B, S, F): a value is 0 with probability p, or is divided by 1 - p.

    seeds: (S,) int64 on the device, less than 2 ** 32. A member drops what `functions.drop` drops of its part alone.
    """
    result: Tensor = _Drop.apply(x, p, seeds)  # type: ignore[no-untyped-call]
    return result


def batch(
    images: Tensor,
    rows: Tensor,
    matrices: Tensor | None,
    *,
    scale: Tensor,
    offset: Tensor,
    interpolation: Literal["bilinear", "nearest"],
    dtype: torch.dtype,
    field: Tensor | None = None,
    fill: Tensor | None = None,
) -> Tensor:
    """A batch of images for each member, warped as by `warping.warped`, or only selected without `matrices`.

    images: (N, C, H, W) uint8. rows: (S, B) int64, not checked. matrices: (S, B, 2, 3) float32; field: (S, B, H, W, 2)
    float32. fill: (C,) float32, outside the image; None is 0. scale, offset: (S, C) float32. Returns (B, S * C, H, W)
    of `dtype`, each channel a plane in memory, so that the first convolution reads neighbouring pixels of one member.
    """
    members, n_images = rows.shape
    _, channels, height, width = images.shape
    y = torch.empty((n_images, members * channels, height, width), dtype=dtype, device=images.device)
    matrices, field = (None if given is None else given.contiguous() for given in (matrices, field))
    arguments = (
        *(images.contiguous(), rows.contiguous(), matrices, field, fill, scale.contiguous(), offset.contiguous(), y),
        *(members, n_images, channels, height, width),
    )
    fixed = {
        "WARPS": matrices is not None,
        "HAS_FIELD": field is not None,
        "HAS_FILL": fill is not None,
        "IS_NEAREST": interpolation == "nearest",
        "BN": 256,
    }
    _launch("batch", (members * n_images, _ceiling(height * width, fixed["BN"])), y.device, arguments, fixed)
    return y


@functools.cache
def _source() -> ModuleType:
    from flyweight.kernels import triton_source

    return triton_source


def _launch(
    name: str, grid: tuple[int, ...], device: torch.device, arguments: Sequence[object], fixed: Mapping[str, object]
) -> None:
    """Run the programs of a kernel. arguments: in its order; fixed: what a variant is compiled for."""
    with torch.cuda.device(device.index if device.type == "cuda" else -1):
        getattr(_source(), name)[grid](*arguments, **fixed, num_warps=4)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _map(like: Tensor, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    shape = (len(like), channels, height, width)
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)


def _floats(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _vector(channels: int) -> int:
    """How many neighbouring channels may be read at once."""
    return gcd(channels, 8)


def _ceiling(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()


def _strides(x: Tensor, channels: int) -> tuple[int, int, int, int]:
    """Distances of images, rows, columns and channels, of x in channels-last memory if it has 8 channels a member."""
    if not _is_dense(x, channels):
        return x.stride(0), x.stride(2), x.stride(3), x.stride(1)
    _, total, height, width = x.shape
    return height * width * total, width * total, total, 1


def _is_dense(x: Tensor, channels: int) -> bool:
    return channels >= 8 or x.is_contiguous(memory_format=torch.channels_last)


def _convolve_blocks(
    channels: int, out: int, kernel: int, *, n_pixels: int, members: int, dtype: torch.dtype, is_pooled: bool
) -> dict[str, int]:
    """Sizes of the product of a program: BM pixels, BK entries of a patch at a time, OP output channels."""
    padded, out = _power_of_two(channels), max(16, _power_of_two(out))
    is_wide = dtype == torch.float32
    entries = min(max(32, padded), max(16, _power_of_two(kernel * kernel * padded)), 32 if is_wide else 64)
    # What fits in the registers; with few channels, values are read one by one.
    most = 8192 // (max(out, entries) * (1 + is_wide) * (4 if is_pooled else 1)) if padded >= 8 else 64 >> is_wide
    pixels = next((size for size in (128, 64) if size <= most and _ceiling(n_pixels, size) * members >= 256), 32)
    return {"K": kernel, "CP": padded, "OP": out, "BM": pixels, "BK": entries}


def _weights_plan(out_pixels: int, n_images: int, programs: int, block: int) -> tuple[int, int, int]:
    """Images of a group, blocks of pixels of a group, and groups one program adds up.

    The group wastes few of its blocks' pixels; programs: how many there are for each part of the sum.
    """

    def waste(group: int) -> float:
        return _ceiling(group * out_pixels, block) * block / (group * out_pixels)

    most = max(1, min(n_images, 8 * block // out_pixels))
    group = min(range(1, most + 1), key=lambda one: (round(waste(one), 2), one))
    n_groups, n_blocks = _ceiling(n_images, group), _ceiling(group * out_pixels, block)
    parts = max(1, min(MAX_PARTS // n_blocks, 2 * PROGRAMS // (programs * n_blocks), n_groups))
    return group, n_blocks, _ceiling(n_groups, parts)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, members: int, padding: int, pools: bool
    ) -> Tensor:
        weight, channels = _channels_last(weight), weight.shape[1]
        x = _channels_last(x) if channels >= 8 else x
        outs, kernel, (height, width) = weight.shape[0], weight.shape[2], x.shape[2:]
        out_height, out_width = (side + 2 * padding - kernel + 1 for side in (height, width))
        if pools:
            out_height, out_width = out_height // 2, out_width // 2
        y = _map(x, outs, out_height, out_width, x.dtype)
        argmax = _map(x, outs, out_height, out_width, torch.uint8) if pools else None
        n_pixels, out = len(x) * out_height * out_width, outs // members
        about: dict[str, Any] = {"n_pixels": n_pixels, "members": members, "dtype": x.dtype, "is_pooled": pools}
        blocks = _convolve_blocks(channels, out, kernel, **about)
        arguments = (
            *(x, None, weight, bias, y, argmax, n_pixels, height, width, out_height, out_width),
            *(channels, out, members, padding, *_strides(x, channels)),
        )
        fixed = {
            "VECTOR": _vector(channels) if _is_dense(x, channels) else 1,
            "OUT_VECTOR": _vector(out),
            "IS_DENSE": _is_dense(x, channels),
            "PADS": padding > 0,
            "IS_BACKWARD": False,
            "UNPOOLS": False,
            "POOLS": pools,
            "HAS_BIAS": bias is not None,
            "num_stages": 1 if pools else 3,
        }
        grid = (_ceiling(n_pixels, blocks["BM"]) * members,)
        _launch("convolve", grid, x.device, arguments, {**blocks, **fixed})
        ctx.save_for_backward(x, weight, argmax)
        ctx.members, ctx.padding, ctx.has_bias = members, padding, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, argmax = ctx.saved_tensors
        dy = _channels_last(dy)
        dx = _of_input(x, weight, dy, argmax, ctx.members, ctx.padding) if ctx.needs_input_grad[0] else None
        return dx, *_of_weights(x, weight, dy, argmax, ctx.members, ctx.padding, ctx.has_bias), None, None, None


def _of_input(x: Tensor, weight: Tensor, dy: Tensor, argmax: Tensor | None, members: int, padding: int) -> Tensor:
    """The gradient of x: dy, unpooled, convolved with the turned weights."""
    outs, channels, kernel, _ = weight.shape
    n, _, height, width = x.shape
    dx, out = _map(x, x.shape[1], height, width, x.dtype), outs // members
    grown, n_pixels = 2 * padding - kernel + 1, n * height * width
    about: dict[str, Any] = {
        "n_pixels": n_pixels,
        "members": members,
        "dtype": x.dtype,
        "is_pooled": argmax is not None,
    }
    blocks = _convolve_blocks(out, channels, kernel, **about)
    read = (height + grown, width + grown) if argmax is None else (dy.shape[2] * 2, dy.shape[3] * 2)
    row = dy.shape[3] * outs
    arguments = (
        *(dy, argmax, weight, None, dx, None, n_pixels, *read, height, width, out, channels, members),
        *(kernel - 1 - padding, dy.shape[2] * row, row, outs, 1),
    )
    fixed = {
        "VECTOR": _vector(out),
        "OUT_VECTOR": _vector(channels),
        "IS_DENSE": True,
        "PADS": kernel - 1 > padding or argmax is not None,
        "IS_BACKWARD": True,
        "UNPOOLS": argmax is not None,
        "POOLS": False,
        "HAS_BIAS": False,
    }
    grid = (_ceiling(n_pixels, blocks["BM"]) * members,)
    _launch("convolve", grid, x.device, arguments, {**blocks, **fixed})
    return dx


def _of_weights(
    x: Tensor, weight: Tensor, dy: Tensor, argmax: Tensor | None, members: int, padding: int, has_bias: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients of weight and bias: two views of one tensor."""
    outs, channels, kernel, _ = weight.shape
    n, _, height, width = x.shape
    out_height, out_width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
    padded, out = _power_of_two(channels), outs // members
    block = 32 if x.dtype == torch.float32 else 64
    entries = min(64, max(16, _power_of_two(kernel * kernel * padded)))
    n_tiles = _ceiling(kernel * kernel * padded, entries)
    group, n_blocks, groups_at_once = _weights_plan(out_height * out_width, n, members * n_tiles, block)
    n_parts = _ceiling(_ceiling(n, group), groups_at_once) * n_blocks
    size = weight.numel() + outs * has_bias
    parts = _floats(x, n_parts, size)
    arguments = (
        *(x, dy, argmax, parts, n, height, width, out_height, out_width, channels, out, members, padding),
        *(*_strides(x, channels), n_blocks, group, n_tiles, groups_at_once, size),
    )
    fixed = {
        "K": kernel,
        "CP": padded,
        "OP": max(16, _power_of_two(out)),
        "BM": block,
        "BK": entries,
        "VECTOR": _vector(channels) if _is_dense(x, channels) else 1,
        "OUT_VECTOR": _vector(out),
        "IS_DENSE": _is_dense(x, channels),
        "PADS": padding > 0,
        "UNPOOLS": argmax is not None,
        "HAS_BIAS": has_bias,
    }
    _launch("convolve_weights", (members * n_tiles * n_parts,), x.device, arguments, fixed)
    total = parts if n_parts == 1 else _floats(x, size)
    if n_parts > 1:
        _launch("add_up", (_ceiling(size, 128),), x.device, (parts, total, n_parts, size), {"BP": 16, "BN": 128})
    total = total.view(-1)
    of_weight = total[: weight.numel()].view(outs, kernel, kernel, channels).permute(0, 3, 1, 2)
    return of_weight, total[weight.numel() :] if has_bias else None


def _norm_blocks(channels: int) -> dict[str, int]:
    """Rows, channels, and partial sums that a program holds at once."""
    columns = min(64, max(16, _power_of_two(channels)))
    return {"BR": 4096 // columns, "BC": columns, "BP": 2048 // columns, "VECTOR": _vector(channels)}


def _norm_parts(n_rows: int, channels: int, blocks: dict[str, int]) -> tuple[int, int]:
    """How many partial sums there are, and of how many rows."""
    parts = max(1, min(MAX_PARTS, _ceiling(n_rows, blocks["BR"]), PROGRAMS // _ceiling(channels, blocks["BC"])))
    at_once = _ceiling(n_rows, parts)
    return _ceiling(n_rows, at_once), at_once


def _rows_to_write(n_rows: int, channels: int, blocks: dict[str, int]) -> int:
    """Rows of a program: several blocks where there are many, since each program first adds up the partial sums."""
    columns = _ceiling(channels, blocks["BC"])
    repeats = max(1, min(4, n_rows * columns // (blocks["BR"] * PROGRAMS)), _ceiling(n_rows, blocks["BR"] * MAX_GRID))
    return repeats * blocks["BR"]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        averages: tuple[Tensor | None, Tensor | None],
        numbers: tuple[float, float],
        activation: tuple[int, float],
        pools: bool,
    ) -> Tensor:
        x = _channels_last(x)
        n, channels, height, width = x.shape
        blocks, n_rows = _norm_blocks(channels), n * height * width
        n_parts, at_once = _norm_parts(n_rows, channels, blocks)
        columns = _ceiling(channels, blocks["BC"])
        parts, saved = _floats(x, 2, n_parts, channels), _floats(x, 2, channels)
        read = {name: blocks[name] for name in ("BR", "BC", "VECTOR")}
        _launch("statistics", (columns, n_parts), x.device, (x, parts, n_rows, channels, at_once, n_parts), read)
        out = (height // 2, width // 2) if pools else (height, width)
        y = _map(x, channels, *out, x.dtype)
        argmax = _map(x, channels, *out, torch.uint8) if pools else None
        blocks = {**blocks, "BR": blocks["BR"] // 2} if pools else blocks
        n_out = n * out[0] * out[1]
        to_write = _rows_to_write(n_out, channels, blocks)
        arguments = (
            *(x, parts, weight, bias, *averages, y, argmax, saved),
            *(n, height, width, channels, at_once, n_parts, to_write, *numbers, activation[1]),
        )
        fixed = {
            "KIND": activation[0],
            "POOLS": pools,
            "IS_AFFINE": weight is not None,
            "HAS_AVERAGES": averages[0] is not None,
        }
        _launch("norm", (columns, _ceiling(n_out, to_write)), x.device, arguments, {**blocks, **fixed})
        ctx.save_for_backward(x, weight, bias, saved, argmax)
        ctx.activation = activation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, saved, argmax = ctx.saved_tensors
        dy, (n, channels, height, width) = _channels_last(dy), x.shape
        kind, slope = ctx.activation
        blocks, n_out = _norm_blocks(channels), n * dy.shape[2] * dy.shape[3]
        if argmax is not None:  # reads from places of their own need registers
            blocks["BR"] //= 4
        n_parts, at_once = _norm_parts(n_out, channels, blocks)
        columns = _ceiling(channels, blocks["BC"])
        parts, dx = _floats(x, 2, n_parts, channels), _map(x, channels, height, width, x.dtype)
        fixed = {"KIND": kind, "POOLS": argmax is not None, "IS_AFFINE": weight is not None}
        read = {name: blocks[name] for name in ("BR", "BC", "VECTOR")}
        given = (x, dy, argmax, weight, bias, saved, parts)
        sizes = (n, height, width, channels, at_once, n_parts, slope)
        _launch("norm_sums", (columns, n_parts), x.device, (*given, *sizes), {**read, **fixed})
        of_weight, of_bias = (None, None) if weight is None else _floats(x, 2, channels).unbind()
        to_write = _rows_to_write(n * height * width, channels, blocks)
        arguments = (
            *(x, dy, argmax, weight, bias, saved, parts, dx, of_weight, of_bias),
            *(n, height, width, channels, n_parts, to_write, slope),
        )
        grid = (columns, _ceiling(n * height * width, to_write))
        _launch("norm_backward", grid, x.device, arguments, {**blocks, **fixed})
        return dx, of_weight, of_bias, None, None, None, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _channels_last(x)
        n, channels, height, width = x.shape
        y, argmax = (_map(x, channels, height // 2, width // 2, dtype) for dtype in (x.dtype, torch.uint8))
        grid, blocks = _pool_blocks(channels, n * (height // 2) * (width // 2))
        _launch("pool", grid, x.device, (x, y, argmax, n, height, width, channels), blocks)
        ctx.save_for_backward(argmax)
        ctx.shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (argmax,) = ctx.saved_tensors
        n, channels, height, width = ctx.shape
        dy, dx = _channels_last(dy), _map(dy, channels, height, width, dy.dtype)
        grid, blocks = _pool_blocks(channels, n * height * width)
        _launch("pool_backward", grid, dy.device, (dy, argmax, dx, n, height, width, channels), blocks)
        return dx


def _pool_blocks(channels: int, n_rows: int) -> tuple[tuple[int, int], dict[str, int]]:
    columns = min(64, max(16, _power_of_two(channels)))
    rows = 2048 // columns
    return (_ceiling(n_rows, rows), _ceiling(channels, columns)), {
        "BR": rows,
        "BC": columns,
        "VECTOR": _vector(channels),
    }


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seeds: Tensor) -> Tensor:
        ctx.p = p
        ctx.save_for_backward(seeds)
        return _dropped(x, p, seeds)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(dy, ctx.p, *ctx.saved_tensors), None, None


def _dropped(x: Tensor, p: float, seeds: Tensor) -> Tensor:
    x = _channels_last(x) if x.ndim == 4 else x.contiguous()
    members = len(seeds)
    group = x.shape[1] // members if x.ndim == 4 else x.shape[2]
    size, y = x.numel() // members, torch.empty_like(x)
    threshold = min(round(p * 2**32), 2**32 - 1)
    arguments = (x, seeds, y, size, group, members, threshold & 0xFFFF, threshold >> 16, 1 / (1 - p))
    _launch("drop", (_ceiling(size, 1024) * members,), x.device, arguments, {"BN": 1024})
    return y
