"""From an address to a database whose tables are current: an engine, or one clear line why not.

SQLite is one file that many processes of one machine share; PostgreSQL serves many machines. The rest of the room
sees no difference.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.sql import column, table

from flyweight.errors import DataError, MissingError, UsageError
from flyweight.records.tables import SCHEMA_VERSION, VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
MIGRATION_SECONDS = 120
ADVISORY_LOCK = 0x666C79  # any number that every flyweight agrees on ("fly")


def open_database(url: str | None, home: Path) -> Engine:
    """The database at the address (default: a file in the home), its tables made or brought up to date."""
    address = database_url(url, home)
    if address.get_backend_name() == "sqlite":
        require_writable(_file(address))
    engine = make_engine(address)
    bring_up_to_date(engine)
    return engine


def database_url(url: str | None, home: Path) -> URL:
    """The address in SQLAlchemy's form; `postgresql://` and `postgres://` mean psycopg 3.

    >>> database_url("postgres://lab@server/nets", Path("home")).drivername
    'postgresql+psycopg'
    """
    if not url:
        return URL.create("sqlite", database=str(home / "flyweight.db"))
    try:
        address = make_url(url)
    except ArgumentError:
        raise UsageError(f"cannot read the database address {_without_password(url)!r}; {_ADDRESSES}") from None
    if address.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return address.set(drivername="postgresql+psycopg")
    if address.drivername == "sqlite" and address.database not in (None, "", ":memory:"):
        return address.set(database=str(Path(str(address.database)).expanduser().absolute()))
    raise UsageError(f"no such kind of database: {shown(address)!r}; {_ADDRESSES}")


_ADDRESSES = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


def make_engine(address: URL, *, foreign_keys: bool = True) -> Engine:
    """An engine that connects anew for each piece of work.

    Nothing is left open then: stores need no closing, and may be used after a fork and from several threads.
    """
    try:
        engine = create_engine(address, poolclass=NullPool, json_serializer=_json)
    except ImportError as error:
        raise MissingError(
            f"PostgreSQL needs the psycopg package ({error}): pip install 'flyweight[postgres]'"
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, foreign_keys=foreign_keys)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database."""
    with speaking_plainly(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is done whole or not at all."""
    with speaking_plainly(engine), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def speaking_plainly(engine: Engine) -> Iterator[None]:
    """Turn what a person can mend (no server, full disk, no rights, broken file) into one line of ours."""
    try:
        yield
    except OperationalError as error:
        raise MissingError(f"cannot use the database {shown(engine.url)}: {_first_line(error)}") from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # the children (a constraint, a query) are our own mistakes
            raise
        raise DataError(
            f"{shown(engine.url)} is not a sound database: {_first_line(error)}; move the file away or restore a copy"
        ) from error


def require_writable(path: Path) -> None:
    """Refuse, before anything is written, a place that cannot be written; make the folder it lies in."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing_rights = not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK))
    except OSError as error:
        raise MissingError(f"cannot use the folder {folder}: {error.strerror}; {_MEND}") from error
    if missing_rights:
        raise MissingError(f"{path} must be writable and is not; {_MEND}")


_MEND = "mend its permissions, or set FLYWEIGHT_HOME to another folder"


def bring_up_to_date(engine: Engine) -> None:
    """Make or migrate the tables if they are not current; many processes may ask at once, one does it."""
    if not _is_new_file(engine):
        # Compared by hand: importing Alembic takes longer than everything else that opening does.
        with reading(engine) as connection:
            found = schema_version(connection)
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise MissingError(
                f"the database {shown(engine.url)} was written by a newer flyweight (schema {found}, this one knows "
                f"{SCHEMA_VERSION}): pip install --upgrade flyweight"
            )
    with _migration_lock(engine):
        _migrate(engine)


def schema_version(connection: Connection) -> str | None:
    """The number of the last migration done; None in a database without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return version


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run the missing migrations in the connection's transaction, which the caller ends."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def shown(address: URL) -> str:
    """The address as it may be printed: a file as its path, a server without its password."""
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return address.render_as_string(hide_password=True)


def _migrate(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # Batch migrations rebuild tables under a new name, which enforced foreign keys would take for deletions.
        engine = make_engine(engine.url, foreign_keys=False)
        _switch_to_wal(engine)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        if schema_version(connection) != SCHEMA_VERSION:
            upgrade(connection)


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Keep the other processes of this machine from migrating; PostgreSQL has its own lock, in the transaction."""
    if engine.dialect.name != "sqlite":
        yield
        return
    from filelock import FileLock, Timeout

    path = _file(engine.url)
    lock = path.with_name(f"{path.name}.lock")
    try:
        with FileLock(lock, timeout=MIGRATION_SECONDS):
            yield
    except Timeout as error:
        raise MissingError(
            f"another process has been holding {lock} for {MIGRATION_SECONDS} s; end it and try again"
        ) from error


def _is_new_file(engine: Engine) -> bool:
    """Whether SQLite has yet to make the file. Looking without connecting leaves the switch to WAL undisturbed."""
    if engine.dialect.name != "sqlite":
        return False
    path = _file(engine.url)
    return not path.exists() or path.stat().st_size == 0


def _switch_to_wal(engine: Engine) -> None:
    """Readers no longer wait for a writer; the mode stays in the file."""
    with speaking_plainly(engine), engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


def _prepare_sqlite(engine: Engine, *, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transactions begin late and do not hold DDL: ours are begun below.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that read first could not wait for it, SQLite would refuse it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _file(address: URL) -> Path:
    return Path(str(address.database))


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _first_line(error: DatabaseError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _without_password(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def storable(text: str) -> str:
    """Text that both back ends take: an error's message must never be what keeps a run from being closed."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def now() -> datetime:
    return datetime.now(UTC)
