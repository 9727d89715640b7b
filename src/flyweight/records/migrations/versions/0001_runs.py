"""Runs, their epochs, and every opening of the test set."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

RUN_ID = sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the three tables and the indices of the store's queries."""
    op.create_table(
        "runs",
        sa.Column("id", RUN_ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("group_id", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("recipe_hash", sa.Text, nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("registered_params", sa.BigInteger, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
        sa.Column("data_name", sa.Text, nullable=False),
        sa.Column("data_hash", sa.Text, nullable=False),
        sa.Column("split_hash", sa.Text, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("epochs_planned", sa.Integer, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Text, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.Column("epochs_done", sa.Integer, nullable=False),
        sa.Column("best_epoch", sa.Integer),
        sa.Column("train_correct", sa.BigInteger),
        sa.Column("train_count", sa.BigInteger),
        sa.Column("train_loss", sa.Double),
        sa.Column("validation_correct", sa.BigInteger),
        sa.Column("validation_count", sa.BigInteger),
        sa.Column("validation_loss", sa.Double),
        sa.Column("test_correct", sa.BigInteger),
        sa.Column("test_count", sa.BigInteger),
        sa.Column("test_loss", sa.Double),
        sa.Column("train_seconds", sa.Double),
        sa.Column("message", sa.Text, nullable=False),
        sa.CheckConstraint("length(id) = 20", name="ck_runs_id"),
        sa.CheckConstraint("name <> ''", name="ck_runs_name"),
        sa.CheckConstraint(
            "status IN ('running', 'finished', 'diverged', 'interrupted', 'failed', 'lost')", name="ck_runs_status"
        ),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="ck_runs_finished_at"),
        sa.CheckConstraint("seed >= 0", name="ck_runs_seed"),
        sa.CheckConstraint("params >= 0 AND macs >= 0", name="ck_runs_cost"),
        sa.CheckConstraint("registered_params >= params", name="ck_runs_registered_params"),
        sa.CheckConstraint("epochs_planned >= 0 AND epochs_done >= 0", name="ck_runs_epochs"),
        sa.CheckConstraint("best_epoch BETWEEN 1 AND epochs_done", name="ck_runs_best_epoch"),
        sa.CheckConstraint("train_seconds >= 0", name="ck_runs_train_seconds"),
        *(
            sa.CheckConstraint(
                f"({part}_correct IS NULL AND {part}_count IS NULL) OR "
                f"({part}_correct IS NOT NULL AND {part}_count IS NOT NULL AND "
                f"{part}_count > 0 AND {part}_correct BETWEEN 0 AND {part}_count)",
                name=f"ck_runs_{part}_correct",
            )
            for part in ("train", "validation", "test")
        ),
    )
    op.create_index("ix_runs_status", "runs", ["status", "id"])
    op.create_index("ix_runs_name", "runs", ["name", "id"])
    op.create_index("ix_runs_group_id", "runs", ["group_id", "id"])
    op.create_table(
        "epochs",
        sa.Column("run_id", RUN_ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("train_loss", sa.Double),
        sa.Column("train_accuracy", sa.Double),
        sa.Column("validation_loss", sa.Double),
        sa.Column("validation_accuracy", sa.Double),
        sa.Column("lr", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.CheckConstraint("epoch >= 1", name="ck_epochs_epoch"),
        sa.CheckConstraint("train_accuracy BETWEEN 0 AND 1", name="ck_epochs_train_accuracy"),
        sa.CheckConstraint("validation_accuracy BETWEEN 0 AND 1", name="ck_epochs_validation_accuracy"),
        sa.CheckConstraint("lr >= 0", name="ck_epochs_lr"),
        sa.CheckConstraint("seconds >= 0", name="ck_epochs_seconds"),
    )
    op.create_table(
        "test_openings",
        sa.Column("run_id", RUN_ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.CheckConstraint("number >= 1", name="ck_test_openings_number"),
    )
