"""Bring a registry's database to the schema of this version of WatchDucks.

:func:`migrate` is run in a transaction that may write, :func:`is_current` in any. Several hosts may
start at once: SQLite's transaction holds the write lock already, and on MariaDB, where DDL commits
by itself, a named lock is held. Each migration can be run again after it was broken off half-way.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from watchducks.background import StartupError
from watchducks.stores.interfaces import StoreUnavailable

# The newest migration; a test compares it with the folder. It is written down here so that a
# database that is up to date costs two queries and no look into the folder.
HEAD: Final = "0013"
# Alembic's default name; its rows are Alembic's.
VERSION_TABLE: Final = "alembic_version"
# One wait for the lock must end before the connection's own time limit; all together they give
# another host half a minute for its migration.
LOCK_SECONDS: Final = 2
LOCK_ATTEMPTS: Final = 15

# Alembic keeps the migration under way in module globals, so one thread at a time.
_one_at_a_time = threading.Lock()


def is_current(connection: Connection) -> bool:
    """Return whether there is nothing to migrate."""
    return _version(connection) == HEAD


def migrate(connection: Connection) -> None:
    """Make or upgrade the tables; nothing to do is no error.

    :raises StartupError: the database was made by a newer version of WatchDucks.
    :raises StoreUnavailable: another host is migrating, and takes long.
    """
    with _one_at_a_time:
        if connection.dialect.name != "mysql":
            _upgrade(connection)
            return
        # Nothing is read before the lock is held: the transaction's snapshot must show what the
        # lock's last holder did.
        lock = connection.execute(
            text("SELECT CONCAT('watchducks.', MD5(DATABASE()))")
        ).scalar_one()
        for _ in range(LOCK_ATTEMPTS):
            got = connection.execute(
                text("SELECT GET_LOCK(:lock, :seconds)"), {"lock": lock, "seconds": LOCK_SECONDS}
            ).scalar_one()
            if got == 1:
                break
        else:
            raise StoreUnavailable("another host is still migrating the registry")
        try:
            _upgrade(connection)
            # DDL has committed by itself all along; the rest must be there before the next holder.
            connection.exec_driver_sql("COMMIT")
        finally:
            # A connection that broke meanwhile has released the lock by itself.
            if not connection.invalidated:
                connection.execute(text("DO RELEASE_LOCK(:lock)"), {"lock": lock})


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    version = _version(connection)
    if version == HEAD:
        return
    # 11 MB that a process whose database is up to date, nearly every one, does without.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    # "%" begins an interpolation in an Alembic configuration.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(version)
        except CommandError:
            raise StartupError(
                f"registry.url: the database has schema {version}, which is newer than this "
                f"WatchDucks knows ({HEAD}): install the version that made it, or a later one"
            ) from None
    command.upgrade(config, "head")
