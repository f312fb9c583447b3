"""Bring a registry's database to the schema of this version of WatchDucks.

:func:`migrate` is run in a transaction that may write, :func:`is_current` in any. Several hosts may
start at once: SQLite's transaction holds the write lock already, and on MariaDB, where DDL commits
by itself, a named lock is held. Each migration can be run again after it was broken off half-way.

While a new version takes over, the old one works on the schema that the new one made, and may have
to go on with it: after a crash, a reboot, or a take-over that failed. So a migration adds, and says
with ``oldest_program`` which program's newest migration is the oldest that still works beside it:
usually that of the migration before. One that takes away or changes a meaning names itself, and
older programs refuse to start.
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
HEAD: Final = "0020"
# Alembic's default name; its rows are Alembic's, with our column oldest_program (see env.py).
VERSION_TABLE: Final = "alembic_version"
# One wait for the lock must end before the connection's own time limit; all together they give
# another host half a minute for its migration.
LOCK_SECONDS: Final = 2
LOCK_ATTEMPTS: Final = 15

# Alembic keeps the migration under way in module globals, so one thread at a time.
_one_at_a_time = threading.Lock()


def is_current(connection: Connection) -> bool:
    """Return whether there is nothing to migrate, and the program can work on what is there."""
    return _suits(*_found(connection))


def migrate(connection: Connection) -> None:
    """Make or upgrade the tables; nothing to do is no error.

    :raises StartupError: the database was made by a newer version of WatchDucks, and says that
        this one cannot work on it.
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


def _found(connection: Connection) -> tuple[str | None, str | None]:
    """Return the schema's version, and the oldest program that can work on it; None: not known."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None, None
    # Not by name: databases of before 0014 have no second column.
    row = connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).mappings().first()  # noqa: S608
    return (None, None) if row is None else (row["version_num"], row.get("oldest_program"))


def _suits(version: str | None, oldest_program: str | None) -> bool:
    """Return whether this program can work on a schema as it is; versions are numbers of 4 digits.

    :param oldest_program: the newest migration of the oldest program that can.
    """
    if version is None or version <= HEAD:
        return version == HEAD
    return oldest_program is not None and oldest_program <= HEAD


def _upgrade(connection: Connection) -> None:
    version, oldest_program = _found(connection)
    if _suits(version, oldest_program):
        return
    if version is not None and version > HEAD:
        raise StartupError(
            f"registry.url: the database has schema {version}, which is newer than this "
            f"WatchDucks can work on ({HEAD}): install the version that made it, or a later one"
        )
    # 11 MB that a process whose database is up to date, nearly every one, does without.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # "%" begins an interpolation in an Alembic configuration.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
