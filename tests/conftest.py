"""Shared by all tests: how many examples the property tests draw, one thread for torch, which tests are slow, and what
is made once for all workers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

# Read before torch loads: tests of tiny nets are faster and calmer on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "80"  # of texts, whatever terminal the tests are started in

# Torch loads triton by itself at times, and triton asks only once. Where there is no GPU, its kernels are interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Drawing a whole net and building it has no steady time, so there is no deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The quick examples are the same each time, so that a failure is a change; the thorough ones look for news.
settings.register_profile("quick", max_examples=60, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=300, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("FLYWEIGHT_HYPOTHESIS", "quick"))


MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 * 2**30


def pytest_configure() -> None:
    """Temporary folders are kept in memory where it is large enough: half of the seconds are waits for a disk."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too, as CI does")
    parser.addoption("--soak", action="store_true", help="run those that take minutes each too, as `make soak` does")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked slow or soak runs only when asked for."""
    for kind in ("slow", "soak"):
        if config.getoption(f"--{kind}"):
            continue
        for item in items:
            if item.get_closest_marker(kind):
                item.add_marker(pytest.mark.skip(reason=f"{kind}: run with --{kind}"))


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test trusts is forgotten after it, and the user's own data folder is left alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None], Path], None]:
    """Fills a folder with what a function makes; it is called once a session, in the worker that comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def fill(make: Callable[[Path], None], folder: Path) -> None:
        original = shared / f"made by {make.__name__}"
        is_made = original.with_suffix(".done")
        with FileLock(original.with_suffix(".lock")):
            if not is_made.exists():
                original.mkdir()
                make(original)
                is_made.touch()
        shutil.copytree(original, folder, dirs_exist_ok=True)

    return fill
