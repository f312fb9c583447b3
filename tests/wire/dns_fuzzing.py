"""Mutated packets through the whole responder, judged by dnspython.

Used by the tests with some thousand packets and by ``bench/fuzz_dns.py`` with as many as one likes.
Whatever comes in, what goes out is a response to it that another codec can read, of a size that is
allowed, and nothing has failed inside.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.edns
import dns.exception
import dns.message
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.unit.nameserver.fakes import (
    PROXY4,
    PROXY6,
    FixedVerdicts,
    contents,
    site,
    zone_table,
)
from tests.unit.nameserver.keys import GlassSeals, zone_key
from watchducks.model.signing import Phase, Signing
from watchducks.nameserver.cookies import Cookies
from watchducks.nameserver.guard import MAX_AMPLIFICATION
from watchducks.nameserver.identity import Identity
from watchducks.nameserver.options import COOKIE, Options
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.signatures import Signatures
from watchducks.nameserver.signing import Signer
from watchducks.nameserver.wire import HEADER_OCTETS, MAX_TCP_OCTETS, MAX_UDP_OCTETS

HOST = "192.0.2.1"
NOW = 1_800_000_000
ZONE = """
$TTL 600
@        MX    10 mail
@        TXT   "v=spf1 mx -all"
mail     A     192.0.2.25
ftp      CNAME mail
loop1    CNAME loop2
loop2    CNAME loop1
*.wild   A     192.0.2.70
*.chain  CNAME y.chain
shop     NS    ns.shop
ns.shop  A     192.0.2.53
_sip._tcp SRV  0 5 5060 mail
new      HTTPS 1 . alpn=h2
many     TXT   "{long}" "{long}" "{long}" "{long}" "{long}" "{long}"
""".replace("{long}", "x" * 250)
NAMES = [
    "example.com", "www.example.com", "ftp.example.com", "loop1.example.com", "a.wild.example.com",
    "a.chain.example.com", "www.shop.example.com", "_sip._tcp.example.com", "new.example.com",
    "many.example.com", "nope.example.com", "signed.example", "www.signed.example",
    "nope.signed.example", "elsewhere.test", "id.server", ".", "ns1.watchducks.example",
]  # fmt: skip
TYPES = ["A", "AAAA", "MX", "TXT", "NS", "SOA", "SRV", "HTTPS", "DS", "DNSKEY", "ANY", "CNAME"]
# What parsers disagree about: pointers, to themselves as well, lengths, OPTs, counts.
_TOKENS = [
    b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x3f", b"\x40", b"\x80", b"\0", b"\0\x01", b"\0\xff",
    b"\0\0\x29\x04\xd0\0\0\0\0\0\0", b"\0\0\x29\0\0\0\0\x80\0\0\0", b"\0\x0a\0\x08abcdefgh",
    b"\0\0\x29\xff\xff\0\xff\0\0\0\4\0\x0a\0\0", b"\7example\3com\0", b"\1*", b"\0\3\0\0",
    b"\0\xfa\0\xff",
]  # fmt: skip


class World:
    """A responder with all there is, and valid questions to begin with."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        verdicts = FixedVerdicts(PROXY4, PROXY6)
        zones = zone_table(
            site("example.com", held=contents("example.com", ZONE)),
            site("inner.example.com"),
            site(
                "signed.example", signing=Signing(Phase.SIGNED, 0, (zone_key(1, "signed.example"),))
            ),
            now=self.clock.seconds,
        )
        signatures = Signatures(GlassSeals(), clock=self.clock)
        self.responder = Responder(
            zones,
            verdicts,
            clock=self.clock,
            options=Options(
                Cookies(b"s" * 32, now=self.clock.seconds), nsid="ns1", idle_seconds=10
            ),
            identity=Identity("ns1"),
            signer=Signer(zones, verdicts, signatures),
        )
        self.seeds = list(self._seeds())

    def _seeds(self) -> Iterator[bytes]:
        for number, name in enumerate(NAMES):
            for offset, type_ in enumerate(TYPES):
                kind = (number + offset) % 4
                query = dns.message.make_query(
                    name,
                    type_,
                    "CH" if name == "id.server" else "IN",
                    use_edns=kind > 0,
                    want_dnssec=kind > 1,
                    payload=(512, 1232, 4096)[offset % 3] if kind else None,
                )
                if kind == 3:
                    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"8 octets")
                    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
                    query.use_edns(options=[cookie, nsid])
                    response = self.responder.respond(query.to_wire(), HOST, datagram=True)
                    assert response is not None
                    shown = dns.message.from_wire(response).options[0]
                    query.use_edns(options=[shown])
                yield query.to_wire()
        # Who asks for nothing but a cookie (RFC 7873 section 5.4).
        for shown in (b"8 octets", b"8 octets" + bytes(16)):
            alone = dns.message.Message()
            alone.use_edns(options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, shown)])
            yield alone.to_wire()


@dataclass
class Outcome:
    """What became of the packets so far; the counts show that the fuzzing reaches all of it."""

    packets: int = 0
    silent: int = 0
    rcodes: dict[int, int] = field(default_factory=dict)
    with_records: int = 0
    problems: list[str] = field(default_factory=list)


@implementer(ILogObserver)
class _Failures:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.seen.append(event["log_failure"].getTraceback())


@contextmanager
def _failures() -> Iterator[list[str]]:
    observer = _Failures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.seen
    finally:
        globalLogPublisher.removeObserver(observer)


def mutate(chance: random.Random, data: bytes, seeds: list[bytes]) -> bytes:
    """Return ``data`` with a few changes; about half of the results can still be read."""
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.choices(range(6), (1, 1, 1, 1, 1, 12))[0]
        if kind == 0:
            data = data[:at] + chance.choice(_TOKENS) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + chance.randrange(1, 6) :]
        elif kind == 2:
            end = at + chance.randrange(1, 40)
            data = data[:end] + data[at:end] + data[end:]
        elif kind == 3:
            token = chance.choice(_TOKENS)
            data = data[:at] + token + data[at + len(token) :]
        elif kind == 4:
            data = data[:at] + chance.choice(seeds)[at:]
        elif at < len(data):  # a bit of a letter, a type, a flag or a length
            data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    return data


def fuzz(packets: int, seed: int) -> Outcome:
    """Play mutated packets, by UDP and by TCP."""
    chance = random.Random(seed)
    world = World()
    outcome = Outcome()
    with _failures() as failures:
        for number in range(packets):
            if number % 100 == 0:  # so that signatures are not used up, and time passes
                world.clock.advance(1)
            packet = mutate(chance, chance.choice(world.seeds), world.seeds)
            datagram = chance.random() < 0.7
            outcome.packets += 1
            try:
                response = world.responder.respond(packet, HOST, datagram=datagram)
                problem = _judge(outcome, packet, response, datagram=datagram)
            except Exception as error:  # whatever it is, it is what we look for
                problem = repr(error)
            if failures:
                problem = failures.pop()
            if problem:
                outcome.problems.append(f"{packet.hex()} datagram={datagram}: {problem}")
    return outcome


def _judge(
    outcome: Outcome, packet: bytes, response: bytes | None, *, datagram: bool
) -> str | None:
    if response is None:
        outcome.silent += 1
        whole = len(packet) >= HEADER_OCTETS and not packet[2] & 0x80
        return "no response to a query" if whole else None
    if len(packet) < HEADER_OCTETS or packet[2] & 0x80:
        return "a response to what is no query"
    if response[:2] != packet[:2] or not response[2] & 0x80 or (response[2] ^ packet[2]) & 0x78:
        return "another id or opcode, or no response"
    if len(response) > (MAX_UDP_OCTETS if datagram else MAX_TCP_OCTETS):
        return f"a response of {len(response)} octets"
    shown = bytes((0, COOKIE)) in packet
    if datagram and not shown and len(response) > MAX_AMPLIFICATION * len(packet):
        return f"a response of {len(response)} octets to {len(packet)}"
    message = dns.message.from_wire(response, ignore_trailing=False)
    if response[2] & 0x78 == 0 and int(message.rcode()) == 0 and not message.question:
        # Nothing but a cookie may have been asked for, and nothing but one is given.
        asked = packet[4:6] != b"\0\0" or not shown or message.answer or message.authority
        if asked:
            return "an answer without its question"
    rcode = int(message.rcode())
    outcome.rcodes[rcode] = outcome.rcodes.get(rcode, 0) + 1
    outcome.with_records += bool(message.answer)
    return None
