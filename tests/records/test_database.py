"""Opening: what is made and migrated, and what is refused in one line with nothing written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from example_run import asked
from sqlalchemy import Connection, Engine, inspect, make_url, text

from flyweight.errors import DataError, MissingError, UsageError
from flyweight.records.database import (
    MIGRATIONS,
    database_url,
    make_engine,
    reading,
    schema_version,
    upgrade,
    writing,
)
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.records.tables import SCHEMA_VERSION, VERSION_TABLE, metadata

Start = Callable[..., RunRecord]


def engine_of(url: str, home: Path) -> Engine:
    return make_engine(database_url(url, home))


def test_the_code_and_the_migrations_know_the_same_newest_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    revisions = list(ScriptDirectory.from_config(config).walk_revisions())

    assert revisions[0].revision == SCHEMA_VERSION
    assert [revision.revision for revision in revisions] == [f"{n:04}" for n in range(len(revisions), 0, -1)]


def test_migrated_tables_are_those_of_the_code(store: Store) -> None:
    engine = engine_of(store.url, store.home)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)

    assert len(metadata.tables) == 7
    assert differences == []


def test_migrated_constraints_are_those_of_the_code(store: Store) -> None:
    """Checks, keys and indices, which Alembic's own comparison leaves out, as the database itself reports them."""
    engine = engine_of(store.url, store.home)
    migrated = constraints(engine)
    metadata.drop_all(engine)
    metadata.create_all(engine)

    assert migrated == constraints(engine)
    assert len(migrated["runs"]["checks"]) == 15


def constraints(engine: Engine) -> dict[str, dict[str, Any]]:
    inspector = inspect(engine)
    return {
        table: {
            "checks": sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)),
            "primary": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": [(key["referred_table"], key["options"]) for key in inspector.get_foreign_keys(table)],
            "indices": sorted((index["name"], index["column_names"]) for index in inspector.get_indexes(table)),
            "collations": [getattr(column["type"], "collation", None) for column in inspector.get_columns(table)],
        }
        for table in metadata.tables
    }


def test_a_migration_that_fails_leaves_the_database_as_it_was(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, broken)
    (broken / "versions" / "9999_broken.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '9999', '{SCHEMA_VERSION}'\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer))\n"
        '    op.execute("INSERT INTO half VALUES (1)")\n'
        "    raise RuntimeError('half-way')\n"
    )
    engine = engine_of(store.url, store.home)

    with pytest.raises(RuntimeError, match="half-way"), writing(engine) as connection:
        upgrade(connection, broken)

    with reading(engine) as connection:
        assert schema_version(connection) == SCHEMA_VERSION
    assert not inspect(engine).has_table("half")


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_runs_of_older_versions_survive_the_migrations(version: str, url: str, home: Path, tmp_path: Path) -> None:
    """A database made by an older flyweight is brought up to date with its rows and their epochs."""
    engine = made_by(version, url, home, tmp_path)
    with writing(engine) as connection:
        insert_old(connection, id="0" * 20, epochs_done=3)
        connection.execute(text("INSERT INTO epochs (run_id, epoch) VALUES (:run, 1)"), {"run": "0" * 20})

    store = Store.open(url, home)
    record = store.get("0" * 20)

    assert (record.study, record.parent_hash, record.epochs_done, record.purpose) == (None, None, 3, "run")
    assert record.recipe == asked()["recipe"]
    assert [row.epoch for row in store.epochs(record.id)] == [1]
    assert store.notebook.notes() == ()


def test_older_runs_get_their_purpose_from_their_study(url: str, home: Path, tmp_path: Path) -> None:
    """A study that is only called like a document stays a person's own, if its recipes are none of the document."""
    studies = {
        ("mine", "own/8k"): "run",
        ("doctor", "own/8k"): "trial",
        ("003", "003-16b"): "reproduction",
        ("000 (quick)", "000-1 (quick)"): "reproduction",
        ("003", "own/8k"): "run",
        ("doctors", "003-1"): "run",
        (None, "003-1"): "run",
    }
    engine = made_by("0002", url, home, tmp_path)
    with writing(engine) as connection:
        for number, (study, name) in enumerate(studies):
            insert_old(connection, id=f"{number:020}", study=study, name=name)

    found = {(run.study, run.name): run.purpose for run in Store.open(url, home).runs(purpose="all")}

    assert found == studies


def made_by(version: str, url: str, home: Path, tmp_path: Path) -> Engine:
    """A database whose last migration is this one."""
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    for later in sorted((migrations / "versions").glob("0*.py"))[int(version) :]:
        later.unlink()
    engine = engine_of(url, home)
    with writing(engine) as connection:
        upgrade(connection, migrations)
        assert schema_version(connection) == version
    return engine


def insert_old(connection: Connection, **changed: Any) -> None:
    """A row of a run that failed, with the columns that there were."""
    known = {"pid": 1, "started_at": "2026-11-01 12:00:00+00:00", "epochs_done": 0, **asked(status="failed")}
    known |= {"host": "there", "process_started": "1", "finished_at": known["started_at"], "message": "", **changed}
    row = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in known.items()}
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO runs ({', '.join(row)}) VALUES ({values})"), row)


def test_runs_survive_being_opened_again(store: Store, start: Start) -> None:
    run = start()

    assert Store.open(store.url, store.home).get(run.id) == run


def test_a_database_of_a_newer_version_is_refused(store: Store) -> None:
    with writing(engine_of(store.url, store.home)) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))

    with pytest.raises(MissingError, match=r"newer flyweight \(schema 0999.*pip install --upgrade flyweight"):
        Store.open(store.url, store.home)


def test_opening_a_current_database_loads_no_migration_tool(store: Store) -> None:
    """Nor SQLAlchemy's object mapper: opening is on the way to every command."""
    code = (
        "import sys; from pathlib import Path; from flyweight.records.store import Store; "
        f"Store.open({store.url!r}, Path({str(store.home)!r})).runs(); "
        "print([name for name in ('alembic', 'sqlalchemy.orm', 'filelock') if name in sys.modules])"
    )

    assert python(code).stdout.strip() == "[]"


def test_importing_the_room_loads_no_database() -> None:
    code = "import sys, flyweight.records.record, flyweight.records.run_folder; print('sqlalchemy' in sys.modules)"

    assert python(code).stdout.strip() == "False"


def test_a_missing_driver_is_reported_with_the_install_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path; from flyweight.errors import MissingError\n"
        "from flyweight.records.store import Store\n"
        f"try: Store.open('postgresql://lab@server/nets', Path({str(tmp_path)!r}))\n"
        "except MissingError as error: print(error)"
    )

    assert "pip install 'flyweight[postgres]'" in python(code).stdout


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_sqlite_is_set_as_documented(tmp_path: Path) -> None:
    store = Store.open(home=tmp_path)

    with reading(make_engine(make_url(store.url))) as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }

    assert settings == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 30_000, "foreign_keys": 1}


def test_the_default_is_a_file_in_the_home_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "a" / "b"))

    store = Store.open()

    assert store.home == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b" / "flyweight.db").is_file()


def test_the_environment_names_the_database_and_an_argument_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWEIGHT_DATABASE", f"sqlite:///{tmp_path / 'named.db'}")

    by_environment = Store.open(home=tmp_path)
    by_argument = Store.open(f"sqlite:///{tmp_path / 'given.db'}", tmp_path)

    assert by_environment.url.endswith("named.db")
    assert by_argument.url.endswith("given.db")


def test_a_home_with_odd_characters_works(tmp_path: Path) -> None:
    """Percent signs mean something to Alembic's settings, question marks to addresses."""
    home = tmp_path / "my 100% flies? #1 ü"

    store = Store.open(home=home)

    assert store.runs() == ()
    assert sorted(path.name for path in home.iterdir())[0] == "flyweight.db"
    assert Store.open(store.url, home).runs() == ()


def test_a_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(MissingError, match=r"cannot use the folder .*Not a directory.*FLYWEIGHT_HOME"):
        Store.open(home=tmp_path / "file" / "home")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_without_rights_is_reported_and_nothing_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MissingError, match="must be writable"):
            Store.open(home=tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


def test_a_file_that_is_no_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "flyweight.db").write_text("a letter to my aunt, long enough to be taken for a page" * 100)
    before = (tmp_path / "flyweight.db").read_bytes()

    with pytest.raises(DataError, match="no database"):
        Store.open(home=tmp_path)

    assert (tmp_path / "flyweight.db").read_bytes() == before


def test_a_server_that_is_not_there_is_reported_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")

    with pytest.raises(MissingError, match=r"cannot use the database postgresql\+psycopg://lab:\*\*\*@") as caught:
        Store.open("postgresql://lab:secret@127.0.0.1:1/nets", tmp_path)

    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://lab:secret@server/nets", "sqlite://", "sqlite:///:memory:", "nets.db", "://"])
def test_an_address_of_no_known_kind_is_reported_with_the_known(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="sqlite:///FILE or postgresql://") as caught:
        Store.open(url, tmp_path / "home")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_ways_to_name_postgres_mean_psycopg(scheme: str) -> None:
    assert database_url(f"{scheme}://lab@server/nets", Path()).drivername == "postgresql+psycopg"


def test_a_database_lost_while_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    """As everything about the machine is; here a folder has taken the file's name."""
    store = Store.open(home=tmp_path)
    (tmp_path / "flyweight.db").unlink()
    (tmp_path / "flyweight.db").mkdir()

    with pytest.raises(MissingError, match="cannot use the database"):
        store.runs()


def test_an_empty_file_is_completed(tmp_path: Path) -> None:
    """As a start that was interrupted before the first table leaves it."""
    sqlite3.connect(tmp_path / "flyweight.db").close()
    (tmp_path / "flyweight.db").touch()

    assert Store.open(home=tmp_path).runs() == ()


def test_deleting_a_run_by_hand_takes_its_epochs_along(store: Store, start: Start) -> None:
    """Foreign keys are enforced on both back ends."""
    run = start()
    store.log_epoch(run.id, 1, {})

    with writing(engine_of(store.url, store.home)) as connection:
        connection.execute(text("DELETE FROM runs"))

    assert store.epochs(run.id) == ()
