"""Runs the migrations on the connection, and in the transaction, that `database.upgrade` hands over."""

from alembic import context

from flyweight.records.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # Both back ends take back a CREATE TABLE; Alembic does not expect it of SQLite, whose driver used to spoil it.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
