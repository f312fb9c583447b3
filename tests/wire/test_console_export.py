"""The export of a site's single requests."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from tests.unit.console.driver import Driver
from watchducks.analytics.export import COLUMNS
from watchducks.analytics.filters import Filters
from watchducks.console.exports import MAX_EXPORTS
from watchducks.stores.interfaces import StoreUnavailable

ROW = tuple(range(len(COLUMNS)))
PATH = "/api/v1/sites/ducks/export"


@pytest_twisted.ensureDeferred
async def test_an_owner_gets_all_rows_in_pages() -> None:
    driver = Driver()
    token = await driver.add()
    driver.export.pages = [[ROW, ROW], [ROW]]
    reply = driver.api("GET", f"{PATH}?country=KR", token=token)
    lines = reply.text.splitlines()
    assert lines[0] == ",".join([*COLUMNS, "local_time"])
    assert lines[1:] == [",".join([*map(str, ROW), "1970-01-01T00:00:00.000+00:00"])] * 3
    there = driver.api("GET", f"{PATH}?tz=Asia/Seoul", token=token).text.splitlines()
    assert there[1].endswith(",1970-01-01T09:00:00.000+09:00")
    driver.export.asked.pop()
    assert reply.headers["content-disposition"] == 'attachment; filename="ducks.csv"'
    assert reply.headers["content-type"].startswith("text/csv")
    assert driver.export.asked == [(1, Filters("all", (("country", ("KR",)),)))]
    objects = driver.api("GET", f"{PATH}?format=jsonl", token=token).text.splitlines()
    assert len(objects) == 3
    assert objects[0].startswith('{"time": 0, ')
    driver.export.pages = []
    assert driver.api("GET", PATH, token=token).text.splitlines() == lines[:1]


@pytest_twisted.ensureDeferred
async def test_nobody_else_gets_them() -> None:
    driver = Driver()
    token = await driver.add()
    driver.analytics.scale = 100
    assert driver.api("GET", PATH).status == 403
    assert driver.api("GET", PATH, token="wd_wrong").status in (401, 403)
    assert driver.api("GET", f"{PATH}?format=xls", token=token).status == 422
    assert "/export?" not in driver.get("/sites/ducks").text


@pytest_twisted.ensureDeferred
async def test_an_outage_before_is_told_and_one_on_the_way_breaks_the_connection() -> None:
    driver = Driver()
    token = await driver.add()
    driver.export.pages = [StoreUnavailable("away")]
    assert driver.api("GET", PATH, token=token).status == 503
    driver.export.pages = [[ROW], StoreUnavailable("away")]
    protocol, transport = driver.connect()
    head = f"GET {PATH} HTTP/1.1\r\nHost: console.example\r\nAuthorization: Bearer {token}\r\n\r\n"
    driver.send(protocol, head.encode())
    assert transport.disconnected or transport.disconnecting
    assert not transport.value().endswith(b"\r\n0\r\n\r\n"), "it does not look complete"


@pytest_twisted.ensureDeferred
async def test_who_reads_slowly_is_waited_for_and_exports_are_bounded() -> None:
    driver = Driver()
    token = await driver.add()
    gate: Deferred[None] = Deferred()
    driver.export.pages = [[ROW], gate, [ROW], [ROW]]
    head = f"GET {PATH} HTTP/1.1\r\nHost: console.example\r\nAuthorization: Bearer {token}\r\n\r\n"
    transports = []
    for _ in range(MAX_EXPORTS):
        protocol, transport = driver.connect()
        driver.send(protocol, head.encode())
        transports.append(transport)
    assert driver.api("GET", PATH, token=token).status == 503
    slow = transports[0]
    producer: Any = slow.producer
    producer.pauseProducing()
    gate.callback(None)
    assert slow.value().count(b"0,1,2,") == 2, "one page, and no more until it is read"
    assert transports[1].value().endswith(b"0\r\n\r\n")
    producer.resumeProducing()
    assert slow.value().count(b"0,1,2,") == 3
    assert slow.value().endswith(b"0\r\n\r\n")
    driver.export.pages = []
    assert driver.api("GET", PATH, token=token).status == 200
