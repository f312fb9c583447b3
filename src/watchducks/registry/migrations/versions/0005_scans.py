"""Scans: what each site's zone held before it was ours.

Sites that are there have none, which is what a site has until its scan is made. The table may be
there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table ``scans``."""
    id_ = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    blob = sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql")
    op.create_table(
        "scans",
        sa.Column("site_id", id_, nullable=False),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("records", blob, nullable=False),
        sa.Column("report", blob, nullable=False),
        sa.Column("offers", blob),
        sa.PrimaryKeyConstraint("site_id"),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name="fk_scans_site", ondelete="CASCADE"
        ),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
