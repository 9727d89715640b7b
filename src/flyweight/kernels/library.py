"""The kernels as a library: compiled once for this processor by the installed C++ compiler, loaded with ctypes.

Without a compiler, or with FLYWEIGHT_KERNELS=off, `library()` is None and torch computes everything, more slowly.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).with_name("source")

# Vectors and fused multiply-add, with the standard behaviour of NaN.
FLAGS: Final = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
SECONDS_TO_COMPILE: Final = 120

# The functions of the sources; pointers are addresses.
FUNCTIONS: Final[dict[str, Sequence[type]]] = {
    "norm": (
        *(c_int32, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_void_p),
        *(c_void_p, c_int32, c_float, c_float, c_void_p, c_int32, c_float, c_int32),
    ),
    "norm_backward": (
        *(c_int32, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p),
        *(c_void_p, c_void_p, c_int32, c_float, c_int32),
    ),
    "pool": (c_int32, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int32),
    "pool_backward": (c_int32, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int32),
    "convolve": (
        *(c_int32, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_int64),
        *(c_int64, c_int32, c_int32),
    ),
    "convolve_weights": (
        *(c_int32, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_int64),
        *(c_int64, c_int32),
    ),
    "dropout": (c_int32, c_void_p, c_void_p, c_int64, c_uint32, c_uint32, c_float, c_int32),
    "warp": (
        *(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p),
        *(c_void_p, c_int32, c_int32),
    ),
}


class Library:
    """The compiled functions, named as in `FUNCTIONS`."""

    norm: Callable[..., None]
    norm_backward: Callable[..., None]
    pool: Callable[..., None]
    pool_backward: Callable[..., None]
    convolve: Callable[..., None]
    convolve_weights: Callable[..., None]
    dropout: Callable[..., None]
    warp: Callable[..., None]

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path))
        for name, arguments in FUNCTIONS.items():
            function = getattr(loaded, f"flyweight_{name}")
            function.argtypes, function.restype = arguments, None
            setattr(self, name, function)
        self.id = path.stem
        loaded.flyweight_convolves.argtypes, loaded.flyweight_convolves.restype = (c_int32,), c_int32
        self.convolves_float32, self.convolves_bfloat16 = (bool(loaded.flyweight_convolves(wide)) for wide in (1, 0))


@functools.cache
def _found() -> tuple[Library | None, str]:
    """The library, or None and the reason."""
    compiler, reason = _compiler()
    if compiler is None:
        return None, reason
    try:
        return Library(_compiled(compiler)), ""
    except ModuleNotFoundError as error:  # a machine that has only torch and numpy
        return None, f"{error.name} is not installed"
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return None, f"{compiler} could not compile the kernels: {said.strip().partition(chr(10))[0]}"


def library() -> Library | None:
    """The kernels, compiled at the first call on a machine (about ten seconds); None if that is not possible."""
    return _found()[0]


def why_missing() -> str:
    """Why there are no kernels; "" if there are."""
    return _found()[1]


def is_to_be_built() -> bool:
    """True if the next call of `library` has to compile."""
    compiler, _ = _compiler()
    try:
        return compiler is not None and not _path(_command(compiler)).exists()
    except (OSError, subprocess.SubprocessError):
        return False


def _compiler() -> tuple[str | None, str]:
    """The C++ compiler, or None and the reason."""
    if os.environ.get("FLYWEIGHT_KERNELS", "").lower() in ("off", "0", "no"):
        return None, "FLYWEIGHT_KERNELS=off"
    if sys.platform not in ("linux", "darwin"):
        return None, f"not built for {sys.platform}"
    wanted = os.environ.get("CXX", "c++")
    found = next(filter(None, map(shutil.which, (wanted, "g++", "clang++"))), None)
    return found, "" if found else "no C++ compiler found (c++, g++, clang++ or $CXX)"


def _command(compiler: str) -> tuple[str, ...]:
    """The compiler with flags for this processor."""
    machine = platform.machine()
    processor = "-mcpu=native" if machine in ("arm64", "aarch64") else "-march=native"
    is_gnu = "Free Software Foundation" in _output(compiler, "--version")
    wide = ("-mprefer-vector-width=512",) if is_gnu and machine == "x86_64" else ()
    # OpenMP only if it is the runtime that torch also uses: two runtimes would wait for each other.
    threads = "-fopenmp" if is_gnu and sys.platform == "linux" else "-Wno-unknown-pragmas"
    return (compiler, *FLAGS, processor, *wide, threads)


def _path(command: Sequence[str]) -> Path:
    """Path of the library for this source, compiler and processor."""
    from platformdirs import user_cache_dir  # here, so that the other kernels need only torch

    return Path(user_cache_dir("flyweight")) / "kernels" / f"{_identity(command)}.so"


def _compiled(compiler: str) -> Path:
    """The library, from the cache or compiled now; the file is never incomplete."""
    from filelock import FileLock

    command = _command(compiler)
    path = _path(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                built = Path(scratch) / path.name
                _build(command, built)
                built.replace(path)
    return path


def _build(command: Sequence[str], path: Path) -> None:
    """Compile the sources in parallel, then link them."""
    sources = sorted(SOURCES.glob("*.cpp"))
    objects = [path.with_name(f"{source.stem}.o") for source in sources]
    with ThreadPoolExecutor(len(sources)) as pool:
        compiling = [
            pool.submit(_output, *command, "-c", str(source), "-o", str(target))
            for source, target in zip(sources, objects, strict=True)
        ]
        for one in compiling:
            one.result()
    _output(*command, "-shared", *map(str, objects), "-o", str(path))


def _identity(command: Sequence[str]) -> str:
    """A hash of everything that decides the machine code: source, compiler, flags and processor."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.?pp"))))
    for part in (*command, _output(command[0], "--version"), _processor()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _processor() -> str:
    """Model and instruction sets of the processor: different machines may share a cache folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _output(*command: str) -> str:
    """The output of a command, here the user's compiler on our source."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS_TO_COMPILE).stdout  # noqa: S603
