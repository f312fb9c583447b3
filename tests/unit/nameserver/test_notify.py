"""Who is told of a change, how often, and what ends it."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.unit.nameserver.fakes import changed, site
from watchducks.nameserver.notify import (
    ATTEMPTS,
    MAX_UNANSWERED,
    MESSAGES_PER_TURN,
    TURN_SECONDS,
    Notifier,
)
from watchducks.nameserver.tsig import make_key

SECONDARY = (ipaddress.ip_address("203.0.113.99"), 53)
OTHER = (ipaddress.ip_address("2001:db8::99"), 5353)


class Port:
    """Stands in for a UDP port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken = False

    def write(self, packet: bytes, address: tuple[str, int]) -> None:
        if self.broken:
            raise OSError("no route")
        self.world.sent.append((packet, address))

    def stopListening(self) -> None:
        self.world.closed += 1


class Network(Clock):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self._world = world

    def listenUDP(self, port: int, protocol: object, interface: str) -> Port:
        self.ports.append(Port(self._world))
        return self.ports[-1]


class World:
    def __init__(self, *secondaries: Any, zones: int = 1, key: str = "") -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.closed = 0
        self.network = Network(self)
        self.notifier = Notifier(
            secondaries or (SECONDARY,),
            key=make_key(key) if key else None,
            zones=lambda: [b"\x04%04d\x00" % number for number in range(zones)],
            reactor=self.network,
            now=time.time,
        )

    async def start(self) -> None:
        await self.notifier.start()

    def run(self, seconds: float) -> None:
        self.network.pump([TURN_SECONDS] * round(seconds / TURN_SECONDS))

    def answer(self, packet: bytes, host: str = str(SECONDARY[0]), port: int = 53) -> None:
        reply = dns.message.make_response(dns.message.from_wire(packet, keyring=False))
        self.notifier.datagramReceived(reply.to_wire(), (host, port))


@pytest_twisted.ensureDeferred
async def test_a_change_is_told_to_each_secondary_once_it_runs() -> None:
    world = World(SECONDARY, OTHER)
    world.notifier.apply(changed([site("before.example")]))
    await world.start()
    world.run(1)
    assert world.sent == [], "what was known at the start is no change"
    world.notifier.apply(changed([site("ducks.example")], removed=["gone.example"]))
    world.run(1)
    messages = [(dns.message.from_wire(packet), where) for packet, where in world.sent]
    assert sorted((str(m.question[0]), where[0]) for m, where in messages) == [
        ("ducks.example. IN SOA", "2001:db8::99"),
        ("ducks.example. IN SOA", "203.0.113.99"),
        ("gone.example. IN SOA", "2001:db8::99"),
        ("gone.example. IN SOA", "203.0.113.99"),
    ]
    for message, _ in messages:
        assert message.opcode() == dns.opcode.NOTIFY
        assert message.flags & dns.flags.AA
    await world.notifier.stop()
    assert world.closed == 2
    assert world.network.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_it_is_told_again_with_growing_pauses_and_given_up() -> None:
    world = World()
    await world.start()
    world.notifier.apply(changed([site("ducks.example")]))
    with capturedLogs() as events:
        world.run(200)
    assert len(world.sent) == ATTEMPTS
    assert len({packet[:2] for packet, _ in world.sent}) > 1, "each with an id of its own"
    assert len([event for event in events if "does not answer" in event["log_format"]]) == 1
    await world.notifier.stop()


@pytest_twisted.ensureDeferred
async def test_an_answer_ends_it_but_only_from_who_was_told() -> None:
    world = World()
    await world.start()
    world.notifier.apply(changed([site("ducks.example")]))
    world.run(0.5)
    packet, _ = world.sent[0]
    world.answer(packet, host="203.0.113.98")
    world.answer(packet, port=54)
    world.answer(b"\0\0" + packet[2:] if packet[:2] != b"\0\0" else b"\1\1" + packet[2:])
    for junk in (b"", packet[:5], packet):
        world.notifier.datagramReceived(junk, (str(SECONDARY[0]), 53))
    world.run(3)
    assert len(world.sent) == 2
    world.answer(world.sent[1][0])
    world.run(100)
    assert len(world.sent) == 2
    await world.notifier.stop()


@pytest_twisted.ensureDeferred
async def test_a_failover_of_many_zones_is_told_evenly_and_with_a_bound() -> None:
    world = World(zones=3 * MAX_UNANSWERED)
    await world.start()
    world.notifier.all_changed()
    world.notifier.all_changed()
    world.run(1)
    assert len(world.sent) <= (1 / TURN_SECONDS + 1) * MESSAGES_PER_TURN
    world.run(2.5)
    (line,) = world.notifier._lines.values()
    assert len(line.open) <= MAX_UNANSWERED
    world.run(400)
    assert {int(packet[13:17]) for packet, _ in world.sent} == set(range(3 * MAX_UNANSWERED))
    await world.notifier.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_is_away_keeps_none_of_the_others_waiting_and_is_said_once() -> None:
    zones = 4 * MAX_UNANSWERED
    world = World(SECONDARY, OTHER, zones=zones)
    await world.start()
    world.notifier.all_changed()
    told = set()
    with capturedLogs() as events:
        for _ in range(100):
            world.run(1)
            for packet, (host, port) in world.sent:
                if host == str(OTHER[0]):
                    told.add(packet[13:17])
                    world.answer(packet, host, port)
            world.sent.clear()
    assert len(told) == zones
    said = [event for event in events if "does not answer" in event["log_format"]]
    assert [event["address"] for event in said] == [str(SECONDARY[0])]
    await world.notifier.stop()


@pytest_twisted.ensureDeferred
async def test_no_way_there_is_tried_again() -> None:
    world = World()
    await world.start()
    world.network.ports[0].broken = True
    world.notifier.apply(changed([site("ducks.example")]))
    world.run(1)
    world.network.ports[0].broken = False
    world.run(2)
    assert len(world.sent) == 1
    await world.notifier.stop()


@pytest.mark.parametrize("key", ["name:c2VjcmV0", "hmac-sha512:a.b.:c2VjcmV0"])
@pytest_twisted.ensureDeferred
async def test_it_is_signed_if_there_is_a_key(key: str) -> None:
    world = World(key=key)
    await world.start()
    world.notifier.apply(changed([site("ducks.example")]))
    world.run(1)
    made = make_key(key)
    message = dns.message.from_wire(world.sent[0][0], keyring={made.name: made})
    assert message.had_tsig
    await world.notifier.stop()
