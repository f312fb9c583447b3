"""The same zones in NSD and in ours, thousands of questions, and what both answer.

Used by the tests with some thousand questions and by ``bench/oracle_dns.py`` with as many as one
likes. NSD is right unless :data:`DIFFERENCES` says why we differ on purpose.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from twisted.internet.task import Clock
from twisted.names import dns as types

from tests.servers.nsd import Nsd
from tests.unit.nameserver.fakes import NAMES, PROXY4, TTL, FixedVerdicts, site, zone_table
from watchducks.model.zones import Record, ZoneContents
from watchducks.nameserver.records import is_below, suffix_offsets, wire_name
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.zones import INFRASTRUCTURE_TTL_SECONDS, ZoneTable

ANSWER_SECONDS = 5.0
# The last is within the first.
APEXES = ("one.example", "two.example", "three.co.example", "a.b.one.example")
OUTSIDE = (b"", b"\x07example", b"\x02no\x07example", b"\x03www\x04else\x07example")
LABELS = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"*",
    b"mail",
    b"ns",
    b"_sip",
    b"a.b",
    b"x\0y",
    b"\xff",
    b"n" * 63,
]
CAA = 257
DS = 43
HTTPS = 65
UNKNOWN = 65_280
ASKED_CLASSES = [dns.rdataclass.IN, dns.rdataclass.CH, dns.rdataclass.ANY]
ASKED_CLASS_WEIGHTS = [98, 1, 1]
# Of a set of addresses that may be left out: 20 AAAA and their owner.
MOST_OCTETS = 900
ASKED_TYPES = [
    types.A, types.A, types.AAAA, types.MX, types.TXT, types.NS, types.CNAME, types.SOA, types.PTR,
    types.SRV, types.HINFO, CAA, DS, DS, HTTPS, UNKNOWN, types.ALL_RECORDS, 46, 47, 48, types.NAPTR,
    0, 200, types.OPT, types.TKEY, types.MAILB,
]  # fmt: skip
NO_QUESTIONS = (types.OPT, types.TKEY, types.MAILB)


def dotted(name: bytes) -> str:
    """Return a wire name as zone files write it, every octet that is not plain escaped."""
    return dns.name.from_wire(name, 0)[0].to_text()


class ZoneMaker:
    """Random contents of one zone, which are valid: NSD refuses to load what is not."""

    def __init__(self, chance: random.Random, apex: bytes, targets: Sequence[bytes]) -> None:
        """
        :param targets: whole names outside this zone that its records may lead to.
        """
        self._chance = chance
        self._apex = apex
        self._targets = targets
        self.owners = [b""] + [self._owner() for _ in range(chance.randrange(10, 40))]

    def _owner(self) -> bytes:
        labels = self._chance.choices(LABELS, k=self._chance.choice([1, 1, 1, 2, 2, 3, 4]))
        name = b"".join(bytes((len(label),)) + label for label in labels)
        return name if len(name) + len(self._apex) <= 255 else b""

    def _target(self) -> bytes:
        if self._chance.random() < 0.2:
            return self._chance.choice(self._targets)
        owner = self._chance.choice(self.owners)
        if self._chance.random() < 0.2:
            owner = b"\x01" + self._chance.choice([b"a", b"z"]) + owner
        return owner + self._apex if len(owner) + len(self._apex) <= 255 else self._apex

    def contents(self) -> ZoneContents:
        """Return random records; the apex and www are proxied."""
        records: list[Record] = []
        for owner in dict.fromkeys(self.owners):
            records += self._node(owner)
        # A wildcard below a cut is in vain, but NSD makes glue of it.
        cuts = {record.owner + b"\0" for record in records if record.type == types.NS}
        kept = [
            record
            for record in records
            if not record.owner.startswith(b"\x01*")
            or not any(is_below(record.owner + b"\0", cut) for cut in cuts)
        ]
        return ZoneContents(("@", "www"), tuple(dict.fromkeys(kept)))

    def _node(self, owner: bytes) -> Iterator[Record]:
        chance = self._chance
        kind = chance.random()
        if owner and kind < 0.2:
            yield Record(owner, types.CNAME, chance.choice([60, 300]), self._target())
            return
        # What NS at a wildcard mean is left open (RFC 4592 section 4.2).
        if owner and kind < 0.35 and not owner.startswith(b"\x01*"):
            ttl = chance.choice([60, 300])
            for _ in range(chance.randrange(1, 4)):
                yield Record(owner, types.NS, ttl, self._server(owner))
            if chance.random() < 0.5:
                yield Record(owner, DS, 60, bytes((1, 2, 13, 2)) + bytes(32))
            if chance.random() < 0.7:
                return
        wanted = [types.TXT, types.MX, types.SRV, HTTPS, CAA, UNKNOWN, types.PTR]
        if owner:
            wanted += [types.A, types.A, types.A, types.AAAA, types.AAAA]
        for type_ in chance.choices(wanted, k=chance.randrange(1, 4)):
            for _ in range(chance.choice([1, 1, 2, 3, 20])):
                yield Record(owner, type_, 60 + type_ % 7, self._rdata(type_))

    def _server(self, owner: bytes) -> bytes:
        inside = b"\x02ns" + owner + self._apex
        return inside if self._chance.random() < 0.3 and len(inside) <= 255 else self._target()

    def _rdata(self, type_: int) -> bytes:
        chance = self._chance
        if type_ in (types.A, types.AAAA):
            return chance.randbytes(4 if type_ == types.A else 16)
        if type_ == types.PTR:
            return self._target()
        if type_ == types.MX:
            return chance.randbytes(2) + self._target()
        if type_ == types.SRV:
            return chance.randbytes(6) + self._target()
        if type_ == HTTPS:
            return b"\0\1" + chance.choice([b"\0", self._target()]) + b"\0\1\0\3\2h2"
        if type_ == CAA:
            return b"\0\5issue" + b"ca.example"
        text = chance.randbytes(chance.choice([1, 20, 200]))
        return bytes((len(text),)) + text


def zone_file(
    zones: ZoneTable, apex: bytes, contents: ZoneContents, inner: Sequence[bytes], verdicts: int
) -> str:
    """Write what a zone of ours holds as NSD reads it.

    :param inner: the zones of ours within it.
    """
    found = zones.find(apex)
    assert found is not None
    soa = zones.start_of_authority(found[0], verdicts)
    servers = [wire_name(name) for name in NAMES]
    lines = [(apex, soa.ttl, types.SOA, soa.rdatas[0])]
    lines += [
        (owner, INFRASTRUCTURE_TTL_SECONDS, types.NS, server)
        for owner in (apex, *inner)
        for server in servers
    ]
    proxied = (b"", b"\x03www")
    lines += [(host + apex, TTL, types.A, PROXY4.packed) for host in proxied]
    lines += [
        (owner + apex, ttl, type_, rdata)
        for owner, type_, ttl, rdata in contents.records
        if not _in_vain(owner + apex, type_, inner)
        # Its addresses would lead past the proxies; so ours must not care about it either.
        and not (type_ == HTTPS and owner in proxied)
    ]
    return "".join(
        f"{dotted(owner)} {ttl} IN TYPE{type_} \\# {len(rdata)} {rdata.hex()}\n"
        for owner, ttl, type_, rdata in lines
    )


def _in_vain(owner: bytes, type_: int, inner: Sequence[bytes]) -> bool:
    """Whether NSD must not see a record, which ours has and must not care about.

    What is below an inner zone (NSD has the names of all zones in one tree), and a CNAME at its
    apex (it cannot be loaded beside the NS).
    """
    if any(is_below(owner, zone) for zone in inner):
        return owner not in inner or type_ == types.CNAME
    return False


# A record as it is compared: owner, TTL, type, RDATA.
Line = tuple[str, int, int, bytes]


@dataclass
class View:
    """A response as it is compared: without order, and without regard to letter case."""

    rcode: int
    authoritative: bool
    truncated: bool
    answers: set[Line]
    authority: set[Line]
    additional: set[Line]
    octets: int = field(compare=False)

    @classmethod
    def of(cls, packet: bytes) -> View:
        message = dns.message.from_wire(packet)
        return cls(
            int(message.rcode()),
            bool(message.flags & dns.flags.AA),
            bool(message.flags & dns.flags.TC),
            set(_lines(message.answer)),
            set(_lines(message.authority)),
            set(_lines(message.additional)),
            len(packet),
        )

    def silence(self) -> None:
        """Become like an answer that says nothing."""
        self.rcode, self.authoritative, self.truncated = 0, False, False
        self.answers, self.authority, self.additional = set(), set(), set()


def _lines(section: Sequence[dns.rrset.RRset]) -> Iterator[Line]:
    for rrset in section:
        for rdata in rrset:
            yield (
                rrset.name.canonicalize().to_text(),
                rrset.ttl,
                int(rrset.rdtype),
                rdata.to_digestable(dns.name.root),
            )


class Difference(NamedTuple):
    """Something that we do otherwise than NSD, on purpose.

    :ivar level: makes both alike in that respect.
    """

    why: str
    level: Callable[[dns.message.Message, View, View], None]


def _any(query: dns.message.Message, ours: View, theirs: View) -> None:
    if query.question[0].rdtype == dns.rdatatype.ANY and ours.answers:
        assert [line[2] for line in ours.answers] == [types.HINFO]
        if theirs.answers or theirs.truncated:
            theirs.answers, theirs.additional, theirs.truncated = ours.answers, set(), False


def _servers(_query: dns.message.Message, _ours: View, theirs: View) -> None:
    if theirs.answers:
        theirs.authority -= {
            line for line in theirs.authority if line[2] == types.NS and line[0][:-1] in APEXES
        }


def _inner_apex(_query: dns.message.Message, _ours: View, theirs: View) -> None:
    """Leave out the addresses of servers named as the apex of a zone within the referring one."""
    inner: set[str] = set()
    for cut, _, type_, rdata in theirs.authority:
        server = dns.name.from_wire(rdata, 0)[0].to_text() if type_ == types.NS else ""
        referring = max((apex for apex in APEXES if cut.endswith(f".{apex}.")), key=len, default="")
        if server[:-1] in APEXES and referring and server.endswith(f".{referring}."):
            inner.add(server)
    theirs.additional -= {
        line for line in theirs.additional if line[0] in inner and line[2] in (types.A, types.AAAA)
    }


def _https(_query: dns.message.Message, ours: View, _theirs: View) -> None:
    if any(line[2] == HTTPS for line in ours.answers):
        ours.additional -= {line for line in ours.additional if line[2] in (types.A, types.AAAA)}


def _truncated(_query: dns.message.Message, ours: View, theirs: View) -> None:
    if ours.truncated and theirs.truncated:
        ours.silence()
        theirs.silence()


def _glue(_query: dns.message.Message, ours: View, theirs: View) -> None:
    referral = any(line[2] == types.NS for line in ours.authority | theirs.authority)
    if referral and (ours.truncated or theirs.truncated):
        ours.silence()
        theirs.silence()


def _chased_ds(query: dns.message.Message, ours: View, theirs: View) -> None:
    chased = bool(ours.answers) and all(line[2] == types.CNAME for line in ours.answers)
    if query.question[0].rdtype == DS and chased and ours.answers == theirs.answers:
        ours.authority = theirs.authority = set()


def _helpful(query: dns.message.Message, ours: View, theirs: View) -> None:
    limit = max(512, min(query.payload, 1232))
    if (ours.answers or ours.authority) and max(ours.octets, theirs.octets) > limit - MOST_OCTETS:
        ours.additional &= theirs.additional
        theirs.additional &= ours.additional


def _no_question(query: dns.message.Message, ours: View, theirs: View) -> None:
    question = query.question[0]
    if question.rdtype in NO_QUESTIONS and ours.rcode in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
        ours.silence()
        theirs.silence()


def _any_class(query: dns.message.Message, ours: View, theirs: View) -> None:
    if query.question[0].rdclass == dns.rdataclass.ANY and ours.rcode == dns.rcode.REFUSED:
        ours.silence()
        theirs.silence()


DIFFERENCES = (
    Difference(
        "ANY is answered with HINFO (RFC 8482 section 4.2), by NSD with one of the sets (4.1)", _any
    ),
    Difference(
        "the zone's own NS are not added to answers that nobody needs them for: they would double"
        " the most frequent answer",
        _servers,
    ),
    Difference(
        "of a server whose name is the apex of a zone of ours within the referring one, NSD adds"
        " the address that the outer zone has, and ours none: what is there only the inner zone"
        " says, whose owner may be another",
        _inner_apex,
    ),
    Difference("addresses of HTTPS targets come along (RFC 9460 section 4.1)", _https),
    Difference("what comes with TC is nothing: who gets it asks again by TCP", _truncated),
    Difference(
        "TC is set when glue from within the delegated zone does not fit, and not for other"
        " addresses (RFC 9471 section 3); this NSD is older than that",
        _glue,
    ),
    Difference(
        "a CNAME that leads to a zone's apex is followed for DS if it is in the parent, whose DS"
        " are; NSD, told to stay in the zone, follows it if it is in the zone itself",
        _chased_ds,
    ),
    Difference(
        "what is only helpful may be left out where not all of it fits: the two do not leave out"
        " the same",
        _helpful,
    ),
    Difference("types that are no questions are errors (RFC 6895); NSD: no records", _no_question),
    Difference("class ANY is refused as the others are: there is one class", _any_class),
)


@dataclass
class Comparison:
    """What came of the questions so far; the counts show that they reach all rules."""

    questions: int = 0
    rcodes: dict[int, int] = field(default_factory=dict)
    referrals: int = 0
    truncated: int = 0
    chains: int = 0
    problems: list[str] = field(default_factory=list)


class Oracle:
    """NSD and our responder with the same zones."""

    def __init__(self, nsd: Nsd, seed: int) -> None:
        self._chance = random.Random(seed)
        self._nsd = nsd
        apexes = [wire_name(apex) for apex in APEXES]
        outside = [name + b"\0" for name in OUTSIDE[1:]]
        makers = {
            apex: ZoneMaker(self._chance, apex, [*outside, *apexes, b"\x03www" + apexes[0]])
            for apex in apexes
        }
        held = {apex: maker.contents() for apex, maker in makers.items()}
        verdicts = FixedVerdicts(PROXY4, revision=self._chance.randrange(1_000_000))
        zones = zone_table(*(site(dotted(apex), held=held[apex]) for apex in apexes))
        self.responder = Responder(zones, verdicts, clock=Clock())
        self.files = {
            dotted(apex): zone_file(
                zones,
                apex,
                held[apex],
                [inner for inner in apexes if inner != apex and inner.endswith(apex)],
                verdicts.revision,
            )
            for apex in apexes
        }
        nsd.serve(self.files)
        if not nsd.running:
            nsd.start()
        for apex in apexes:
            soa = dns.message.make_query(dotted(apex), dns.rdatatype.SOA)
            packet = self.responder.respond(soa.to_wire(), datagram=True)
            assert packet is not None
            loaded = dns.query.udp(soa, nsd.address, port=nsd.port, timeout=ANSWER_SECONDS)
            # With a serial number of its own.
            assert loaded.answer == dns.message.from_wire(packet).answer, nsd.log_tail()
        self._names = [
            name
            for apex, maker in makers.items()
            for owner in maker.owners
            for name in self._around(owner, apex)
        ] + [name + b"\0" for name in OUTSIDE]

    def _around(self, owner: bytes, apex: bytes) -> Iterator[bytes]:
        """Yield an owner, the names above it, names below it and names beside it."""
        for offset in suffix_offsets(owner + apex):
            yield (owner + apex)[offset:]
        for _ in range(3):
            label = self._chance.choice(LABELS)
            for name in (owner, owner[1 + owner[0] :] if owner else b""):
                below = bytes((len(label),)) + label + name + apex
                if len(below) <= 255:
                    yield below

    def questions(self, count: int) -> Iterator[dns.message.Message]:
        chance = self._chance
        for _ in range(count):
            name = bytearray(chance.choice(self._names))
            for index in range(len(name)):  # octets of lengths are below 64
                if chance.random() < 0.3:
                    name[index : index + 1] = bytes(name[index : index + 1]).swapcase()
            edns = chance.choice([False, True, True])
            yield dns.message.make_query(
                dns.name.from_wire(bytes(name), 0)[0],
                dns.rdatatype.RdataType.make(chance.choice(ASKED_TYPES)),
                chance.choices(ASKED_CLASSES, ASKED_CLASS_WEIGHTS)[0],
                use_edns=edns,
                payload=chance.choice([512, 512, 900, 1232, 4096]) if edns else None,
                flags=chance.choice([0, dns.flags.RD]),
            )

    def compare(self, count: int) -> Comparison:
        """Ask both ``count`` questions."""
        outcome = Comparison()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(ANSWER_SECONDS)
            asker.connect((self._nsd.address, self._nsd.port))
            for query in self.questions(count):
                packet = query.to_wire()
                asker.send(packet)
                theirs = asker.recv(4096)
                ours = self.responder.respond(packet, datagram=True)
                assert ours is not None
                self._judge(outcome, query, ours, theirs)
        return outcome

    def _judge(
        self, outcome: Comparison, query: dns.message.Message, ours: bytes, theirs: bytes
    ) -> None:
        our_view, their_view = View.of(ours), View.of(theirs)
        outcome.questions += 1
        outcome.rcodes[our_view.rcode] = outcome.rcodes.get(our_view.rcode, 0) + 1
        outcome.truncated += our_view.truncated
        outcome.referrals += not our_view.authoritative and bool(our_view.authority)
        outcome.chains += len(our_view.answers) > 1
        for difference in DIFFERENCES:
            difference.level(query, our_view, their_view)
        if our_view != their_view:
            outcome.problems.append(
                f"{dns.message.from_wire(ours)}\n--- NSD:\n{dns.message.from_wire(theirs)}"
            )
