"""A real NSD as our secondary: it gets zones, is told of changes, and answers as we do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.message
import dns.name
import dns.query
import dns.tsig
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.servers.nsd import Nsd
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.waiting import eventually
from tests.unit.nameserver.fakes import (
    PROXY4,
    FixedVerdicts,
    changed,
    contents,
    rdatas,
    site,
    zone_table,
)
from watchducks.model.origins import address_and_port
from watchducks.nameserver.listener import NameServer
from watchducks.nameserver.notify import Notifier
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.transfers import Transfers
from watchducks.nameserver.tsig import make_key

NAME, SECRET = "transfer", "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
KEY = make_key(f"{NAME}:{SECRET}")
ZONES = ("ducks.example", "long.example")
LONG = "".join(f'n{number} 60 IN TXT "{"x" * 200}"\n' for number in range(2_000))


REACTOR: Any = reactor


class Primary:
    """Our name server, with one secondary."""

    def __init__(self, secondary_port: int) -> None:
        address, _ = address_and_port(LOOPBACK)
        self.zones = zone_table(
            site("ducks.example"), site("long.example", held=contents("long.example", LONG))
        )
        self.verdicts = FixedVerdicts(PROXY4)
        self.notifier = Notifier(
            [(address, secondary_port)],
            key=KEY,
            zones=self.zones.apexes,
            reactor=reactor,
            now=time.time,
        )
        transfers = Transfers(self.zones, self.verdicts, [address], key=KEY, now=time.time)
        self.port = free_port()  # the same for both: NSD asks there and believes NOTIFY from there
        self.server = NameServer(
            [f"{kind}:{self.port}:interface={LOOPBACK}" for kind in ("udp", "tcp")],
            Responder(self.zones, self.verdicts, clock=REACTOR),
            reactor=reactor,
            transfers=transfers,
        )


class World:
    def __init__(self, directory: Path) -> None:
        self.nsd = Nsd(directory)
        self.primary = Primary(self.nsd.port)
        self.nsd.follow(ZONES, self.primary.port, key=(NAME, SECRET))

    async def ask(self, name: str, type_: str = "A", *, port: int = 0) -> dns.message.Message:
        query = dns.message.make_query(name, type_)
        return await deferToThread(
            lambda: dns.query.tcp(query, LOOPBACK, timeout=5, port=port or self.nsd.port)
        )

    async def becomes(self, name: str, address: str) -> None:
        """Wait until the secondary answers ``name`` with ``address``."""

        async def answered() -> bool:
            try:
                response = await self.ask(name)
            except (ConnectionError, EOFError):
                return False  # NSD reloads the zone in a new process, and the old one hangs up
            return any(line.endswith(f" A {address}") for line in rdatas(response.answer))

        # Far below the zone's refresh (900 s): only NOTIFY can be the reason.
        await eventually(reactor, answered, f"the secondary's {name} to be {address}", 20)


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.primary.server.start()
    await world.primary.notifier.start()
    await deferToThread(world.nsd.start)
    yield world
    await deferToThread(world.nsd.stop)
    await world.primary.notifier.stop()
    await world.primary.server.stop()


@pytest_twisted.ensureDeferred
async def test_a_secondary_follows_our_zones_and_verdicts(world: World) -> None:
    primary = world.primary
    await world.becomes("www.ducks.example", str(PROXY4))
    ours = await world.ask("ducks.example", "SOA", port=primary.port)
    theirs = await world.ask("ducks.example", "SOA")
    assert rdatas(ours.answer) == rdatas(theirs.answer)
    # A failover ...
    primary.verdicts.set()
    primary.notifier.all_changed()
    await world.becomes("www.ducks.example", "198.51.100.7")
    # ... and an owner's change.
    moved = site("ducks.example", origin="198.51.100.8", revision=8)
    primary.zones.apply(changed([moved]))
    primary.notifier.apply(changed([moved]))
    await world.becomes("www.ducks.example", "198.51.100.8")


@pytest_twisted.ensureDeferred
async def test_a_long_zone_arrives_whole(world: World) -> None:
    await world.becomes("long.example", str(PROXY4))
    for number in (0, 999, 1_999):
        assert (await world.ask(f"n{number}.long.example", "TXT")).answer


@pytest_twisted.ensureDeferred
async def test_a_secondary_that_is_away_is_told_again(world: World) -> None:
    await world.becomes("www.ducks.example", str(PROXY4))
    world.nsd.pause()
    try:
        world.primary.verdicts.set()
        world.primary.notifier.all_changed()
        await deferToThread(lambda: None)
    finally:
        world.nsd.resume()
    await world.becomes("www.ducks.example", "198.51.100.7")


@pytest_twisted.ensureDeferred
async def test_dnspython_gets_a_zone_with_the_key_and_nothing_without(world: World) -> None:
    def transfer(keyring: dict[dns.name.Name, dns.tsig.Key] | None) -> list[str]:
        messages = dns.query.xfr(
            LOOPBACK, "ducks.example", port=world.primary.port, lifetime=5, keyring=keyring
        )
        return [str(rrset) for message in messages for rrset in message.answer]

    found = await deferToThread(transfer, {KEY.name: KEY})
    assert len([line for line in found if " SOA " in line]) == 2
    with pytest.raises(dns.query.TransferError, match="REFUSED"):
        await deferToThread(transfer, None)
