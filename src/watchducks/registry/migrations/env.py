"""What Alembic runs around the migrations: here, on the connection that `migrate` was given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import text

from watchducks.registry.schema import metadata


def _note(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 -- Alembic passes them by name
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Write down the oldest program that works on the schema that is there now.

    Alembic has just written the schema's version: both are committed at once.
    """
    script = step.up_revision
    assert isinstance(script, Script)
    oldest = getattr(script.module, "oldest_program", None)
    if oldest is not None:  # before 0014 there is no place for it
        assert ctx.connection is not None
        ctx.connection.execute(
            text("UPDATE alembic_version SET oldest_program = :oldest"), {"oldest": oldest}
        )


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The transaction is the store's: it commits, or rolls back.
    transactional_ddl=False,
    on_version_apply=_note,
)
with context.begin_transaction():
    context.run_migrations()
