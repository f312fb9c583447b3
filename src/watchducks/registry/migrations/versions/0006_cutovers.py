"""Cutovers: how far each site has come, and when to look next.

Sites that are there were served without anybody looking: they go on as delegated ones, of whom the
next looks find out. The table may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table ``cutovers``, and let the sites of earlier versions be delegated."""
    id_ = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "cutovers",
        sa.Column("site_id", id_, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("site_id"),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name="fk_cutovers_site", ondelete="CASCADE"
        ),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
    op.create_index("ix_cutovers_due", "cutovers", ["due"], if_not_exists=True)
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE sites SET state = 'delegated' WHERE state = 'registered'"))
    # Whoever follows the registry takes a new lineage for a reason to read all sites again.
    connection.execute(
        sa.text("UPDATE registry SET lineage = :lineage"), {"lineage": secrets.token_hex(16)}
    )
