"""Host names of others are looked up in the background, in bounds, and what is known stands."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import dns.rcode
import pytest
from dns.name import Name
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.unit.console.fakes import FakeThreads
from tests.unit.nameserver.fakes import (
    PROXY4,
    Asker,
    FixedVerdicts,
    changed,
    rdatas,
    site,
    zone_table,
)
from watchducks.lookups.known_names import KnownNames
from watchducks.lookups.names import (
    FILE_NAME,
    MAX_AT_ONCE,
    MAX_FRESH_SECONDS,
    MIN_FRESH_SECONDS,
    RETRY_SECONDS,
    TURN_SECONDS,
    HostNames,
)
from watchducks.lookups.remembered import document_of, read_document
from watchducks.model.changes import Changes
from watchducks.model.origins import MAX_ORIGIN_ADDRESSES, Address, parse_origin, usable
from watchducks.model.sites import Site
from watchducks.model.zones import ALIAS, Record, ZoneContents
from watchducks.nameserver.records import wire_name
from watchducks.nameserver.zones import ALIAS_TTL_SECONDS

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


def not_private(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return usable(addresses, own_addresses={PROXY4}, allow_private=False)


class World:
    """:ivar told: what a follower of sites was told last, by zone."""

    def __init__(self, state_dir: Path) -> None:
        self.clock = Clock()
        self.resolver = Asked()
        self.zones = zone_table()
        self.names = HostNames(
            self.resolver,
            usable=not_private,
            state_dir=state_dir,
            pool=FakeThreads(),
            clock=self.clock,
        )
        self.names.tell(self.zones)
        self.told: dict[str, Site] = {}
        self.followers = [
            self.names.apply,
            self.names.resolving(self.zones.apply),
            self.names.resolving(self._told),
        ]
        self.verdicts = FixedVerdicts(PROXY4)
        self.asker = Asker(self.zones, self.verdicts)

    def _told(self, changes: Changes) -> None:
        self.told.update({site.zone: site for site in changes.sites})

    async def start(self, *sites: Site) -> None:
        self.change(*sites)
        await self.names.start()

    def change(self, *sites: Site, removed: Sequence[str] = ()) -> None:
        for follower in self.followers:
            follower(changed(sites, removed))

    def turn(self, seconds: float = TURN_SECONDS) -> None:
        self.clock.pump([TURN_SECONDS] * int(seconds / TURN_SECONDS))

    def answers(self, name: str = "example.com") -> list[str]:
        return rdatas(self.asker.ask(name).answer)

    def origin_at(self, zone: str = "example.com") -> tuple[Address, ...]:
        return self.told[zone].origin.addresses

    def serial(self, name: str = "example.com") -> int:
        return int(self.asker.ask(name, "SOA").answer[0][0].serial)


def aliased(zone: str, target: str) -> Site:
    record = Record(b"", ALIAS, 60, wire_name(target))
    return replace(site(zone), contents=ZoneContents(("www",), (record,)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_name_is_looked_up_and_answered(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"), site("example.org"))
    assert world.resolver.answer([TWO, ONE]) == "back.host.net."
    assert world.answers() == [
        f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.1",
        f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.2",
    ]
    assert world.resolver.open == []
    await world.names.stop()


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
    assert world.answers() == [f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.2"]
    await world.names.stop()


async def test_the_same_answer_again_changes_nothing(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([ONE, TWO], 60)
    before = world.zones.revision
    world.turn(61)
    world.resolver.answer([TWO, ONE], 41)
    assert world.zones.revision == before
    await world.names.stop()


async def test_what_is_known_stands_while_the_resolver_is_away(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([ONE])
    with capturedLogs() as events:
        world.turn(61)
        for _ in range(3):
            world.resolver.fail()
            world.turn(RETRY_SECONDS + TURN_SECONDS)
    assert world.answers() == [f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.1"]
    assert sum("not known" in str(event.get("log_format")) for event in events) == 1
    world.resolver.answer([TWO])
    assert world.answers() == [f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.2"]
    await world.names.stop()


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
    await world.names.stop()


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
    assert world.answers() == [f"example.com. {ALIAS_TTL_SECONDS} IN A 192.0.2.2"]
    world.turn()
    assert world.resolver.open == []
    await world.names.stop()


async def test_what_is_found_too_late_is_not_kept(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.change(removed=["example.com"])
    world.resolver.answer([ONE])
    assert world.zones.alias(wire_name("back.host.net")) is None
    world.turn(MAX_FRESH_SECONDS)
    assert world.resolver.open == []
    await world.names.stop()


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
    await world.names.stop()


async def test_a_name_without_addresses_is_nodata(world: World) -> None:
    await world.start(aliased("example.com", "back.host.net"))
    world.resolver.answer([], 0)
    response = world.asker.ask("example.com")
    assert (response.rcode(), response.answer) == (0, [])
    await world.names.stop()


# --- origins that are host names ------------------------------------------------------------------


NAMED = site("example.com", "https://origin.host.net:8443")


def proxies_fail(world: World) -> None:
    world.verdicts.set()


async def test_an_origin_gets_the_addresses_of_its_name(world: World) -> None:
    proxies_fail(world)
    await world.start(NAMED)
    assert world.origin_at() == ()
    # Nobody may remember that there is no address: it is found in a moment.
    assert world.asker.ask("example.com").rcode() == dns.rcode.SERVFAIL
    assert world.resolver.answer([TWO, ONE]) == "origin.host.net."
    origin = world.told["example.com"].origin
    assert (str(origin), origin.addresses) == ("https://origin.host.net:8443", (ONE, TWO))
    assert world.names.resolved(parse_origin("origin.host.net")).addresses == (ONE, TWO)
    assert world.answers() == [f"example.com. 30 IN A {address}" for address in (ONE, TWO)]
    assert world.answers("www.example.com") == [
        f"www.example.com. 30 IN A {address}" for address in (ONE, TWO)
    ]
    # A site that changes otherwise comes with its addresses.
    world.change(replace(NAMED, email="other@example.com"))
    assert world.told["example.com"].origin == origin
    world.change(site("example.com", "192.0.2.9"))
    assert world.answers() == ["example.com. 30 IN A 192.0.2.9"]
    world.turn(MAX_FRESH_SECONDS)
    assert world.resolver.open == []
    await world.names.stop()


async def test_an_origin_has_a_bounded_number_of_addresses(world: World) -> None:
    await world.start(NAMED)
    many = [ipaddress.ip_address(f"192.0.2.{last}") for last in range(1, 20)]
    world.resolver.answer(many)
    assert world.origin_at() == tuple(many[:MAX_ORIGIN_ADDRESSES])
    await world.names.stop()


@pytest.mark.parametrize(
    "found",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:192.168.0.1", str(PROXY4), ""],
)
async def test_no_name_leads_us_to_a_private_address(world: World, found: str) -> None:
    await world.start(NAMED)
    answer = [ipaddress.ip_address(found)] if found else []
    world.resolver.answer(answer)
    assert world.origin_at() == ()
    world.turn(61)
    world.resolver.answer([ONE])
    assert world.origin_at() == (ONE,)
    with capturedLogs() as events:
        for _ in range(3):
            world.turn(61)
            world.resolver.answer(answer)
    assert world.origin_at() == (ONE,)
    assert len(events) == bool(found)
    # Beside others it is passed over.
    world.turn(61)
    world.resolver.answer([*answer, TWO])
    assert world.origin_at() == (TWO,)
    await world.names.stop()


async def test_a_follower_that_fails_keeps_nobody_from_new_addresses(
    world: World,
) -> None:
    def broken(_: Changes) -> None:
        raise RuntimeError("a bug")

    world.names.resolving(broken)
    later: list[Changes] = []
    world.names.resolving(later.append)
    await world.start(NAMED)
    with capturedLogs() as events:
        world.resolver.answer([ONE])
    assert len(later) == 1
    assert ["a follower failed" in event["log_format"] for event in events] == [True]
    assert world.origin_at() == (ONE,)
    await world.names.stop()


# --- over a restart, and for secondaries ----------------------------------------------------------


async def test_new_addresses_raise_the_serials_of_those_zones_alone(world: World) -> None:
    await world.start(aliased("one.com", "back.host.net"), NAMED, site("other.com"))
    zones = ("one.com", "example.com", "other.com")
    before = [world.serial(zone) for zone in zones]
    for _ in range(2):
        world.resolver.answer([ONE])
    after = [world.serial(zone) for zone in zones]
    assert after == [before[0] + 1, before[1] + 1, before[2]]
    world.turn(61)
    assert world.resolver.answer([ONE]) != world.resolver.answer([TWO])
    assert sorted(map(world.serial, zones[:2])) == sorted((after[0], after[1] + 1))
    # An ALIAS that ends takes nothing back.
    serial = world.serial("one.com")
    world.change(replace(site("one.com"), revision=8))
    assert world.serial("one.com") == serial + 1
    await world.names.stop()


async def test_a_restart_goes_on_with_what_was_known(tmp_path: Path) -> None:
    sites = (aliased("one.com", "back.host.net"), NAMED)
    first = World(tmp_path)
    await first.start(*sites)
    for _ in range(2):
        first.resolver.answer([ONE])
    serials = [first.serial(one.zone) for one in sites]
    assert len(set(serials)) == 1
    first.turn()  # it has not been stopped: somebody pulled the plug

    second = World(tmp_path)
    await second.names.start()
    second.change(*sites)
    assert [second.serial(one.zone) for one in sites] == [serials[0] + 1] * 2
    proxies_fail(second)
    for _ in range(2):
        if not second.resolver.open:
            second.turn()
        second.resolver.fail()
    assert second.answers("one.com") == [f"one.com. {ALIAS_TTL_SECONDS} IN A {ONE}"]
    assert second.answers() == [f"example.com. 30 IN A {ONE}"]
    assert second.origin_at() == (ONE,)
    # What nobody needs any more is not kept.
    second.change(removed=["one.com"])
    second.turn()
    assert wire_name("back.host.net").hex() not in (tmp_path / FILE_NAME).read_text()
    assert wire_name("origin.host.net").hex() in (tmp_path / FILE_NAME).read_text()
    await second.names.stop()
    await first.names.stop()
    # Nor what nobody needed from the start.
    third = World(tmp_path)
    await third.start(aliased("one.com", "other.host.net"))
    third.resolver.answer([ONE])
    third.turn()
    assert wire_name("origin.host.net").hex() not in (tmp_path / FILE_NAME).read_text()
    await third.names.stop()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"names": {"00": 1}, "moves": {}}', '{"names": {}, "moves": []}']
)
async def test_a_file_that_is_none_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    world = World(tmp_path)
    await world.start(NAMED)
    world.resolver.answer([ONE])
    assert world.origin_at() == (ONE,)
    await world.names.stop()


async def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    world = World(tmp_path / "state")
    await world.start(NAMED)
    with capturedLogs() as events:
        world.resolver.answer([ONE])
        world.turn()
    assert [event["log_format"][:11] for event in events] == ["cannot keep"]
    (tmp_path / "state").unlink()
    world.turn()
    assert (tmp_path / "state" / FILE_NAME).exists()
    await world.names.stop()


# --- another process that is told -----------------------------------------------------------------


async def test_another_process_answers_as_it_is_told(world: World) -> None:
    table, told = zone_table(), KnownNames()
    followed: dict[str, Site] = {}
    told.tell(table)

    def follow(changes: Changes) -> None:
        followed.update({site.zone: site for site in changes.sites})

    sites = (aliased("one.com", "back.host.net"), NAMED)
    followers = [told.apply, told.resolving(table.apply), told.resolving(follow)]

    def tell() -> None:
        document = json.loads(json.dumps(document_of(world.names.remembered())))
        told.told(read_document(document))

    await world.start(*sites)
    world.resolver.answer([ONE])
    tell()  # of some, before the sites
    for follower in followers:
        follower(changed(sites))
    changes = world.names.changes
    world.resolver.answer([ONE])
    assert world.names.changes == changes + 1
    tell()
    before = table.revision
    tell()
    assert table.revision == before  # nothing new
    verdicts = FixedVerdicts()
    proxies_fail(world)
    verdicts.serial = verdicts.revision = world.verdicts.serial
    asker = Asker(table, verdicts)
    for one in sites:
        for type_ in ("A", "SOA"):
            expected = rdatas(world.asker.ask(one.zone, type_).answer)
            assert rdatas(asker.ask(one.zone, type_).answer) == expected
    assert followed["example.com"].origin.addresses == (ONE,)
    world.turn(61)
    for _ in sites:
        world.resolver.answer([TWO])
    tell()
    assert followed["example.com"].origin.addresses == (TWO,)
    assert rdatas(asker.ask("one.com").answer) == world.answers("one.com")
    await world.names.stop()
