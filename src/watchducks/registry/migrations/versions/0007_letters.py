"""Letters: what owners are told by mail, and the language they read.

The table may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMBLOB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table ``letters`` and the column ``owners.language``."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("owners")}
    if "language" not in columns:
        language = sa.Column("language", sa.String(8), nullable=False, server_default="")
        op.add_column("owners", language)
    op.create_table(
        "letters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("site_id", sa.BigInteger),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("topic", sa.String(120)),
        sa.Column("facts", sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql"), nullable=False),
        sa.Column("posted", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.UniqueConstraint("topic", name="uq_letters_topic"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    for name, columns_of in {
        "ix_letters_state_due": ["state", "due"],
        "ix_letters_recipient": ["recipient"],
        "ix_letters_site_id": ["site_id"],
    }.items():
        op.create_index(name, "letters", columns_of, if_not_exists=True)
