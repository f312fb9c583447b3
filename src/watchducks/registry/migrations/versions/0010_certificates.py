"""Certificates, and what it takes to have them: challenges, the keeper's secrets, leases.

The tables may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}


def upgrade() -> None:
    """Add four tables."""
    blob = sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql")
    op.create_table(
        "challenges",
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("token", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "token"),
        **_TABLE,
    )
    op.create_table(
        "certificates",
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("authority", sa.String(64), nullable=False),
        sa.Column("sealed", blob),
        sa.PrimaryKeyConstraint("name"),
        **_TABLE,
    )
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    existing = sa.inspect(op.get_bind()).get_indexes("certificates")
    if not any(index["name"] == "ix_certificates_revision" for index in existing):
        op.create_index("ix_certificates_revision", "certificates", ["revision"])
    op.create_table(
        "acme",
        sa.Column("name", sa.String(269), nullable=False),
        sa.Column("sealed", blob, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        **_TABLE,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        **_TABLE,
    )
