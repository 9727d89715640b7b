"""Studies of runs with their parents, what people write of a step, and plans of comparisons that add seeds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

RUN_ID = sa.String(20).with_variant(sa.String(20, collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add two columns to runs, and the tables of notes and plans."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("study", sa.Text))
        runs.add_column(sa.Column("parent_hash", sa.Text))
        runs.create_check_constraint("ck_runs_study", "study <> ''")
        runs.create_index("ix_runs_study", ["study", "id"])
        runs.create_index("ix_runs_recipe_hash", ["recipe_hash", "id"])
    op.create_table(
        "notes",
        sa.Column("id", RUN_ID, primary_key=True),
        sa.Column("study", sa.Text),
        sa.Column("recipe_hash", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.CheckConstraint("study <> ''", name="ck_notes_study"),
        sa.CheckConstraint("kind IN ('before', 'after')", name="ck_notes_kind"),
        sa.CheckConstraint("author <> ''", name="ck_notes_author"),
    )
    op.create_index("ix_notes_recipe_hash", "notes", ["recipe_hash", "id"])
    op.create_table(
        "plans",
        sa.Column("id", RUN_ID, primary_key=True),
        sa.Column("baseline_hash", sa.Text, nullable=False),
        sa.Column("changed_hash", sa.Text, nullable=False),
        sa.Column("data_hash", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("looks", sa.JSON, nullable=False),
        sa.Column("level", sa.Double, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint("part IN ('validation', 'test')", name="ck_plans_part"),
        sa.CheckConstraint("level > 0 AND level < 1", name="ck_plans_level"),
        sa.UniqueConstraint("baseline_hash", "changed_hash", "data_hash", "part", name="uq_plans_question"),
    )
