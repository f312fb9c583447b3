"""Origins that are host names, which are longer than addresses.

Nothing to do on SQLite: it takes texts of any length, and its migration 0001 says so by now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room in ``sites.origin``."""
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column(
            "sites",
            "origin",
            existing_type=sa.String(64),
            type_=sa.String(272),
            existing_nullable=False,
        )
