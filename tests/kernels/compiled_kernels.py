"""Compile every kernel for a GPU, given by its capability (as 90), and print the bytes of stack that each needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from flyweight.kernels import stacked, triton_source

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.uint8: "*u8", torch.int64: "*i64"}
# Channels, outputs, side, kernel, padding, whether pooled, whether the input needs a gradient.
CONVOLUTIONS = [
    (1, 20, 28, 5, 0, True, False),
    (20, 22, 10, 3, 0, False, True),
    (3, 16, 32, 3, 1, False, False),
    (16, 64, 16, 3, 1, True, True),
    (64, 64, 14, 3, 1, False, True),
    (64, 64, 14, 7, 3, True, True),
    (8, 8, 28, 3, 1, False, True),
]
# Channels, side, activation, whether pooled, whether affine.
NORMS = [(20, 12, (1, 0.0), False, True), (64, 14, (2, 0.0), True, True), (33, 14, (1, 0.1), False, False)]


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def run_everything(dtype: torch.dtype, members: int) -> None:
    for channels, out, side, kernel, padding, pools, needs_gradient in CONVOLUTIONS:
        x = empty(64, members * channels, side, side, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_(needs_gradient)
        weight, bias = empty(members * out, channels, kernel, kernel), empty(members * out)
        given = (x, weight.requires_grad_(), bias.requires_grad_())
        stacked.convolve(*given, members=members, padding=padding, pools=pools).sum().backward()
    for channels, side, activation, pools, is_affine in NORMS:
        x = empty(64, members * channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
        numbers = [empty(members * channels) for _ in range(4)]
        affine = [one.requires_grad_() for one in numbers[:2]] if is_affine else [None, None]
        settings = {"momentum": 0.1, "eps": 1e-5, "activation": activation, "pools": pools}
        stacked.norm(x.requires_grad_(), *affine, *numbers[2:], **settings).sum().backward()
    stacked.max_pool(empty(64, members * 20, 12, 12, dtype=dtype).requires_grad_()).sum().backward()
    stacked.drop(empty(64, members, 33, dtype=dtype), p=0.1, seeds=empty(members, dtype=torch.int64))
    images, rows = empty(99, 1, 28, 28, dtype=torch.uint8), empty(members, 64, dtype=torch.int64)
    numbers = {"scale": empty(members, 1), "offset": empty(members, 1), "dtype": dtype}
    field = empty(members, 64, 28, 28, 2)
    stacked.batch(images, rows, None, interpolation="bilinear", **numbers)
    stacked.batch(images, rows, empty(members, 64, 2, 3), interpolation="bilinear", field=field, **numbers)
    stacked.batch(images, rows, empty(members, 64, 2, 3), interpolation="nearest", **numbers)


def compiled(name: str, arguments: tuple, fixed: dict, capability: int) -> bytes:
    kernel = getattr(triton_source, name)
    options = {"num_warps": 4, **{key: value for key, value in fixed.items() if key not in kernel.arg_names}}
    fixed = {key: value for key, value in fixed.items() if key in kernel.arg_names}
    signature, attributes = dict.fromkeys(fixed, "constexpr"), {}
    for at, (argument, value) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        if isinstance(value, Tensor):
            signature[argument], attributes[(at,)] = TYPES[value.dtype], [["tt.divisibility", 16]]
        elif value is None:
            signature[argument], fixed[argument] = "constexpr", None
        else:
            signature[argument] = "fp32" if isinstance(value, float) else "i32"
    signature = {argument: signature[argument] for argument in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"]


def stack_bytes(binary: bytes) -> int:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run([str(tool), "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"STACK:(\d+)", said)[-1])


def main(capability: int) -> None:
    launches: dict[str, tuple] = {}

    def record(name, grid, device, arguments, fixed):
        kinds = [value.dtype if isinstance(value, Tensor) else value is None for value in arguments]
        launches.setdefault(f"{name} {fixed} {kinds}", (name, arguments, fixed))

    stacked._launch = record
    for dtype in (torch.float32,) if capability < 80 else (torch.float32, torch.bfloat16):
        for members in (1, 64):
            run_everything(dtype, members)
    for label, (name, arguments, fixed) in launches.items():
        print(label, stack_bytes(compiled(name, arguments, fixed, capability)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
