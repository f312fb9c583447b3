"""The registry as it was first released: sites, owners, tokens, removals, the revision.

Every operation can be run again: MariaDB commits each by itself, so a migration that was broken off
is simply repeated. Lengths are written out, as a migration must not change with the program.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}


def upgrade() -> None:
    """Make the tables and the one row of ``registry``."""
    op.create_table(
        "registry",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("lineage", sa.String(32), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_registry_one_row"),
        **_TABLE,
    )
    op.create_table(
        "owners",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.UniqueConstraint("email", name="uq_owners_email"),
        sqlite_autoincrement=True,
        **_TABLE,
    )
    op.create_table(
        "sites",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("name_key", sa.String(189), nullable=False),
        sa.Column("domain", sa.String(253), nullable=False),
        sa.Column("zone", sa.String(253), nullable=False),
        # SQLite ignores the length, and could not change it later (0011).
        sa.Column("origin", sa.String(64).with_variant(sa.String(272), "sqlite"), nullable=False),
        sa.Column(
            "owner_id", _ID, sa.ForeignKey("owners.id", name="fk_sites_owner"), nullable=False
        ),
        sa.Column("cohort", sa.String(63), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name_key", name="uq_sites_name_key"),
        sa.UniqueConstraint("zone", name="uq_sites_zone"),
        sqlite_autoincrement=True,
        **_TABLE,
    )
    _index("ix_sites_owner_id", "sites", ["owner_id"])
    _index("ix_sites_revision", "sites", ["revision"])
    _index("ix_sites_cohort_name_key", "sites", ["cohort", "name_key"])
    op.create_table(
        "tokens",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column(
            "site_id", _ID, sa.ForeignKey("sites.id", name="fk_tokens_site", ondelete="CASCADE")
        ),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sqlite_autoincrement=True,
        **_TABLE,
    )
    _index("ix_tokens_site_id", "tokens", ["site_id"])
    op.create_table(
        "removals",
        sa.Column("zone", sa.String(253), primary_key=True),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        **_TABLE,
    )
    _index("ix_removals_revision", "removals", ["revision"])
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT COUNT(*) FROM registry")).scalar_one() == 0:
        connection.execute(
            sa.text("INSERT INTO registry (id, revision, lineage) VALUES (1, 0, :lineage)"),
            {"lineage": secrets.token_hex(16)},
        )


def _index(name: str, table: str, columns: list[str]) -> None:
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    existing = sa.inspect(op.get_bind()).get_indexes(table)
    if not any(index["name"] == name for index in existing):
        op.create_index(name, table, columns)
