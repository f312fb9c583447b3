"""The stream of a site's requests."""

from __future__ import annotations

import json
from typing import Any

import pytest_twisted
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.unit.console.driver import Driver
from watchducks.console.live import MAX_STREAMS
from watchducks.model.live import WATCH, Visit, channel_of, pack

VISIT = Visit(1_795_300_000.5, "GET", "/a\nb", 200, 12.5)


def moments(transport: StringTransport) -> list[dict[str, Any]]:
    """Return the events that came, and forget them."""
    found = [
        json.loads(line.removeprefix("data: "))
        for line in transport.value().decode().splitlines()
        if line.startswith("data: ")
    ]
    transport.clear()
    return found


def open_stream(driver: Driver, name: str = "ducks") -> tuple[Any, StringTransport]:
    protocol, transport = driver.connect()
    driver.send(
        protocol,
        b"GET /api/v1/sites/%b/live HTTP/1.1\r\nHost: console.example\r\n\r\n" % name.encode(),
    )
    return protocol, transport


@pytest_twisted.ensureDeferred
async def test_what_a_proxy_tells_is_there_within_a_second() -> None:
    driver = Driver()
    await driver.add()
    driver.analytics.scale = 100
    watched: list[bytes] = []
    driver.cache.subscribe(WATCH, watched.append)
    protocol, transport = open_stream(driver)
    head = transport.value().decode()
    assert head.startswith("HTTP/1.1 200")
    assert "Content-Type: text/event-stream" in head
    assert "Cache-Control: no-store" in head
    assert [each["visitors"] for each in moments(transport)] == [10]
    assert watched == [b"1"]
    await driver.cache.publish(channel_of(1), pack(40, [VISIT]))
    await driver.cache.publish(channel_of(1), b"nonsense")
    await driver.cache.publish(channel_of(2), pack(7, []))
    driver.clock.advance(1)
    (moment,) = moments(transport)
    assert (moment["requests"], moment["seconds"]) == (40, 1)
    assert moment["rows"] == [VISIT._asdict()]
    # Watched on, while the log store is away, too.
    driver.analytics.away = True
    driver.clock.pump([1] * 10)
    assert [each["visitors"] for each in moments(transport)][-1] is None
    assert len(watched) == 3
    protocol.connectionLost(Failure(ConnectionDone()))
    driver.clock.pump([1] * 10)
    assert len(watched) == 3, "nobody looks any more"


@pytest_twisted.ensureDeferred
async def test_who_does_not_read_is_not_written_to() -> None:
    driver = Driver()
    await driver.add()
    _, transport = open_stream(driver)
    moments(transport)
    producer: Any = transport.producer
    producer.pauseProducing()
    driver.clock.pump([1] * 3)
    assert moments(transport) == []
    producer.resumeProducing()
    driver.clock.advance(1)
    assert [each["seconds"] for each in moments(transport)] == [4]


@pytest_twisted.ensureDeferred
async def test_streams_are_bounded_and_end_with_the_console() -> None:
    driver = Driver()
    await driver.add()
    assert driver.api("GET", "/api/v1/sites/nobody/live").status == 404
    streams = [open_stream(driver)[1] for _ in range(MAX_STREAMS)]
    assert driver.api("GET", "/api/v1/sites/ducks/live").status == 503
    await driver.console.stop()
    assert all(stream.value().endswith(b"0\r\n\r\n") for stream in streams)
    assert driver.api("GET", "/api/v1/sites/ducks/live").status == 503
