"""What owners want no letters about.

The table may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
oldest_program = "0014"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "unwanted",
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("subject", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("email", "site_id", "subject"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
    op.create_index("ix_unwanted_site_id", "unwanted", ["site_id"], if_not_exists=True)
