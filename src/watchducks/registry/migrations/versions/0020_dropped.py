"""When a certificate was dropped, so that what is left of it goes some time later.

The column may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
oldest_program = "0014"


def upgrade() -> None:
    """Add the column, and an index to it."""
    inspector = sa.inspect(op.get_bind())
    if not any(column["name"] == "dropped" for column in inspector.get_columns("certificates")):
        op.add_column("certificates", sa.Column("dropped", sa.BigInteger))
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    indexes = inspector.get_indexes("certificates")
    if not any(index["name"] == "ix_certificates_dropped" for index in indexes):
        op.create_index("ix_certificates_dropped", "certificates", ["dropped"])
