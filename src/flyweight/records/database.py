"""Open a database by its address and migrate it: an engine, or an error of one line.

SQLite is a file that processes of one machine share; PostgreSQL serves many machines. Other modules of `records` need
not distinguish them.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import DataError as ValueOutOfRange
from sqlalchemy.sql import column, table

from flyweight.errors import DataError, MissingError, UsageError, without_passwords
from flyweight.records.tables import SCHEMA_VERSION, VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
MIGRATION_SECONDS = 120
COPY_OF = "copy_of"  # the option of an engine that has the file which it is a copy of
ADVISORY_LOCK = 0x666C79  # a number for the lock of all flyweight processes ("fly")


def open_database(url: str | None, home: Path, *, only_reads: bool = False) -> Engine:
    """The database at the address (default: a file in the home) with current tables.

    only_reads: a file that cannot be written is read from a copy, which can be migrated; writing to it is an error.
    """
    address = database_url(url, home)
    if address.get_backend_name() != "sqlite":
        engine = make_engine(address)
        bring_up_to_date(engine)
        return engine
    file = _file(address)
    if only_reads and file.exists() and not is_writable(file):
        engine = make_engine(address.set(database=str(_copy_of(file))))
        bring_up_to_date(engine)
        return engine.execution_options(**{COPY_OF: file})
    require_writable(file)
    engine = make_engine(address)
    bring_up_to_date(engine)
    return engine


def _copy_of(file: Path) -> Path:
    """A copy of a database and of what was not yet written back into it; it is removed when Python ends.

    SQLite cannot open a database with a write-ahead log in a folder where it may create nothing.
    """
    folder = tempfile.TemporaryDirectory(prefix="flyweight-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    try:
        for path in (file, file.with_name(f"{file.name}-wal")):
            if path.exists():
                shutil.copyfile(path, Path(folder.name) / path.name)
    except OSError as error:
        raise MissingError(f"cannot read the database {file}: {error.strerror}; {_HELP}") from error
    return Path(folder.name) / file.name


def database_url(url: str | None, home: Path) -> URL:
    """The address as a SQLAlchemy URL; `postgresql://` and `postgres://` use psycopg 3.

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
    raise UsageError(f"unknown kind of database: {shown(address)!r}; {_ADDRESSES}")


_ADDRESSES = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


def make_engine(address: URL, *, foreign_keys: bool = True) -> Engine:
    """An engine that opens a connection for each operation.

    So stores need not be closed, and work after a fork and from several threads.
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
    """A connection that reads one consistent state of the database."""
    with speaking_plainly(engine), engine.connect() as connection:
        try:
            yield connection
        except (ValueError, TypeError) as error:  # a date or JSON that does not parse
            raise DataError(
                f"{shown(engine.url)} is damaged: {_of_one_line(error)}; move the file away or restore a copy"
            ) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection with a transaction: all of it is written, or nothing."""
    original = engine.get_execution_options().get(COPY_OF)
    if original is not None:
        raise MissingError(f"{original} is not writable; {_HELP}")
    with speaking_plainly(engine), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def speaking_plainly(engine: Engine) -> Iterator[None]:
    """A context that turns errors of the environment (no server, full disk, no rights, broken file) into one line."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise MissingError(f"cannot use the database {shown(engine.url)}: {_first_line(error)}") from error
    except (ValueOutOfRange, OverflowError) as error:
        raise UsageError(f"the database cannot store a value: {_of_one_line(error)}") from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # its subclasses (a constraint, a query) are bugs of ours
            raise
        raise DataError(
            f"{shown(engine.url)} is damaged or no database: {_first_line(error)}; move the file away or restore a copy"
        ) from error


def require_writable(path: Path) -> None:
    """Create the folder of a database file, and check that it is writable."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        may_write = is_writable(path)
    except OSError as error:
        raise MissingError(f"cannot use the folder {folder}: {error.strerror}; {_HELP}") from error
    if not may_write:
        raise MissingError(f"{path} is not writable; {_HELP}")


def is_writable(path: Path) -> bool:
    """Whether a file can be written and others created beside it."""
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))


_HELP = "mend its permissions, or set FLYWEIGHT_HOME to another folder"


def bring_up_to_date(engine: Engine) -> None:
    """Create or migrate the tables if needed; of several processes, one does it."""
    if not _is_new_file(engine):
        # Alembic is only imported if needed: that takes longer than everything else here.
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
    """The number of the last migration; None in a database without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return version


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run the missing migrations in the transaction of the connection; the caller commits."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def shown(address: URL) -> str:
    """The address for messages: the path of a file, or a server without its password."""
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return without_passwords(address.render_as_string(hide_password=True))


def _migrate(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # Batch migrations rebuild tables, which enforced foreign keys would treat as deletions.
        engine = make_engine(engine.url, foreign_keys=False)
        _switch_to_wal(engine)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        if schema_version(connection) != SCHEMA_VERSION:
            upgrade(connection)


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """A lock against migrations by other processes of this machine; PostgreSQL has a lock in the transaction."""
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
            f"another process has held {lock} for {MIGRATION_SECONDS} s; end that process and try again"
        ) from error


def _is_new_file(engine: Engine) -> bool:
    """Whether the file is missing or empty. Checked without a connection, which would disturb the switch to WAL."""
    if engine.dialect.name != "sqlite":
        return False
    path = _file(engine.url)
    return not path.exists() or path.stat().st_size == 0


def _switch_to_wal(engine: Engine) -> None:
    """Set write-ahead logging: readers do not wait for writers; the file keeps the mode."""
    with speaking_plainly(engine), engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


def _prepare_sqlite(engine: Engine, *, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # Transactions of the driver begin late and exclude DDL, so we begin them below.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Writers lock immediately: after a read SQLite would refuse the lock instead of waiting.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _file(address: URL) -> Path:
    return Path(str(address.database))


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _of_one_line(error: Exception) -> str:
    return _first_line(error) if isinstance(error, DBAPIError) else " ".join(str(error).split())[:200]


def _without_password(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def storable(text: str) -> str:
    """Text that both databases accept, so that any error message can be stored with a run."""
    return without_passwords(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def now() -> datetime:
    return datetime.now(UTC)
