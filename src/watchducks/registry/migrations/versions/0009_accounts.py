"""Accounts: who may see a site, owners' tokens, links to sign in, sessions, admins, audit trail.

Sites that are there stay public. Each column is added by itself, and it or a table may be there
already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLE: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}


def upgrade() -> None:
    """Add the columns, and the four tables."""
    _add(
        "sites",
        sa.Column("visibility", sa.String(16), nullable=False, server_default="public"),
        sa.Column("share", sa.String(43), nullable=False, server_default=""),
    )
    _add(
        "tokens",
        sa.Column("email", sa.String(254), nullable=False, server_default=""),
        sa.Column("scope", sa.String(16), nullable=False, server_default="write"),
        sa.Column("label", sa.String(63), nullable=False, server_default=""),
        sa.Column("used", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "links",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        **_TABLE,
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        **_TABLE,
    )
    op.create_table("admins", sa.Column("email", sa.String(254), primary_key=True), **_TABLE)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(320), nullable=False),
        sa.Column("network", sa.String(45), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("site_id", sa.BigInteger),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("details", sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql"), nullable=False),
        sqlite_autoincrement=True,
        **_TABLE,
    )
    for name, table, column in (
        ("ix_tokens_email", "tokens", "email"),
        ("ix_links_email", "links", "email"),
        ("ix_links_expires", "links", "expires"),
        ("ix_sessions_email", "sessions", "email"),
        ("ix_sessions_expires", "sessions", "expires"),
        ("ix_audit_site_id", "audit", "site_id"),
        ("ix_audit_at", "audit", "at"),
    ):
        op.create_index(name, table, [column], if_not_exists=True)


def _add(table: str, *columns: sa.Column[Any]) -> None:
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
    for column in columns:
        if column.name not in existing:
            op.add_column(table, column)
