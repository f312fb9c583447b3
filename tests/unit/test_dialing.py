"""Connecting without a word in the log."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, globalLogPublisher

from tests.servers.ports import LOOPBACK, free_port
from watchducks.dialing import dial


class Silent(Factory):
    noisy = False
    protocol = Protocol


class Leaving(Protocol):
    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, _reason: object = None) -> None:
        self.lost.callback(None)


@pytest_twisted.ensureDeferred
async def test_the_protocol_is_connected_and_nothing_is_logged() -> None:
    port = await TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK).listen(Silent())
    events: list[LogEvent] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    mine = Leaving()
    try:
        endpoint = TCP4ClientEndpoint(reactor, LOOPBACK, port.getHost().port, timeout=5)
        assert await dial(endpoint, mine) is mine
        assert mine.transport is not None
        mine.transport.loseConnection()
        await mine.lost.addTimeout(5, reactor)
    finally:
        globalLogPublisher.removeObserver(observer)
        await port.stopListening()
    assert not [event for event in events if "actory" in str(event.get("log_format"))]


@pytest_twisted.ensureDeferred
async def test_nobody_there() -> None:
    endpoint = TCP4ClientEndpoint(reactor, LOOPBACK, free_port("tcp"), timeout=5)
    with pytest.raises(Refused):
        await dial(endpoint, Protocol())
