"""In whose time zone an account sees the figures.

Each column is added by itself, and it may be there already, if the migration was broken off on
MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
# Older ones do not ask for the columns, and what they insert has the default.
oldest_program = "0014"


def upgrade() -> None:
    """Add the columns."""
    for table in ("owners", "admins"):
        columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
        if "time_zone" not in columns:
            op.add_column(
                table, sa.Column("time_zone", sa.String(64), nullable=False, server_default="")
            )
