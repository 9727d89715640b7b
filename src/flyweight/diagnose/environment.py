"""What the report of a fault needs to say of this machine: versions, processor, kernels, devices, kind of database.

Nothing in it names a person, a host or a folder, so it can be pasted into a public issue. It works without torch.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from flyweight import __version__
from flyweight.errors import MissingError, UsageError, needs_torch
from flyweight.records.database import database_url

ABSENT: Final = "not installed"
WITHOUT_TORCH: Final = "unknown: torch is not installed"
# Variables that change speed or bits; their values tell nothing private. Others are only said to be set.
PLAIN_VARIABLES: Final = ("CUDA_VISIBLE_DEVICES", "FLYWEIGHT_KERNELS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
OTHER_VARIABLES: Final = ("CXX", "FLYWEIGHT_AUTHOR", "FLYWEIGHT_DATABASE", "FLYWEIGHT_HOME", "FLYWEIGHT_TRACK")
# A path of two names or more, so that "avx2/fma" in a sentence stays.
_PATH: Final = re.compile(r"(?<![\w.])~?(?:/[^\s/:,;'\"()]+){2,}")
_REQUIRED: Final = re.compile(r"[A-Za-z0-9_.-]+")
_DEVELOPING: Final = re.compile(r"extra == ['\"](dev|docs)['\"]")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """kernels: which compute on the processor, or why torch does it alone. devices: what a training can run on.

    variables: those that are set and change what flyweight does; a value that may be private is "set".
    packages: each that flyweight can use, also by an extra, with its version or "not installed".
    """

    flyweight: str
    python: str
    system: str
    architecture: str
    processor: str
    cpu_capability: str
    cores: int | None
    kernels: str
    devices: tuple[str, ...]
    database: str
    variables: dict[str, str]
    packages: dict[str, str]


def describe_environment(database: str | None = None) -> Environment:
    """This machine; `database`: the address whose kind is named, by default that of runs. It is not opened."""
    computes = _computes()
    return Environment(
        flyweight=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        processor=computes.get("processor") or platform.processor() or platform.machine(),
        cpu_capability=computes.get("cpu_capability", WITHOUT_TORCH),
        cores=computes.get("cores", os.cpu_count()),
        kernels=without_paths(computes.get("kernels", WITHOUT_TORCH)),
        devices=computes.get("devices", ()),
        database=_database(database or os.environ.get("FLYWEIGHT_DATABASE")),
        variables={
            **{name: without_paths(os.environ[name]) for name in PLAIN_VARIABLES if name in os.environ},
            **{name: "set" for name in OTHER_VARIABLES if name in os.environ},
        },
        packages=_packages(),
    )


def without_paths(text: str) -> str:
    """The text with each path shortened to its last name.

    >>> without_paths("/usr/bin/c++ could not compile the kernels: no space left in /home/ada/.cache/x")
    'c++ could not compile the kernels: no space left in x'
    """
    return _PATH.sub(lambda found: Path(found[0]).name, text)


def _computes() -> dict[str, Any]:
    """What only torch can tell; nothing without it."""
    try:
        with needs_torch("the environment of a training"):
            import torch

            from flyweight.train import device
    except MissingError:
        return {}
    return {**device.describe(torch.device("cpu")), "devices": device.available()}


def _database(address: str | None) -> str:
    try:
        kind = database_url(address, Path()).get_backend_name()
    except UsageError:
        return "an address that flyweight cannot read"
    if kind == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL, psycopg {_version('psycopg')}"


def _packages() -> dict[str, str]:
    try:
        required = metadata.requires("flyweight") or []
    except metadata.PackageNotFoundError:  # the source tree alone, on Python's path
        required = []
    used = [line for line in required if not _DEVELOPING.search(line)]
    named = {found[0].lower() for line in used if (found := _REQUIRED.match(line))} - {"flyweight"}
    return {name: _version(name) for name in sorted(named)}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ABSENT
