"""Inserts that the server collects: only where it knows how, and acknowledged when written."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.journal.samples import AtOnce
from watchducks.model.log_servers import parse_log_servers
from watchducks.stores.clickhouse import ClickHouseStore


class Recording:
    """A client that keeps the settings of inserts."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.settings: list[dict[str, Any]] = []

    def execute(self, sql: str, data: object = None, **options: Any) -> list[tuple[str]]:
        if sql.startswith("INSERT"):
            self.settings.append(options["settings"])
        return [(self._version,)]


class Store(ClickHouseStore):
    """One whose connections are a test's."""

    client: Any

    def _client(self, database: str) -> Any:
        return self.client


@pytest.mark.parametrize(
    ("version", "wanted", "sent"),
    [("26.9.1", True, True), ("18.16.1", True, False), ("26.9.1", False, False)],
)
def test_async_insert(version: str, wanted: bool, sent: bool) -> None:
    pool: Any = AtOnce()
    store = Store(parse_log_servers("clickhouse://h/db"), pool, clock=Clock(), async_insert=wanted)
    store.client = Recording(version)
    for work in (store.start(), store.insert("t", ("a",), ([1],), "token")):
        done = Deferred.fromCoroutine(work)
        assert done.called
    (settings,) = store.client.settings
    assert ("async_insert" in settings) is sent
    assert settings.get("wait_for_async_insert") == (1 if sent else None)
