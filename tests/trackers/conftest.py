"""Stores under a home of the test's own, and trackers that know nothing of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.records.store import Store
from flyweight.trackers.trackers import open_tracker


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what this machine is set to, nor what another test has set."""
    for name in os.environ:
        if name.startswith(("FLYWEIGHT_HOME", "FLYWEIGHT_DATABASE", "MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def give_mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Puts an empty database of MLflow where the tracker looks for it: making one takes seconds, copying it none."""
    pytest.importorskip("mlflow")
    template = tmp_path_factory.mktemp("template")
    open_tracker("mlflow", template).close()

    def give(home: Path) -> None:
        shutil.copytree(template / "trackers", home / "trackers", dirs_exist_ok=True)

    return give


@pytest.fixture(scope="session")
def empty_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of ours that holds nothing yet, to be copied for the same reason."""
    path = tmp_path_factory.mktemp("records") / "records.db"
    Store.open(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def store(tmp_path: Path, empty_records: Path) -> Store:
    shutil.copy(empty_records, tmp_path)
    return Store.open(f"sqlite:///{tmp_path / 'records.db'}", tmp_path / "home")
