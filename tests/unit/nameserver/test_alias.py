"""ALIAS: names of others are looked up in the background, in bounds, and what is known stands."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from dns.name import Name
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.unit.nameserver.fakes import (
    PROXY4,
    Asker,
    FixedVerdicts,
    changed,
    rdatas,
    site,
    zone_table,
)
from watchducks.model.origins import Address
from watchducks.model.sites import Site
from watchducks.model.zones import ALIAS, Record, ZoneContents
from watchducks.nameserver.alias import (
    ANSWER_TTL_SECONDS,
    MAX_AT_ONCE,
    MAX_FRESH_SECONDS,
    MIN_FRESH_SECONDS,
    RETRY_SECONDS,
    TURN_SECONDS,
    Aliases,
)
from watchducks.nameserver.records import wire_name

ONE, TWO = map(ipaddress.ip_address, ("192.0.2.1", "192.0.2.2"))
Found = tuple[Collection[Address], int]


class Asked:
    """A resolver whose answers the test gives."""

    def __init__(self) -> None:
        self.open: list[tuple[str, Deferred[Found]]] = []

    async def addresses(self, name: Name) -> Found:
        answer: Deferred[Found] = Deferred()
        self.open.append((name.to_text(), answer))
        return await answer

    def answer(self, addresses: Sequence[Address], seconds: int = 60) -> str:
        name, answer = self.open.pop(0)
        answer.callback((addresses, seconds))
        return name

    def fail(self) -> None:
        self.open.pop(0)[1].errback(OSError("nobody there"))


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.resolver = Asked()
        self.zones = zone_table()
        self.aliases = Aliases(self.zones, self.resolver, clock=self.clock)
        self.asker = Asker(self.zones, FixedVerdicts(PROXY4))

    async def start(self, *sites: Site) -> None:
        self.change(*sites)
        await self.aliases.start()

    def change(self, *sites: Site, removed: Sequence[str] = ()) -> None:
        for follower in (self.zones.apply, self.aliases.apply):
            follower(changed(sites, removed))

    def turn(self, seconds: float = TURN_SECONDS) -> None:
        self.clock.pump([TURN_SECONDS] * int(seconds / TURN_SECONDS))

    def answers(self, name: str = "example.com") -> list[str]:
        return rdatas(self.asker.ask(name).answer)


def aliased(zone: str, target: str) -> Site:
    record = Record(b"", ALIAS, 60, wire_name(target))
    return replace(site(zone), contents=ZoneContents(("www",), (record,)))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_name_is_looked_up_and_answered(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"), site("example.org"))
    assert world.resolver.answer([TWO, ONE]) == "back.host.net."
    assert world.answers() == [
        f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.1",
        f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.2",
    ]
    assert world.resolver.open == []
    await world.aliases.stop()


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(0, MIN_FRESH_SECONDS), (60, 60), (86_400, MAX_FRESH_SECONDS)],
)
async def test_it_is_looked_up_again_when_it_is_no_longer_fresh(
    world: World, seconds: int, wait: int
) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([ONE], seconds)
    world.turn(wait - TURN_SECONDS)
    assert world.resolver.open == []
    world.turn(2 * TURN_SECONDS)
    assert len(world.resolver.open) == 1
    world.resolver.answer([TWO])
    assert world.answers() == [f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.2"]
    await world.aliases.stop()


async def test_the_same_answer_again_changes_nothing(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([ONE, TWO], 60)
    before = world.zones.revision
    world.turn(61)
    world.resolver.answer([TWO, ONE], 41)
    assert world.zones.revision == before
    await world.aliases.stop()


async def test_what_is_known_stands_while_the_resolver_is_away(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([ONE])
    with capturedLogs() as events:
        world.turn(61)
        for _ in range(3):
            world.resolver.fail()
            world.turn(RETRY_SECONDS + TURN_SECONDS)
    assert world.answers() == [f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.1"]
    assert sum("not known" in str(event.get("log_format")) for event in events) == 1
    world.resolver.answer([TWO])
    assert world.answers() == [f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.2"]
    await world.aliases.stop()


async def test_a_name_is_looked_up_once_for_all_and_forgotten_with_the_last(world: World) -> None:
    first, second = (aliased(zone, "back.host.net") for zone in ("one.com", "two.com"))
    await world.start(first, second)
    assert len(world.resolver.open) == 1
    world.resolver.answer([ONE])
    target = wire_name("back.host.net")
    world.change(removed=["one.com"])
    assert world.zones.alias(target) is not None
    world.change(aliased("two.com", "other.host.net"))
    assert world.zones.alias(target) is None
    world.turn()
    assert world.resolver.answer([TWO]) == "other.host.net."
    world.turn(MAX_FRESH_SECONDS)
    assert [name for name, _ in world.resolver.open] == ["other.host.net."]
    await world.aliases.stop()


async def test_a_name_that_comes_back_is_looked_up_at_once(world: World) -> None:
    wanted = aliased("example.com", "back.host.net")
    await world.start(wanted)
    world.resolver.answer([ONE], MAX_FRESH_SECONDS)
    with capturedLogs() as events:
        for _ in range(2):
            world.change(removed=["example.com"])
            world.change(wanted)
        world.turn()
    assert not events
    assert len(world.resolver.open) == 1
    world.change(removed=["example.com"])
    world.change(wanted)
    world.turn()
    world.resolver.answer([TWO], MAX_FRESH_SECONDS)
    assert world.answers() == [f"example.com. {ANSWER_TTL_SECONDS} IN A 192.0.2.2"]
    world.turn()
    assert world.resolver.open == []
    await world.aliases.stop()


async def test_what_is_found_too_late_is_not_kept(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.change(removed=["example.com"])
    world.resolver.answer([ONE])
    assert world.zones.alias(wire_name("back.host.net")) is None
    world.turn(MAX_FRESH_SECONDS)
    assert world.resolver.open == []
    await world.aliases.stop()


async def test_a_bounded_number_is_looked_up_at_once(world: World) -> None:
    sites = [aliased(f"z{n}.com", f"h{n}.net") for n in range(MAX_AT_ONCE + 5)]
    await world.start(*sites)
    assert len(world.resolver.open) == MAX_AT_ONCE
    for _ in range(3):
        world.resolver.answer([ONE])
    world.turn()
    assert len(world.resolver.open) == MAX_AT_ONCE
    world.resolver.fail()
    world.turn()
    assert len(world.resolver.open) == MAX_AT_ONCE
    await world.aliases.stop()


async def test_a_name_without_addresses_is_nodata(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([], 0)
    response = world.asker.ask("example.com")
    assert (response.rcode(), response.answer) == (0, [])
    await world.aliases.stop()
