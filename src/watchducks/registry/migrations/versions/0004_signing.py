"""Signing of each site's zone: its phase, and its keys, whose private halves are sealed.

NULL, which sites that are there get, is a zone that is not signed. The column may be there already,
if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column to ``sites``."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    if "signing" not in existing:
        op.add_column("sites", sa.Column("signing", sa.LargeBinary))
