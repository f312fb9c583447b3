"""Choices of each site: how its origin is verified, redirect to https, HSTS.

Sites that are there get what was done for them so far. Each column is added by itself and may be
there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns to ``sites``."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    for column in (
        sa.Column("origin_tls", sa.String(16), nullable=False, server_default="verify"),
        sa.Column("origin_pin", sa.String(64), nullable=False, server_default=""),
        sa.Column("redirect_to_https", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("hsts_seconds", sa.Integer, nullable=False, server_default="0"),
    ):
        if column.name not in existing:
            op.add_column("sites", column)
