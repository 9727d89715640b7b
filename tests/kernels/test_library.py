"""The library is built once, found again, and never missed where it cannot be built."""

from __future__ import annotations

import os
import platform
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flyweight.kernels import library as built
from flyweight.kernels.library import FUNCTIONS, SOURCES, library, why_missing

TRAIN = """
import torch
from flyweight.kernels.library import library, why_missing
from flyweight.model.build import build
model = build("c4 m2 bn r do.1 c4 bn r m2 flat fc10", (1, 28, 28), generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
model(torch.ones((4, 1, 28, 28)).requires_grad_()).sum().backward()
print(library() is not None, why_missing(), sep="|")
"""


def trained_with(cache: Path, **environment: str) -> list[str]:
    """Whether the kernels were there, and why not, as a fresh process with its own cache sees it."""
    found = subprocess.run(
        [sys.executable, "-c", TRAIN],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "HOME": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip().split("|")


def test_python_declares_every_function_of_the_source():
    """Names and numbers of arguments are those of the C++ sources."""
    sources = [path.read_text(encoding="utf-8") for path in SOURCES.glob("*.cpp")]
    text = "".join(source.split('extern "C"')[1] for source in sources)
    declared = dict(re.findall(r"void flyweight_(\w+)\(([^)]*)\)", text))

    assert {name: len(arguments.split(",")) for name, arguments in declared.items()} == {
        name: len(types) for name, types in FUNCTIONS.items()
    }
    assert len(declared) == 8


def test_kernels_can_be_switched_off(tmp_path):
    """FLYWEIGHT_KERNELS=off trains by torch alone, builds nothing and says why."""
    assert trained_with(tmp_path, FLYWEIGHT_KERNELS="off") == ["False", "FLYWEIGHT_KERNELS=off"]
    assert not list(tmp_path.rglob("*.so"))


def test_without_a_compiler_torch_does_it_all(tmp_path):
    """On a machine with no C++ compiler a net trains, and the reason is reported."""
    empty = tmp_path / "bin"
    empty.mkdir()

    is_built, reason = trained_with(tmp_path, PATH=str(empty), FLYWEIGHT_KERNELS="", CXX="c++")

    assert (is_built, reason) == ("False", "no C++ compiler found (c++, g++, clang++ or $CXX)")


def test_a_compiler_that_fails_is_reported_and_leaves_nothing(tmp_path):
    """What the compiler said stands in the reason; no half library stays in the cache."""
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 1 && exit 0\necho no such flag >&2\nexit 1\n')
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)

    is_built, reason = trained_with(tmp_path, CXX=str(broken), FLYWEIGHT_KERNELS="")

    assert is_built == "False"
    assert str(broken) in reason
    assert "no such flag" in reason
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".so"]


@pytest.mark.skipif(library() is None, reason=f"no kernels here: {why_missing()}")
def test_the_second_start_compiles_nothing(tmp_path, monkeypatch):
    """A library that is in the cache is loaded; the compiler is asked for its version alone."""
    commands: list[tuple[str, ...]] = []
    real = subprocess.run

    def spy(command, **settings):
        commands.append(tuple(command))
        return real(command, **settings)

    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _name: str(tmp_path))
    monkeypatch.setattr(built.subprocess, "run", spy)
    compiler, _ = built._compiler()
    before = built.is_to_be_built()
    first, so_far = built._compiled(compiler), len(commands)
    second = built._compiled(compiler)

    assert (before, built.is_to_be_built()) == (True, False)
    assert first == second
    assert sum("-c" in command for command in commands) == len(list(SOURCES.glob("*.cpp"))) == 2
    assert all("--version" in command for command in commands[so_far:])
    assert [path.suffix for path in tmp_path.rglob("*.so")] == [".so"]


@pytest.mark.skipif(library() is None or platform.machine() != "x86_64", reason="needs a compiler for x86-64")
@pytest.mark.parametrize(
    "processor",
    ["x86-64", pytest.param("x86-64-v3", marks=pytest.mark.slow), pytest.param("x86-64-v4", marks=pytest.mark.slow)],
)
def test_the_sources_compile_for_older_processors(processor, tmp_path):
    """Without AVX-512, and with it but without bfloat16, all functions are there and the compiler has no complaint."""
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-parameter"]
    target = tmp_path / "library.so"

    subprocess.run(
        [built._compiler()[0], *flags, f"-march={processor}", "-fPIC", "-shared", *SOURCES.glob("*.cpp"), "-o", target],
        check=True,
    )

    names = subprocess.run(["nm", "-D", target], check=True, capture_output=True, text=True).stdout
    assert {name for name in FUNCTIONS if f" T flyweight_{name}" not in names} == set()
