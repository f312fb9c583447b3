"""Choices of each site about its visitors, and the keys of visitors' ids that hosts share.

Sites that are there keep nothing more of their visitors than before, and stand in rankings. Each
column, and the table, may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns to ``sites``, and the table ``visitor_keys``."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    for column in (
        sa.Column("keep_networks", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("query_parameters", sa.String(255), nullable=False, server_default=""),
        sa.Column("honour_gpc", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("ranked", sa.Boolean, nullable=False, server_default=sa.true()),
    ):
        if column.name not in existing:
            op.add_column("sites", column)
    op.create_table(
        "visitor_keys",
        sa.Column("day", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("day"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
