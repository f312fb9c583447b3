"""What hosts report of themselves.

The table may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
# Older ones report nothing.
oldest_program = "0014"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("report", sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql"), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
