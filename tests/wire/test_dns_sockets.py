"""The name server on real loopback sockets, asked by dig and dnspython."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.servers.process import find_program
from tests.servers.waiting import eventually
from tests.unit.nameserver.fakes import (
    PROXY4,
    FixedVerdicts,
    changed,
    rdatas,
    site,
    zone_table,
)
from watchducks.background import StartupError
from watchducks.model.sites import Site
from watchducks.nameserver import listener
from watchducks.nameserver.listener import NameServer, parse_udp
from watchducks.nameserver.responder import Responder

REACTOR: Any = reactor
LOOPBACK = "127.0.0.1"
# As many A records as do not fit into 1,232 octets.
MANY = tuple(ipaddress.ip_address(f"203.0.113.{number}") for number in range(1, 101))


def answering(*sites: Site) -> Responder:
    return Responder(zone_table(*sites), FixedVerdicts(PROXY4), clock=REACTOR)


class Running:
    """A name server on ports of its own, and what it answers from."""

    def __init__(self) -> None:
        self.zones = zone_table(site("example.com"))
        self.verdicts = FixedVerdicts(PROXY4)
        listen = [f"{kind}:0:interface={LOOPBACK}" for kind in ("udp", "tcp")]
        self.server = NameServer(
            listen, Responder(self.zones, self.verdicts, clock=REACTOR), reactor=reactor
        )

    @property
    def ports(self) -> tuple[int, int]:
        udp, tcp = self.server.bound_addresses
        assert (udp.type, tcp.type) == ("UDP", "TCP")
        return udp.port, tcp.port

    async def ask(self, name: str, type_: str = "A", **options: Any) -> dns.message.Message:
        """Ask by UDP, and by TCP when the answer is truncated, as a resolver does."""
        query = dns.message.make_query(name, type_, **options)
        response = await in_thread(
            lambda: dns.query.udp(query, LOOPBACK, timeout=5, port=self.ports[0])
        )
        if response.flags & dns.flags.TC:
            response = await in_thread(
                lambda: dns.query.tcp(query, LOOPBACK, timeout=5, port=self.ports[1])
            )
        return response


async def in_thread(function: Callable[[], dns.message.Message]) -> dns.message.Message:
    return await deferToThread(function)


@pytest_twisted.async_yield_fixture
async def running() -> Any:
    running = Running()
    await running.server.start()
    yield running
    await running.server.stop()


@pytest_twisted.ensureDeferred
async def test_a_change_of_verdict_or_site_is_answered_at_once(running: Running) -> None:
    assert rdatas((await running.ask("www.example.com")).answer)[0].endswith(str(PROXY4))
    running.verdicts.set()
    assert rdatas((await running.ask("www.example.com")).answer)[0].endswith("198.51.100.7")
    assert (await running.ask("second.example")).rcode() == dns.rcode.REFUSED
    running.zones.apply(changed([site("second.example")]))
    assert rdatas((await running.ask("second.example")).answer)[0].endswith("198.51.100.7")


@pytest_twisted.ensureDeferred
async def test_what_is_truncated_is_whole_over_tcp(running: Running) -> None:
    running.verdicts.set(*MANY)
    response = await running.ask("www.example.com", use_edns=0)
    assert not response.flags & dns.flags.TC
    assert len(rdatas(response.answer)) == len(MANY)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("tcp", [False, True])
async def test_dig_is_content(running: Running, tcp: bool) -> None:
    async def dig(*arguments: str) -> str:
        port = str(running.ports[tcp])
        # Named in both cases: dig would ask for ANY over TCP by itself. AXFR is TCP anyway.
        transport = "+tcp" if tcp else "+notcp"
        everything = ["@" + LOOPBACK, "-p", port, "+tries=1", "+time=5", transport, *arguments]
        output, errors, code = await getProcessOutputAndValue(
            find_program("dig"), everything, os.environ, reactor=reactor
        )
        text: str = output.decode()
        assert (code, errors) == (0, b""), text
        for complaint in ("WARNING", "Warning", "Got bad packet", "extra bytes", "mismatch"):
            assert complaint not in text
        return text

    assert (await dig("+short", "WWW.example.com")).split() == [str(PROXY4)]
    whole = await dig("example.com", "A", "+norecurse")
    assert "flags: qr aa;" in whole
    assert "EDNS: version: 0, flags:; udp: 1232" in whole
    assert "status: NXDOMAIN" in await dig("nope.example.com", "+norecurse")
    assert "status: REFUSED" in await dig("example.org", "+norecurse")
    assert "ANSWER: 0, AUTHORITY: 1" in await dig("example.com", "MX", "+norecurse")
    assert "RFC8482" in await dig("example.com", "ANY", "+norecurse")
    assert "ns1.watchducks.example." in await dig("+short", "example.com", "NS")
    if tcp:
        assert "; Transfer failed." in await dig("example.com", "AXFR")


@pytest_twisted.ensureDeferred
async def test_garbage_and_a_port_that_nobody_has_do_not_stop_it(running: Running) -> None:
    port = running.ports[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for packet in (b"", b"x", bytes(12), b"\xff" * 500, bytes(9_000)):
            client.sendto(packet, (LOOPBACK, port))
    # The responses to a closed port come back as ICMP errors on the server's socket.
    assert (await running.ask("www.example.com")).rcode() == dns.rcode.NOERROR


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_is_waited_for_and_loses_nothing(
    running: Running,
) -> None:
    """Some 3 MB of questions, whose responses fill every buffer between the two."""
    count = 60_000
    wire = dns.message.make_query("www.example.com", "A").to_wire()
    questions = b"".join(
        len(wire).to_bytes(2, "big") + (number % 65_536).to_bytes(2, "big") + wire[2:]
        for number in range(count)
    )
    received = bytearray()

    class Client(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            self.transport.write(questions)

        def dataReceived(self, data: bytes) -> None:
            received.extend(data)

    client = await connectProtocol(
        TCP4ClientEndpoint(reactor, LOOPBACK, running.ports[1]), Client()
    )

    async def waiting() -> bool:
        return any(stream._paused for stream in running.server._streams._open)

    await eventually(reactor, waiting, "the server to pause", 10)
    (stream,) = running.server._streams._open
    assert len(stream._received) <= 65_536
    client.transport.resumeProducing()
    size = len(wire) + 2 + 16  # with one address each

    async def complete() -> bool:
        return len(received) >= size * count

    await eventually(reactor, complete, "every response", 20)
    assert len(received) == size * count
    ids = [int.from_bytes(received[at + 2 : at + 4], "big") for at in range(0, len(received), size)]
    assert ids == [number % 65_536 for number in range(count)]
    client.transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_stopping_closes_sockets_and_connections_and_can_be_undone() -> None:
    running = Running()
    await running.server.start()
    udp, tcp = running.ports
    lost: Deferred[None] = Deferred()

    class Client(Protocol):
        def connectionLost(self, reason: object = None) -> None:
            lost.callback(None)

    await connectProtocol(TCP4ClientEndpoint(reactor, LOOPBACK, tcp), Client())

    async def accepted() -> bool:
        return len(running.server._streams._open) == 1

    await eventually(reactor, accepted, "the connection to be accepted", 5)
    await running.server.stop()
    # Long before the idle limit would have ended it.
    await lost.addTimeout(listener.TCP_IDLE_SECONDS / 2, reactor)
    assert running.server.bound_addresses == ()
    for kind, port in ((socket.SOCK_DGRAM, udp), (socket.SOCK_STREAM, tcp)):
        with socket.socket(socket.AF_INET, kind) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((LOOPBACK, port))
    await running.server.start()
    assert (await running.ask("www.example.com")).rcode() == dns.rcode.NOERROR
    await running.server.stop()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("kind", ["udp", "tcp"])
async def test_a_port_that_is_taken_is_one_clear_line_and_nothing_stays_open(kind: str) -> None:
    type_ = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, type_) as other:
        other.bind((LOOPBACK, 0))
        if kind == "tcp":
            other.listen()
        text = f"{kind}:{other.getsockname()[1]}:interface={LOOPBACK}"
        server = NameServer([f"udp:0:interface={LOOPBACK}", text], answering(), reactor=reactor)
        with pytest.raises(StartupError) as caught:
            await server.start()
    assert str(caught.value) == f"nameserver.listen: {text}: address already in use"
    assert server.bound_addresses == ()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "text",
    [
        "udp:dns",
        "udp:65536",
        "udp:53:interface=localhost",
        "udp:53:backlog=5",
        "sctp:53",
        "tcp:x",
        "systemd:domain=INET:index=0",  # nobody handed us a socket
        "tcp:0:interface=192.0.2.1",  # an address that this machine does not have
    ],
)
async def test_an_endpoint_that_cannot_be_opened_names_key_and_value(text: str) -> None:
    server = NameServer([text], answering(), reactor=reactor)
    with pytest.raises(StartupError, match=r"^nameserver\.listen: .+: .+") as caught:
        await server.start()
    assert str(caught.value).startswith(f"nameserver.listen: {text}: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp:53", (53, "")),
        ("udp:5300:interface=127.0.0.1", (5300, "127.0.0.1")),
        ("udp:53:interface=2001\\:db8\\:\\:53", (53, "2001:db8::53")),
        ("udp:53:interface=::1", (53, "::1")),
    ],
)
def test_udp_endpoints(text: str, expected: tuple[int, str]) -> None:
    assert parse_udp(text) == expected


@pytest_twisted.ensureDeferred
async def test_ipv6_is_served() -> None:
    server = NameServer(
        ["udp:0:interface=::1", "tcp:0:interface=\\:\\:1"],
        answering(site("example.com")),
        reactor=reactor,
    )
    try:
        await server.start()
    except StartupError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    query = dns.message.make_query("example.com", "A")
    udp, tcp = server.bound_addresses
    assert not isinstance(udp, IPv4Address)
    for ask, port in ((dns.query.udp, udp.port), (dns.query.tcp, tcp.port)):
        response = await in_thread(lambda ask=ask, port=port: ask(query, "::1", 5, port))  # type: ignore[misc]
        assert rdatas(response.answer) == [f"example.com. 30 IN A {PROXY4}"]
    await server.stop()
