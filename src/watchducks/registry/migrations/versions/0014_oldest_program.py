"""Which programs can still work on this schema, so that an older one can tell.

Kept beside the schema's version, in Alembic's own table: the two change together, and neither is
the registry's content, which a backup carries to another schema. The column may be there already,
if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
# Older ones do not look.
oldest_program = "0014"


def upgrade() -> None:
    """Add the column to ``alembic_version``."""
    existing = {
        column["name"] for column in sa.inspect(op.get_bind()).get_columns("alembic_version")
    }
    if "oldest_program" not in existing:
        op.add_column("alembic_version", sa.Column("oldest_program", sa.String(32)))
