"""Who and what may not register, and which sites are suspended.

Column and table are added each by itself, and may be there already, if the migration was broken off
on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
# Older ones carry a suspended site as they did, and do not look at blocks.
oldest_program = "0014"


def upgrade() -> None:
    """Add the column and the table."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    if "suspended" not in existing:
        op.add_column(
            "sites",
            sa.Column("suspended", sa.Boolean, nullable=False, server_default=sa.false()),
        )
    op.create_table(
        "blocks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(254), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("made_by", sa.String(320), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("value", name="uq_blocks_value"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
