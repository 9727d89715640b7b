"""Searches and their trials; runs that a search made have a purpose of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

RUN_ID = sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Widen the constraint of purposes, and add two tables."""
    with op.batch_alter_table("runs") as runs:
        runs.drop_constraint("ck_runs_purpose", type_="check")
        runs.create_check_constraint(
            "ck_runs_purpose", "purpose IN ('run', 'trial', 'remedy', 'reproduction', 'certification', 'search')"
        )
    op.create_table(
        "searches",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Text, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.CheckConstraint("name <> ''", name="ck_searches_name"),
        sa.CheckConstraint("status IN ('running', 'stopped', 'finished')", name="ck_searches_status"),
        sa.CheckConstraint("seconds >= 0", name="ck_searches_seconds"),
    )
    op.create_table(
        "trials",
        sa.Column("search", sa.Text, sa.ForeignKey("searches.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("design", sa.JSON, nullable=False),
        sa.Column("design_hash", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("parent", sa.Integer),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("params", "macs", "activation_bytes", "flash_bytes")
        ),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("accuracies", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("group_id", RUN_ID, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.CheckConstraint("number >= 1", name="ck_trials_number"),
        sa.CheckConstraint(
            "status IN ('running', 'paused', 'finished', 'halved', 'diverged', 'failed', 'slow')",
            name="ck_trials_status",
        ),
        sa.CheckConstraint("origin IN ('known', 'random', 'mutation')", name="ck_trials_origin"),
        sa.CheckConstraint("attempt >= 1", name="ck_trials_attempt"),
        sa.CheckConstraint("seconds >= 0", name="ck_trials_seconds"),
        sa.UniqueConstraint("search", "design_hash", name="uq_trials_design"),
    )
