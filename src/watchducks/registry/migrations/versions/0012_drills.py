"""Drills: until when DNS answers with a site's origin because its owner tries that out.

The column may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column to ``sites``."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    if "drill_until" not in existing:
        column = sa.Column("drill_until", sa.BigInteger, nullable=False, server_default="0")
        op.add_column("sites", column)
