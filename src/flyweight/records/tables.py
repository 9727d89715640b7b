"""The tables as the code uses them. What a database file really holds is made by `migrations/`; a test holds that
both agree, the checks included.

Facts are columns with constraints; JSON is for what is kept whole.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from flyweight.records.ids import LENGTH
from flyweight.records.record import HELD_OUT, NOTE_KINDS, PURPOSES, STATUSES
from flyweight.records.results import SPLITS
from flyweight.records.search_record import ORIGINS, SEARCH_STATUSES, TRIAL_STATUSES

SCHEMA_VERSION = "0004"
VERSION_TABLE = "flyweight_version"  # not the default of Alembic, which Optuna and MLflow use in a shared database

metadata = MetaData()


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC with its zone; SQLite stores no zone, so it is added on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The time in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The time in UTC, whatever the zone of the server."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _run_id() -> String:
    # Byte order in PostgreSQL too, so that ids sort by time.
    return String(LENGTH).with_variant(String(LENGTH, collation="C"), "postgresql")


def _fraction(name: str, table: str) -> CheckConstraint:
    return CheckConstraint(f"{name} BETWEEN 0 AND 1", name=f"ck_{table}_{name}")


def _correct_of_count(split: str) -> CheckConstraint:
    """Both counts or neither, and at most as many correct predictions as images."""
    return CheckConstraint(
        f"({split}_correct IS NULL AND {split}_count IS NULL) OR "
        f"({split}_correct IS NOT NULL AND {split}_count IS NOT NULL AND "
        f"{split}_count > 0 AND {split}_correct BETWEEN 0 AND {split}_count)",
        name=f"ck_runs_{split}_correct",
    )


runs = Table(
    "runs",
    metadata,
    Column("id", _run_id(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("group_id", Text),
    Column("status", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("recipe_hash", Text, nullable=False),
    Column("params", BigInteger, nullable=False),
    Column("registered_params", BigInteger, nullable=False),
    Column("macs", BigInteger, nullable=False),
    Column("data_name", Text, nullable=False),
    Column("data_hash", Text, nullable=False),
    Column("split_hash", Text, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("epochs_planned", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("process_started", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("epochs_done", Integer, nullable=False),
    Column("best_epoch", Integer),
    *(
        Column(f"{split}_{name}", kind)
        for split in SPLITS
        for name, kind in (("correct", BigInteger), ("count", BigInteger), ("loss", Double))
    ),
    Column("train_seconds", Double),
    Column("message", Text, nullable=False),
    Column("study", Text),
    Column("parent_hash", Text),
    Column("purpose", Text, nullable=False),
    CheckConstraint(f"purpose IN ({', '.join(map(repr, PURPOSES))})", name="ck_runs_purpose"),
    CheckConstraint("study <> ''", name="ck_runs_study"),
    CheckConstraint(f"length(id) = {LENGTH}", name="ck_runs_id"),
    CheckConstraint("name <> ''", name="ck_runs_name"),
    CheckConstraint(f"status IN ({', '.join(map(repr, STATUSES))})", name="ck_runs_status"),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_runs_finished_at"),
    CheckConstraint("seed >= 0", name="ck_runs_seed"),
    CheckConstraint("params >= 0 AND macs >= 0", name="ck_runs_cost"),
    CheckConstraint("registered_params >= params", name="ck_runs_registered_params"),
    CheckConstraint("epochs_planned >= 0 AND epochs_done >= 0", name="ck_runs_epochs"),
    CheckConstraint("best_epoch BETWEEN 1 AND epochs_done", name="ck_runs_best_epoch"),
    CheckConstraint("train_seconds >= 0", name="ck_runs_train_seconds"),
    *map(_correct_of_count, SPLITS),
    *(
        Index(f"ix_runs_{name}", name, "id")
        for name in ("status", "name", "group_id", "study", "recipe_hash", "purpose")
    ),
)

epochs = Table(
    "epochs",
    metadata,
    Column("run_id", _run_id(), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("train_loss", Double),
    Column("train_accuracy", Double),
    Column("validation_loss", Double),
    Column("validation_accuracy", Double),
    Column("lr", Double),
    Column("seconds", Double),
    CheckConstraint("epoch >= 1", name="ck_epochs_epoch"),
    _fraction("train_accuracy", "epochs"),
    _fraction("validation_accuracy", "epochs"),
    CheckConstraint("lr >= 0", name="ck_epochs_lr"),
    CheckConstraint("seconds >= 0", name="ck_epochs_seconds"),
)

test_openings = Table(
    "test_openings",
    metadata,
    Column("run_id", _run_id(), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("purpose", Text, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    CheckConstraint("number >= 1", name="ck_test_openings_number"),
)

notes = Table(
    "notes",
    metadata,
    Column("id", _run_id(), primary_key=True),
    Column("study", Text),
    Column("recipe_hash", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    CheckConstraint("study <> ''", name="ck_notes_study"),
    CheckConstraint(f"kind IN ({', '.join(map(repr, NOTE_KINDS))})", name="ck_notes_kind"),
    CheckConstraint("author <> ''", name="ck_notes_author"),
    Index("ix_notes_recipe_hash", "recipe_hash", "id"),
)

plans = Table(
    "plans",
    metadata,
    Column("id", _run_id(), primary_key=True),
    Column("baseline_hash", Text, nullable=False),
    Column("changed_hash", Text, nullable=False),
    Column("data_hash", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("looks", JSON, nullable=False),
    Column("level", Double, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    CheckConstraint(f"part IN ({', '.join(map(repr, HELD_OUT))})", name="ck_plans_part"),
    CheckConstraint("level > 0 AND level < 1", name="ck_plans_level"),
    UniqueConstraint("baseline_hash", "changed_hash", "data_hash", "part", name="uq_plans_question"),
)


def _owner() -> tuple[Column[str], Column[int], Column[str]]:
    """The process that writes a row."""
    return (
        Column("host", Text, nullable=False),
        Column("pid", BigInteger, nullable=False),
        Column("process_started", Text, nullable=False),
    )


searches = Table(
    "searches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("result", JSON),
    *_owner(),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    CheckConstraint("name <> ''", name="ck_searches_name"),
    CheckConstraint(f"status IN ({', '.join(map(repr, SEARCH_STATUSES))})", name="ck_searches_status"),
    CheckConstraint("seconds >= 0", name="ck_searches_seconds"),
)

trials = Table(
    "trials",
    metadata,
    Column("search", Text, ForeignKey("searches.name", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("design", JSON, nullable=False),
    Column("design_hash", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("parent", Integer),
    *(Column(name, BigInteger, nullable=False) for name in ("params", "macs", "activation_bytes", "flash_bytes")),
    Column("status", Text, nullable=False),
    Column("accuracies", JSON, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("group_id", _run_id(), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lease", Double, nullable=False),
    *_owner(),
    Column("message", Text, nullable=False),
    CheckConstraint("number >= 1", name="ck_trials_number"),
    CheckConstraint(f"status IN ({', '.join(map(repr, TRIAL_STATUSES))})", name="ck_trials_status"),
    CheckConstraint(f"origin IN ({', '.join(map(repr, ORIGINS))})", name="ck_trials_origin"),
    CheckConstraint("attempt >= 1", name="ck_trials_attempt"),
    CheckConstraint("seconds >= 0", name="ck_trials_seconds"),
    UniqueConstraint("search", "design_hash", name="uq_trials_design"),
)
