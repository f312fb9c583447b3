"""The SQL store's contract, over SQLite and MariaDB."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.contracts.stores_under_test import open_store, thread_pool
from tests.servers.mariadb import MariaDB
from watchducks.background import StartupError, ThreadPool
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.sql import SqlStore

REACTOR: Any = reactor


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a/b/test.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


def make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE ducks (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
    connection.execute(text("INSERT INTO ducks VALUES (1, 0), (2, 0)"))


def total(connection: Connection) -> int:
    return int(connection.execute(text("SELECT SUM(n) FROM ducks")).scalar_one())


@pytest_twisted.ensureDeferred
async def test_a_write_is_kept_whole_or_not_at_all(url: str) -> None:
    async with open_store(url, reactor) as store:
        await store.write(make_table)

        def fail(connection: Connection) -> None:
            connection.execute(text("UPDATE ducks SET n = 7"))
            raise LookupError("half-way")

        with pytest.raises(LookupError, match="half-way"):
            await store.write(fail)
        assert await store.read(total) == 0
        with pytest.raises(IntegrityError):
            await store.write(lambda c: c.execute(text("INSERT INTO ducks VALUES (1, 0)")).rowcount)
        assert await store.write(lambda c: c.execute(text("UPDATE ducks SET n = 2")).rowcount) == 2
        assert await store.read(total) == 4


@pytest_twisted.ensureDeferred
async def test_text_of_every_script_comes_back(url: str) -> None:
    async with open_store(url, reactor) as store:
        sentence = "오리 🦆 hindī हिन्दी"
        query = text("SELECT CAST(:t AS CHAR)")
        assert await store.read(lambda c: c.execute(query, {"t": sentence}).scalar()) == sentence


@pytest_twisted.ensureDeferred
async def test_the_victim_of_a_deadlock_is_tried_again(mariadb: MariaDB) -> None:
    async with open_store(mariadb.fresh_database(), reactor) as store:
        await store.write(make_table)
        both = threading.Barrier(2)
        attempts: list[int] = []

        def add(first: int) -> Deferred[None]:
            def function(connection: Connection) -> None:
                update = text("UPDATE ducks SET n = n + 1 WHERE id = :id")
                attempts.append(first)
                connection.execute(update, {"id": first})
                if attempts.count(first) == 1:
                    both.wait(10)  # until each holds the row that the other wants
                connection.execute(update, {"id": 3 - first})

            return Deferred.fromCoroutine(store.write(function))

        await gatherResults([add(1), add(2)], consumeErrors=True)
        assert len(attempts) == 3
        assert await store.read(total) == 4


@pytest_twisted.ensureDeferred
async def test_a_database_file_is_its_owners_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "test.sqlite"
    async with open_store(f"sqlite:///{file}", reactor) as store:
        await store.write(make_table)
        for one in file.parent.iterdir():
            assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) & 0o007 == 0


@pytest_twisted.ensureDeferred
async def test_a_database_file_that_vanished_is_an_outage_not_an_empty_registry(
    tmp_path: Path,
) -> None:
    file = tmp_path / "test.sqlite"
    async with open_store(f"sqlite:///{file}", reactor) as store:
        file.unlink()
        with pytest.raises(StoreUnavailable, match=r"test\.sqlite: unable to open"):
            await store.read(total)
        assert not file.exists()


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    file = tmp_path / "test.sqlite"
    file.write_text("quack" * 1000)
    async with open_store(f"sqlite:///{file}", reactor) as store:
        with pytest.raises(StoreUnavailable, match="not a database"):
            await store.read(total)


@pytest_twisted.ensureDeferred
async def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"^registry\.url: cannot make .*: [A-Z]"):
        async with open_store(f"sqlite:///{tmp_path}/file/test.sqlite", reactor):
            pass


@pytest_twisted.ensureDeferred
async def test_too_many_callers_are_told(tmp_path: Path) -> None:
    pool = ThreadPool("narrow", 1, reactor=REACTOR, max_waiting=2)
    pool.start()
    store = SqlStore(f"sqlite:///{tmp_path}/test.sqlite", pool)
    await store.start()
    go_on = threading.Event()
    held = [Deferred.fromCoroutine(store.read(lambda _: go_on.wait(10))) for _ in range(2)]
    try:
        with pytest.raises(StoreUnavailable, match="too busy"):
            await store.read(total)
    finally:
        go_on.set()
    assert await gatherResults(held) == [True, True]
    await store.stop()
    pool.stop()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "quack",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "postgresql://u:secret@h/d",
        "mysql://u:secret@h/d",
        "mysql+pymysql://u:secret@h",
        "mysql+pymysql://u:secret@/d",
        "mysql+pymysql://u:secret@h:port/d",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    async with thread_pool(reactor) as pool:
        with pytest.raises(StartupError, match=r"^registry\.url: accepted are") as caught:
            SqlStore(url, pool)
        assert "secret" not in str(caught.value)
