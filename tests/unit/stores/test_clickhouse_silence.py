"""A server that lets us wait is left alone for a while, where there are others."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_driver.errors import NetworkError, SocketTimeoutError
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.journal.samples import AtOnce
from watchducks.model.log_servers import parse_log_servers
from watchducks.stores.clickhouse import SILENT_SECONDS, ClickHouseStore
from watchducks.stores.clickhouse_errors import ServerAway


class Failing:
    """A connection. :ivar asked: how often somebody tried."""

    def __init__(self, error: Exception) -> None:
        self.asked = 0
        self._error = error

    def execute(self, *_: object, **__: object) -> None:
        self.asked += 1
        raise self._error

    def disconnect(self) -> None:
        pass


class Store(ClickHouseStore):
    """One whose connections are a test's."""

    client: Any

    def _client(self, database: str) -> Any:
        return self.client


@pytest.mark.parametrize(
    ("error", "in_cluster", "tries"),
    [
        (SocketTimeoutError("timed out"), True, 1),
        (TimeoutError("timed out"), True, 1),
        # Who says at once that nobody is there costs nothing.
        (NetworkError("connection refused"), True, 2),
        (SocketTimeoutError("timed out"), False, 2),
    ],
)
def test_a_silent_server(error: Exception, in_cluster: bool, tries: int) -> None:
    clock = Clock()
    pool: Any = AtOnce()
    store = Store(parse_log_servers("clickhouse://h/db"), pool, clock=clock, in_cluster=in_cluster)
    store.client = Failing(error)
    failures: list[Any] = []
    for _ in range(2):
        _ = Deferred.fromCoroutine(store.execute("SELECT 1")).addErrback(failures.append)
    assert store.client.asked == tries
    clock.advance(SILENT_SECONDS)
    _ = Deferred.fromCoroutine(store.execute("SELECT 1")).addErrback(failures.append)
    assert store.client.asked == tries + 1
    assert [failure.type for failure in failures] == [ServerAway] * 3
