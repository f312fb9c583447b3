"""Which key the registry's secrets are sealed with, so that no host seals with another one.

The column may be there already, if the migration was broken off on MariaDB.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
oldest_program = "0014"

# Of a sealed secret: the version of its form, then the key's id.
_KEY_ID = slice(1, 5)


def upgrade() -> None:
    """Add the column, and fill it from what is sealed already."""
    connection = op.get_bind()
    existing = {column["name"] for column in sa.inspect(connection).get_columns("registry")}
    if "key_id" not in existing:
        op.add_column("registry", sa.Column("key_id", sa.LargeBinary))
    for name in ("acme", "visitor_keys", "certificates"):
        table = sa.table(name, sa.column("sealed", sa.LargeBinary))
        found = sa.select(table.c.sealed).where(table.c.sealed.is_not(None)).limit(1)
        sealed = connection.execute(found).scalar()
        if sealed is not None:
            registry = sa.table("registry", sa.column("key_id", sa.LargeBinary))
            connection.execute(registry.update().values(key_id=bytes(sealed)[_KEY_ID]))
            return
