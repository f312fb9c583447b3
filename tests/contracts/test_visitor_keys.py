"""Hosts agree on the keys of visitors' ids, on SQLite and MariaDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import select
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.contracts.stores_under_test import open_registry
from tests.servers.mariadb import MariaDB
from watchducks.registry.registry import Registry
from watchducks.registry.schema import visitor_keys
from watchducks.registry.sealing import Sealer
from watchducks.registry.visitor_keys import GRACE_SECONDS, SharedVisitorKeys
from watchducks.stores.interfaces import StoreUnavailable

DAY = 20_000


def keys(registry: Registry, path: Path, *, makes: bool = True, day: int = DAY) -> Any:
    return SharedVisitorKeys(
        registry, Sealer(path), makes_key_file=makes, now=lambda: day * 86_400.0 + GRACE_SECONDS
    )


async def kept(registry: Registry) -> dict[int, bytes]:
    rows = await registry.read(lambda connection: connection.execute(select(visitor_keys)).all())
    return {row.day: row.sealed for row in rows}


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.fresh_database()


@pytest_twisted.ensureDeferred
async def test_hosts_that_ask_at_once_agree(url: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    async with open_registry(url, reactor) as one, open_registry(url, reactor) as other:
        hosts = [keys(registry, path) for registry in (one, other) for _ in range(4)]
        agreed = await gatherResults(
            [
                Deferred.fromCoroutine(host.agree(DAY, bytes([number]) * 32))
                for number, host in enumerate(hosts)
            ]
        )
        assert len(set(agreed)) == 1
        assert await one.revision() == 0
        sealed = (await kept(one))[DAY]
        assert agreed[0] not in sealed
        # When its day is over it is deleted, by whoever makes the next.
        late = keys(other, path, day=DAY + 1)
        await late.agree(DAY + 1, bytes(32))
        assert list(await kept(one)) == [DAY + 1]


@pytest_twisted.ensureDeferred
async def test_a_host_without_the_key_file_is_told(url: str, tmp_path: Path) -> None:
    async with open_registry(url, reactor) as registry:
        without = keys(registry, tmp_path / "missing", makes=False)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="cannot read"):
                await without.agree(DAY, bytes(32))
            assert not (tmp_path / "missing").exists()
            await keys(registry, tmp_path / "key").agree(DAY, bytes(32))
        Sealer(tmp_path / "another").seal(b"", b"")
        with pytest.raises(StoreUnavailable, match="share the file"):
            await keys(registry, tmp_path / "another").agree(DAY, bytes(32))
