"""Contents of each site's zone: the hosts that are proxied, and the records beside ours.

NULL, which sites that are there get, is what every zone held so far. The column may be there
already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column to ``sites``."""
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sites")}
    if "contents" not in existing:
        # A BLOB of MySQL holds 64 kB, a zone up to four times that.
        blob = sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql")
        op.add_column("sites", sa.Column("contents", blob))
