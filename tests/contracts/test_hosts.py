"""Reports of hosts, on SQLite and MariaDB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from sqlalchemy import insert
from twisted.internet import reactor

from tests.contracts.stores_under_test import open_registry
from tests.servers.mariadb import MariaDB
from watchducks.model.hosts import HostReport
from watchducks.model.metrics import gauge
from watchducks.registry.hosts import FORGOTTEN_AFTER_SECONDS, HostBook
from watchducks.registry.schema import hosts

NOW = 1_795_300_000
SPOOL = gauge("watchducks_spool_bytes", "", 2_500_000.0, process="edge-1")
EDGE = HostReport(
    "edge-1", NOW, NOW - 9, "1.0", ("proxy",), 2, (0.5, 4), {"registry": True, "logs": False}, ()
)


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


@pytest_twisted.ensureDeferred
async def test_every_console_finds_what_each_host_said_last(url: str) -> None:
    async with open_registry(url, reactor) as one, open_registry(url, reactor) as other:
        book, elsewhere = HostBook(one), HostBook(other)
        assert await book.hosts() == []
        await book.keep(EDGE)
        second = replace(EDGE, name="console-1", roles=("console",), samples=(SPOOL,))
        await elsewhere.keep(second)
        later = replace(EDGE, at=NOW + 30, checks={"registry": True, "logs": True})
        await book.keep(later)
        assert await elsewhere.hosts() == [second, later]
        assert await one.revision() == 0, "nobody who follows sites is told"
        # What a later version says is passed over, and who has left is forgotten.
        for content in (b"{", b"[]", b'{"load": 3}'):
            row = {"name": f"odd-{len(content)}", "at": NOW, "report": content}
            await one.write(lambda connection, row=row: connection.execute(insert(hosts), row))  # type: ignore[misc]
        assert await book.hosts() == [second, later]
        much_later = replace(later, at=NOW + 30 + FORGOTTEN_AFTER_SECONDS)
        await book.keep(much_later)
        assert await book.hosts() == [much_later]
