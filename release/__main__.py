"""`make release`: the sdist and the wheel of the last commit, checked, and installed into every Python at hand.

In: the commit that is checked out. Out: two files in dist/, or the first reason why not. Nothing is uploaded.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).parent.parent
VERSION_IS_IN: Final = Path("src/flyweight/__init__.py")
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
MAX_WHEEL_BYTES: Final = 15_000_000

# What each archive must have, below its top folder; the licence of the data goes where the data goes.
REQUIRED: Final = (
    "flyweight/__init__.py",
    "flyweight/py.typed",
    "flyweight/data/mnist.npz",
    "flyweight/data/NOTICE.md",
    "flyweight/kernels/source/convolution.cpp",
    "flyweight/recipe/own/20k-fast.toml",
    "flyweight/report/run/page.html",
)
LICENCES: Final = ("LICENSE", "NOTICE.md")
# No caches, compiled files, records of somebody's runs, or what only the repository is for.
UNWANTED_FOLDERS: Final = {"tests", "benchmarks", "docs", "examples", "__pycache__", ".git", ".venv", "node_modules"}
UNWANTED_SUFFIXES: Final = {".pyc", ".so", ".o", ".db", ".safetensors", ".log"}

# What an installed flyweight is asked to do, in an empty folder: first without torch, then with it.
READING: Final[tuple[tuple[str, ...], ...]] = (
    ("--version",),
    ("show", "own/20k-fast", "--budget", "10k"),
    ("check", "own/8k"),
    ("recipes",),
    ("runs",),
    ("doctor", "own/20k-fast"),
    ("doctor", "--environment", "--json"),
)
TRAINING: Final[tuple[tuple[str, ...], ...]] = (
    ("train", "own/8k", "--epochs", "1", "--train-limit", "1000"),
    ("report", "@latest"),
    ("doctor", "@latest", "--no-probes"),
    ("runs", "--verify"),
)


class ReleaseError(Exception):
    """Why this commit cannot be released."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An archive: its file, the names of its members without the top folder of an sdist, and its SHA-256."""

    path: Path
    members: tuple[str, ...]
    sha256: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release and say what was checked."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            release(Path(scratch), options)
    except ReleaseError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    return 0


def release(scratch: Path, options: argparse.Namespace) -> None:
    version = version_of(ROOT / VERSION_IS_IN)
    notes = section_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not options.rehearse:
        require_released(version, notes)
        require_committed()
    first, second = (build(scratch / name) for name in ("first", "second"))
    require_same(first, second)
    print(f"flyweight {version}: built twice from the last commit, equal to the byte")
    for built in first:
        check_contents(built)
        print(f"  {built.path.name}  {built.path.stat().st_size:,} bytes, {len(built.members)} files")
    run([sys.executable, "-m", "twine", "check", "--strict", *(str(built.path) for built in first)])
    print("  twine check passed")
    wheel = next(built.path for built in first if built.path.suffix == ".whl")
    pythons = options.python or pythons_at_hand()
    for python in pythons:
        smoke(python, wheel, scratch / f"python-{Path(python).name}", trains=not options.no_training)
        print(f"  installed and tried with {python_version(python)}{' (no training)' if options.no_training else ''}")
    for missing in sorted(set(PYTHONS) - {python_version(python)[:4] for python in pythons}):
        print(f"  not tried: Python {missing}{'' if options.python else ', which is not at hand'}")
    options.out.mkdir(parents=True, exist_ok=True)
    for built in first:
        shutil.copy2(built.path, options.out / built.path.name)
        print(f"{built.sha256}  {options.out / built.path.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make release", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the archives (default: dist)")
    parser.add_argument(
        "--rehearse", action="store_true", help="without a section in CHANGELOG.md or a clean work tree"
    )
    parser.add_argument("--no-training", action="store_true", help="do not install torch; try only what reads")
    parser.add_argument("--python", action="append", help="try this interpreter only; may be repeated")
    return parser


def version_of(source: Path) -> str:
    """The version, from the one place that has it."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__":
            return str(ast.literal_eval(node.value))
    raise ReleaseError(f"{source} has no line `__version__ = ...`.")


def section_of(changelog: str, version: str) -> str:
    """What the changelog says of a version, without its heading; "" if it says nothing.

    >>> section_of("## Unreleased\\n- b\\n## 0.2.0 (2026-12-01)\\n- a\\n## 0.1.0\\n", "0.2.0")
    '- a'
    """
    found = re.search(rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    return found[1].strip() if found else ""


def require_released(version: str, notes: str) -> None:
    """The changelog has a section of this version with a date, and nothing waits above it."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.M)
    if not (notes and dated):
        raise ReleaseError(f"CHANGELOG.md needs a section `## {version} (YYYY-MM-DD)` that says what is new.")
    if section_of(changelog, "Unreleased"):
        raise ReleaseError(f"CHANGELOG.md still has lines under Unreleased; move them under {version}.")


def require_committed() -> None:
    """What is built is what is committed."""
    changed = run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT)
    if changed:
        raise ReleaseError(f"these files are changed and not committed:\n{changed}")


def build(folder: Path) -> tuple[Built, ...]:
    """The sdist of the last commit and the wheel that is made of it, with the time of the commit in both."""
    source, out = folder / "source", folder / "out"
    source.mkdir(parents=True)
    archive = folder / "commit.tar"
    run(["git", "archive", "--format=tar", f"--output={archive}", "HEAD"], cwd=ROOT)
    with tarfile.open(archive) as committed:
        committed.extractall(source, filter="data")
    variables = {
        **os.environ,
        "SOURCE_DATE_EPOCH": run(["git", "log", "-1", "--format=%ct"], cwd=ROOT).strip(),
        "PIP_CONSTRAINT": str(source / "constraints.txt"),
    }
    run([sys.executable, "-m", "build", "--outdir", str(out), str(source)], env=variables)
    built = tuple(read_archive(path) for path in sorted(out.iterdir()))
    if [one.path.suffix for one in built] != [".whl", ".gz"]:
        raise ReleaseError(f"a wheel and an sdist were expected, found {[one.path.name for one in built]}.")
    return built


def read_archive(path: Path) -> Built:
    """The members of a wheel or an sdist; the top folder of an sdist and `src` are left out."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            members = wheel.namelist()
    else:
        with tarfile.open(path) as sdist:
            members = [one.name.partition("/")[2].removeprefix("src/") for one in sdist.getmembers() if one.isfile()]
    return Built(path=path, members=tuple(members), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def require_same(first: Iterable[Built], second: Iterable[Built]) -> None:
    """Two builds of one commit are equal to the byte."""
    for one, other in zip(first, second, strict=True):
        if one.sha256 != other.sha256:
            raise ReleaseError(f"two builds of {one.path.name} differ; the release could not be made again.")


def check_contents(built: Built) -> None:
    """All that is needed, nothing that is not, the licences, and a wheel of bearable size."""
    faults = contents_faults(built.members)
    size = built.path.stat().st_size
    if built.path.suffix == ".whl" and size > MAX_WHEEL_BYTES:
        faults.append(f"it has {size:,} bytes, the limit is {MAX_WHEEL_BYTES:,}")
    if faults:
        raise ReleaseError(f"{built.path.name}: {'; '.join(faults)}.")


def contents_faults(members: Sequence[str]) -> list[str]:
    """What is wrong with the names in an archive.

    >>> contents_faults([*REQUIRED, "x.dist-info/licenses/LICENSE", "tests/test_a.py"])
    ['it must not have tests/test_a.py']
    """
    names = {PurePosixPath(name).name for name in members}
    absent = [f"{name} is missing" for name in REQUIRED if name not in members]
    absent += [f"the licence {name} is missing" for name in LICENCES if name not in names]
    return absent + [f"it must not have {name}" for name in members if _is_unwanted(PurePosixPath(name))]


def _is_unwanted(member: PurePosixPath) -> bool:
    return bool(UNWANTED_FOLDERS & set(member.parts[:-1])) or member.suffix in UNWANTED_SUFFIXES


def pythons_at_hand() -> list[str]:
    """One interpreter for each supported version that runs: on the path, or installed by pyenv."""
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for version in PYTHONS:
        installed = sorted(folder.glob(f"{version}.*/bin/python{version}"), reverse=True)
        candidates = [shutil.which(f"python{version}"), *map(str, installed)]
        found += [path for path in candidates if path and _runs(path)][:1]
    return found


def _runs(python: str) -> bool:
    """A name on the path may be a stub that runs nothing; a Python without venv is of no use here."""
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0  # noqa: S603


def python_version(python: str) -> str:
    return run([python, "-c", "import platform; print(platform.python_version())"]).strip()


def smoke(python: str, wheel: Path, folder: Path, *, trains: bool) -> None:
    """Install the wheel into a fresh environment and use it there, in an empty folder without the repository."""
    work = folder / "work"
    work.mkdir(parents=True)
    run([python, "-m", "venv", str(folder / "environment")])
    binaries = folder / "environment" / "bin"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLYWEIGHT_"))}
    variables |= {"FLYWEIGHT_HOME": str(folder / "home"), "COLUMNS": "80"}
    pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--constraint", str(ROOT / "constraints.txt")]

    run([*pip, str(wheel)], env=variables, cwd=work)
    for command in READING:
        run([str(binaries / "flyweight"), *command], env=variables, cwd=work)
    found = json.loads(run([str(binaries / "flyweight"), *READING[-1]], env=variables, cwd=work))
    if found["flyweight"] != version_of(ROOT / VERSION_IS_IN):
        raise ReleaseError(f"{python} installed flyweight {found['flyweight']}.")
    if trains:
        run([*pip, f"{wheel}[train]"], env=variables, cwd=work)
        for command in TRAINING:
            run([str(binaries / "flyweight"), *command], env=variables, cwd=work)


def run(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command printed; a command that fails ends the release with what it said."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ReleaseError(f"`{' '.join(command)}` failed with {done.returncode}:\n{said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
