"""Device, threads and memory layout of a computation, and their description for the record.

Two runs with equal descriptions are equal bit for bit; other threads or another processor may round differently.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from typing import Final, Literal, TypeVar

import torch
from torch import nn

from flyweight.errors import MissingError
from flyweight.kernels import stacked
from flyweight.kernels.library import library, why_missing

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]
Net = TypeVar("Net", bound=nn.Module)

# A small net cannot use two threads: one is as fast on an idle machine, and two to three times faster on a busy one
# (docs/notebook.md).
DEFAULT_THREADS: Final = 1

# Parameters of glibc's mallopt (malloc.h): return memory to the kernel, or request it by mmap, only above 1 GiB.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, GIBIBYTE = -1, -3, 1 << 30


def choose(name: DeviceName = "auto") -> torch.device:
    """The device by name; "auto" is the first CUDA GPU, or else the CPU.

    Raises:
        MissingError: this machine or this build of torch does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not is_here[name]:
        here = ", ".join(device for device, found in is_here.items() if found)
        raise MissingError(
            f"--device {name} is not available; this machine with this build of torch has: {here}. Choose one, or auto."
        )
    return torch.device(name)


def usable_cores() -> int:
    """Cores that this process may use, with the limits of containers and taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare(*, threads: int) -> None:
    """Set up this process for training: threads, memory allocator and deterministic kernels."""
    torch.set_num_threads(threads)
    _keep_memory()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def _keep_memory() -> None:
    """Stop glibc from returning the buffers of each step to the kernel.

    Set both thresholds or neither: one alone is slower (measured in docs/notebook.md).
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, GIBIBYTE)
        libc.mallopt(M_TRIM_THRESHOLD, GIBIBYTE)


def working_precision(wanted: Precision, device: torch.device) -> Precision:
    """The precision that a step uses: bfloat16 only if the device has instructions for it, else float32.

    A processor that emulates bfloat16 is several times slower with it than with float32.
    """
    if wanted == "float32" or device.type == "mps":
        return "float32"
    if device.type == "cuda":
        return wanted if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    abilities = torch.cpu.get_capabilities()
    has = any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return wanted if has else "float32"


def products(precision: Precision, device: torch.device) -> str:
    """How the products of a step are computed in a working precision, for the record: a GPU may round float32."""
    if device.type == "cuda" and precision == "float32" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "float32, in convolutions tf32"
    return precision


def to_device(model: Net, device: torch.device) -> Net:
    """Move the net to its device in channels-last layout, which is faster for few channels."""
    placed: Net = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def describe(device: torch.device) -> dict[str, object]:
    """Everything that decides the bits and the speed of a run, for its record."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_format": "channels_last",
        "kernels": kernels(device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def available() -> tuple[str, ...]:
    """What a training can run on here, the processor first; GPUs by their names."""
    gpus = [f"cuda: {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]
    return ("cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else []))


def kernels(device: torch.device) -> str:
    """Which kernels compute on a device, or why it is torch alone."""
    if device.type == "cpu":
        found = library()
        return found.id if found else f"torch alone: {why_missing()}"
    reason = stacked.why_unusable(device)
    return f"torch alone: {reason}" if reason else f"triton {stacked.triton_version()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory_bytes() -> int:
    """The peak memory of this process so far (resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
