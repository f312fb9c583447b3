"""What Alembic runs around the migrations: here, on the connection that `migrate` was given."""

from __future__ import annotations

from alembic import context

from watchducks.registry.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The transaction is the store's: it commits, or rolls back.
    transactional_ddl=False,
)
with context.begin_transaction():
    context.run_migrations()
