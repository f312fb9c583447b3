"""Crawlers are who they say, or not, or nobody can tell; and rows wait for none of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from watchducks.journal.bots import Crawler
from watchducks.journal.verification import (
    LOOK_UP_SECONDS,
    MAX_AT_ONCE,
    RETRY_SECONDS,
    VERDICT_SECONDS,
    CrawlerChecks,
)
from watchducks.model.origins import Address

GOOGLE = Crawler("Googlebot", "search", ("googlebot",), ("googlebot.com",))
TRUE = ipaddress.ip_address("192.0.2.1")
LIAR = ipaddress.ip_address("192.0.2.2")  # its reverse DNS names a crawler's host
STRANGER = ipaddress.ip_address("192.0.2.3")
NOWHERE = ipaddress.ip_address("192.0.2.4")
UNKNOWN = ipaddress.ip_address("192.0.2.5")
SLOW = ipaddress.ip_address("192.0.2.6")


class Dns:
    """What the world's DNS says."""

    def __init__(self) -> None:
        self.asked: list[Address] = []

    async def names_of(self, address: Address) -> list[str]:
        self.asked.append(address)
        if address == UNKNOWN:
            raise LookupError("no resolver answers")
        if address == SLOW:
            await Deferred()
        return {
            TRUE: ["a.googlebot.com"],
            LIAR: ["a.googlebot.com"],
            STRANGER: ["host.example.test", "googlebot.com.example.test"],
        }.get(address, [])

    async def addresses_of(self, name: str) -> tuple[Address, ...]:
        return (TRUE, ipaddress.ip_address("2001:db8::1")) if name == "a.googlebot.com" else ()


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.dns = Dns()
        self.checks = CrawlerChecks(self.dns, clock=self.clock)
        self.started = Deferred.fromCoroutine(self.checks.start())

    def verdict(self, address: Address) -> bool | None:
        return self.checks.verdict(GOOGLE, address)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    stopped = Deferred.fromCoroutine(world.checks.stop())
    assert stopped.called
    assert world.clock.getDelayedCalls() == []


def test_verdicts(world: World) -> None:
    expected = {TRUE: True, LIAR: False, STRANGER: False, NOWHERE: False, UNKNOWN: None}
    assert {address: world.verdict(address) for address in expected} == dict.fromkeys(expected)
    world.clock.advance(1)
    assert len(world.dns.asked) == MAX_AT_ONCE
    world.clock.advance(1)
    assert {address: world.verdict(address) for address in expected} == expected
    # Nobody is asked again while it is known.
    world.clock.advance(1)
    assert len(world.dns.asked) == len(expected)


def test_verdicts_are_looked_up_anew(world: World) -> None:
    for address in (TRUE, LIAR, UNKNOWN):
        world.verdict(address)
    world.clock.advance(1)
    world.dns.asked.clear()
    world.clock.advance(RETRY_SECONDS)
    # What was found stands until it is found otherwise.
    assert [world.verdict(address) for address in (TRUE, LIAR, UNKNOWN)] == [True, False, None]
    world.clock.advance(1)
    assert world.dns.asked == [LIAR, UNKNOWN]
    world.clock.advance(VERDICT_SECONDS)
    assert world.verdict(TRUE) is True
    world.clock.advance(1)
    assert world.dns.asked[-1] == TRUE


def test_one_that_does_not_answer_holds_up_nobody_for_long(world: World) -> None:
    world.verdict(SLOW)
    world.verdict(TRUE)
    world.clock.advance(1)
    assert world.verdict(TRUE) is True
    world.clock.advance(LOOK_UP_SECONDS)
    assert world.verdict(SLOW) is None
    world.verdict(STRANGER)
    world.clock.advance(1)
    assert world.verdict(STRANGER) is False


def test_stopping_ends_what_is_under_way() -> None:
    world = World()
    world.verdict(SLOW)
    world.clock.advance(1)
    stopped = Deferred.fromCoroutine(world.checks.stop())
    assert stopped.called
    assert world.clock.getDelayedCalls() == []
