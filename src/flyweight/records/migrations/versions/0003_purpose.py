"""Why each run was made: a person asked for it, or a trial, a remedy, a reproduction or a certification needed it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

DOCUMENTS = ("000", "001", "002", "003", "004")


def upgrade() -> None:
    """Add the column; what older runs were made for is told by their study."""
    op.add_column("runs", sa.Column("purpose", sa.Text))
    runs = sa.table("runs", sa.column("study"), sa.column("name"), sa.column("purpose"))
    op.execute(runs.update().values(purpose="run"))
    op.execute(runs.update().where(runs.c.study == "doctor").values(purpose="trial"))
    for document in DOCUMENTS:
        of_document = runs.c.study.in_([document, f"{document} (quick)"]) & runs.c.name.like(f"{document}-%")
        op.execute(runs.update().where(of_document).values(purpose="reproduction"))
    with op.batch_alter_table("runs") as changed:
        changed.alter_column("purpose", existing_type=sa.Text, nullable=False)
        changed.create_check_constraint(
            "ck_runs_purpose", "purpose IN ('run', 'trial', 'remedy', 'reproduction', 'certification')"
        )
        changed.create_index("ix_runs_purpose", ["purpose", "id"])
