"""Stores on both back ends: SQLite files, and a real PostgreSQL server that lives as long as the test session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from example_run import asked

from flyweight.records.record import RunRecord
from flyweight.records.store import Store

BACK_ENDS = ("sqlite", "postgresql")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWEIGHT_HOME", raising=False)
    monkeypatch.delenv("FLYWEIGHT_DATABASE", raising=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a database on a server started for this session."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb on the path or in /usr/lib/postgresql/*/bin)")
    # A short path, since that of a Unix socket may have no more than about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="flyweight-postgres-"))
    server = Server(programs, folder)
    try:
        server.start()
        yield f"postgresql://flyweight@/postgres?host={folder}"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A PostgreSQL server in a folder, reached by a socket in that folder only."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = str(folder / "data")
        self._user = unprivileged_user()

    def start(self) -> None:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._run(
            "initdb", "-D", self._data, "-U", "flyweight", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        options = f"-F -k {self._folder} -c listen_addresses= -c max_connections=50"
        self._run("pg_ctl", "-D", self._data, "-l", str(self._folder / "log"), "-o", options, "-w", "start")

    def stop(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # Not a pipe: the server inherits what pg_ctl writes to, and a pipe would stay open as long as it lives.
        with (self._folder / "talk").open("ab+") as talk:
            done = subprocess.run(
                command, user=self._user, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=talk, stderr=talk
            )
            talk.seek(0)
            assert done.returncode == 0, talk.read().decode(errors="replace")


def postgres_programs() -> Path | None:
    """The folder that holds initdb and pg_ctl; the newest where there are several."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4))
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    complete = [folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    return complete[-1] if complete else None


def unprivileged_user() -> str | None:
    """Whom to become to start a server: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(params=BACK_ENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that holds nothing yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    address: str = request.getfixturevalue("postgres")
    empty(address)
    return address


def empty(address: str) -> None:
    """Take away all tables: a database of its own for each test would write 8 MB each time."""
    import psycopg

    with psycopg.connect(address) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


@pytest.fixture
def store(url: str, home: Path) -> Store:
    return Store.open(url, home)


@pytest.fixture
def start(store: Store) -> Callable[..., RunRecord]:
    """Start a run in the store; what a test does not care about is filled in."""

    def start_with(**changed: Any) -> RunRecord:
        return store.start(**asked(**changed))

    return start_with
