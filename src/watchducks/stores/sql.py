"""SQLite and MariaDB/MySQL behind one door: a function, run in a thread, in one transaction.

``await store.write(function)`` calls ``function(connection)`` in the store's thread pool. What it
returns must be plain frozen data, because the connection is gone by then; what it does is committed
as a whole or not at all. It may be called more than once (a deadlock's victim is tried again), so
it must not do anything but talk to ``connection``.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from watchducks.background import Overloaded, StartupError, ThreadPool
from watchducks.stores.interfaces import StoreUnavailable

T = TypeVar("T")

# One connection a thread of the pool is all that can be in use; these are what a caller should give
# the pool. More would only queue inside SQLite (one writer) or on the registry's one counter row.
THREADS: Final = 4
# A deadlock or a lock that was not given in time is tried again at once: the other side has got
# through by then. Three tries lose a write only under a load that has other problems.
ATTEMPTS: Final = 3
# SQLite waits this long, at each attempt, for another process's write; writes take milliseconds.
BUSY_MILLISECONDS: Final = 1000
# A database host that does not answer is given up well before a person gives up on the page.
CONNECT_SECONDS: Final = 3
# No query of the registry takes a second; a frozen server must not hold a thread for long.
ANSWER_SECONDS: Final = 3
# Load balancers and firewalls drop idle connections after an hour, some after ten minutes.
RECYCLE_SECONDS: Final = 300

# MariaDB: deadlock, lock wait timeout, record changed since read (snapshot isolation).
_MYSQL_TRY_AGAIN: Final = frozenset({1213, 1205, 1020})
_SQLITE_TRY_AGAIN: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_WRITES: Final = "watchducks_writes"  # execution option that tells SQLite's BEGINs apart


class SqlStore:
    """A relational database.

    Every call may raise :class:`StoreUnavailable`; then nothing was changed, unless the connection
    broke during the commit itself, which nobody can tell. ``sqlalchemy.exc.IntegrityError`` and
    whatever ``function`` raises pass through, and the transaction is rolled back.

    :param url: ``sqlite:///path`` or ``mysql+pymysql://user:password@host/database``.
    :param pool: where the calls run; it belongs to the caller, who starts it before and stops it
        after this store.
    :raises StartupError: the URL is none of these.
    """

    def __init__(self, url: str, pool: ThreadPool) -> None:
        self._pool = pool
        self._url = _parse(url)
        self._engine = (
            _sqlite_engine(self._url) if self.dialect == "sqlite" else _mysql_engine(self._url)
        )
        self._writer = self._engine.execution_options(**{_WRITES: True})

    @property
    def dialect(self) -> str:
        """``"sqlite"`` or ``"mysql"``."""
        return self._url.get_backend_name()

    @property
    def label(self) -> str:
        """The database as messages name it: without user and password."""
        if self.dialect == "sqlite":
            return f"the SQLite database {self._url.database}"
        return f"the database {self._url.database} on {_host(self._url)}"

    async def start(self) -> None:
        """Make SQLite's file if it is missing. A server is first spoken to when it is needed.

        :raises StartupError: the file cannot be made.
        """
        if self.dialect == "sqlite":
            try:
                await self._pool.run(_make_file, Path(self._url.database or ""))
            except OSError as error:
                raise StartupError(
                    f"registry.url: cannot make {self._url.database}: {error.strerror}"
                ) from error

    async def stop(self) -> None:
        """Close the idle connections; those in use close when their call ends."""
        with contextlib.suppress(Overloaded):  # then the pool's end closes them
            await self._pool.run(self._engine.dispose)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run ``function`` on one consistent state of the database and return what it returns."""
        return await self._run(self._engine, function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run ``function`` in a transaction that may write, and return what it returns."""
        return await self._run(self._writer, function)

    async def _run(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        try:
            return await self._pool.run(self._attempts, engine, function)
        except Overloaded as error:
            raise StoreUnavailable(f"{self.label} is too busy") from error

    def _attempts(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        attempt = 1
        while True:
            try:
                with engine.begin() as connection:
                    return function(connection)
            except exc.DBAPIError as error:
                if _try_again(error) and attempt < ATTEMPTS:
                    attempt += 1
                    continue
                if _unavailable(error):
                    raise StoreUnavailable(
                        f"cannot use {self.label}: {_one_line(error)}"
                    ) from error
                raise
            except exc.TimeoutError as error:  # no connection of the pool became free
                raise StoreUnavailable(f"{self.label} is too busy") from error


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        url = None
    if url is not None:
        if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
            return url
        if url.drivername == "mysql+pymysql" and url.database and url.host:
            return url
    # Never with the value: it may hold a password.
    raise StartupError(
        "registry.url: accepted are sqlite:///var/lib/watchducks/registry.sqlite and "
        "mysql+pymysql://user:password@host/database"
    )


def _host(url: URL) -> str:
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host
    return f"{host}:{url.port or 3306}"


def _one_line(error: exc.DBAPIError) -> str:
    """Return the driver's own words: no statement, no parameters, no password."""
    arguments = getattr(error.orig, "args", ())
    text = str(arguments[-1]) if arguments else type(error.orig).__name__
    return re.sub(r"\s+", " ", text).strip()[:300]


def _try_again(error: exc.DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.OperationalError):
        # The low octet is the primary code, without SQLite's extensions to it.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_TRY_AGAIN
    arguments: tuple[object, ...] = getattr(error.orig, "args", ())
    return bool(arguments) and arguments[0] in _MYSQL_TRY_AGAIN


def _unavailable(error: exc.DBAPIError) -> bool:
    """Tell a database that cannot serve now from a statement that is wrong.

    Drivers raise OperationalError for what is outside the program: no connection, no access, no
    such database, a full disk, a read-only replica; and DatabaseError itself for a broken file.
    """
    return (
        error.connection_invalidated
        or isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
        or type(error) is exc.DatabaseError
    )


# --- SQLite -------------------------------------------------------------------------------------


def _make_file(path: Path) -> None:
    """Make the database file for its owner only: it holds e-mail addresses.

    SQLite gives the files beside it (-wal, -shm) the same mode.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _sqlite_engine(url: URL) -> Engine:
    # mode=rw: a file that vanished is an outage to be told, not an empty registry to be made.
    file = Path(url.database or "").absolute()
    engine = create_engine(
        url,
        creator=lambda: _connect_sqlite(file),
        pool_size=THREADS,
        max_overflow=0,
        pool_timeout=ANSWER_SECONDS,
    )
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_sqlite(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_MILLISECONDS / 1000,
        # None: the module begins no transactions of its own, `_begin_sqlite` does.
        isolation_level=None,
        # SQLAlchemy's pool hands a connection to one thread at a time.
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        connection.execute("PRAGMA synchronous = FULL")  # a registration survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that first reads and then finds another writer ahead of
    # it would fail without waiting ("database is locked", whatever the timeout).
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# --- MariaDB, MySQL -----------------------------------------------------------------------------


def _mysql_engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        "write_timeout": ANSWER_SECONDS,
        # UTC, and an error instead of a silently shortened value, whatever the server's defaults.
        "init_command": "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL'",
    }
    return create_engine(
        url,
        connect_args=arguments,
        isolation_level="REPEATABLE READ",
        pool_size=THREADS,
        max_overflow=0,
        pool_timeout=ANSWER_SECONDS,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
    )
