"""Counting questions: the table and its bounds, and its way to the log store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.names import dns

from tests.unit.nameserver.fakes import PROXY4, FixedVerdicts, site, zone_table
from tests.unit.nameserver.test_responder_guard import query
from watchducks.nameserver import counts as module
from watchducks.nameserver.counts import (
    LAST_SECONDS,
    REPORT_SECONDS,
    Counted,
    CountReporter,
    Counts,
    Subject,
)
from watchducks.nameserver.guard import network_of
from watchducks.nameserver.responder import Responder
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

ZONE = b"\7example\3com\0"
SUBJECT = Subject(ZONE, dns.A, dns.OK)


def test_equal_questions_are_one_row_and_taking_begins_anew() -> None:
    counts = Counts()
    for host in ("192.0.2.1", "192.0.2.200", "198.51.100.1"):
        counts.add(SUBJECT, network_of(host))
    counts.add(Subject(ZONE, 28, dns.ENAME), network_of("2001:db8:1:200::1"))
    counts.add(Subject(ZONE, 28, dns.ENAME), network_of("2001:db8:1:ff00::1"))
    counts.add(Subject(b"", 0, dns.EFORMAT), network_of("::ffff:192.0.2.9"))
    counts.add(Subject(ZONE, 65_280, dns.OK), "")
    assert sorted(counts.take()) == [
        ("", "other", "FORMERR", "192.0.2.0/24", 1),
        ("example.com", "A", "NOERROR", "192.0.2.0/24", 2),
        ("example.com", "A", "NOERROR", "198.51.100.0/24", 1),
        ("example.com", "AAAA", "NXDOMAIN", "2001:db8:1::/48", 2),
        ("example.com", "other", "NOERROR", "", 1),
    ]
    assert counts.take() == []


def test_the_table_is_bounded_and_counts_on() -> None:
    counts = Counts()
    for number in range(module.MAX_ROWS):
        counts.add(SUBJECT, str(number))
    for number in range(module.MAX_ROWS, module.MAX_ROWS + 1_000):
        counts.add(SUBJECT, str(number))
    assert len(counts._table) == module.MAX_ROWS + 1
    assert counts._table[SUBJECT, ""] == 1_000
    for number in range(module.MAX_ROWS_WITHOUT_NETWORK):
        counts.add(Subject(b"%d" % number, dns.A, dns.OK), "192.0.2")
    assert len(counts._table) == module.MAX_ROWS_WITHOUT_NETWORK + 1
    assert sum(counts._table.values()) == module.MAX_ROWS + 1_000 + module.MAX_ROWS_WITHOUT_NETWORK


def test_types_that_people_ask_for_have_names() -> None:
    counts = Counts()
    for type_ in (1, 2, 5, 6, 15, 16, 28, 33, 43, 48, 65, 255, 257):
        counts.add(Subject(ZONE, type_, dns.OK), "")
    assert {row.type for row in counts.take()} == {
        *("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "SRV", "DS", "DNSKEY", "HTTPS", "ANY"),
        "CAA",
    }


def test_every_kind_of_packet_is_counted_once() -> None:
    counts = Counts()
    responder = Responder(
        zone_table(site("example.com")), FixedVerdicts(PROXY4), clock=Clock(), counts=counts
    )
    packets = [
        query().to_wire(),
        query("nope.example.com", "AAAA").to_wire(),
        query("example.org").to_wire(),
        b"\0\1" + bytes(10),
        b"\0\1\x10" + bytes(9),
    ]
    for packet in packets:
        for _ in range(3):  # also from both caches
            responder.respond(packet, "192.0.2.1", datagram=True)
    responder.respond(packets[0], "192.0.2.1", datagram=False)
    responder.respond(b"\0\0\x80" + bytes(9), "192.0.2.1", datagram=True)  # a response: no question
    network = "192.0.2.0/24"
    assert sorted(counts.take()) == [
        ("", "A", "REFUSED", network, 3),
        ("", "other", "FORMERR", network, 3),
        ("", "other", "NOTIMP", network, 3),
        ("example.com", "A", "NOERROR", network, 4),
        ("example.com", "AAAA", "NXDOMAIN", network, 3),
    ]


class Sink:
    """Remembers what it was given; fails, or never ends, when it is told to."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, list[Counted], str]] = []
        self.fails: Exception | None = None
        self.hangs = False

    async def store(self, time: int, rows: Sequence[Counted], token: str) -> None:
        self.blocks.append((time, list(rows), token))
        if self.hangs:
            await Deferred()
        if self.fails is not None:
            raise self.fails


class Reporting:
    def __init__(self) -> None:
        self.clock = Clock()
        self.counts = Counts()
        self.sink = Sink()
        self.reporter = CountReporter(
            self.counts, self.sink, clock=self.clock, now=lambda: 1e9 + self.clock.seconds()
        )
        self.started = Deferred.fromCoroutine(self.reporter.start())

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.reporter.stop())


@pytest.fixture
def reporting() -> Iterator[Reporting]:
    reporting = Reporting()
    yield reporting
    reporting.sink.hangs = False
    assert reporting.stop().called
    assert reporting.clock.getDelayedCalls() == []


def test_counts_are_stored_once_a_minute_and_nothing_is_no_block(reporting: Reporting) -> None:
    reporting.counts.add(SUBJECT, "192.0.2")
    reporting.clock.advance(REPORT_SECONDS)
    reporting.clock.advance(REPORT_SECONDS)
    ((time, rows, _),) = reporting.sink.blocks
    assert time == 1e9 + REPORT_SECONDS
    assert rows == [("example.com", "A", "NOERROR", "192.0.2.0/24", 1)]


def test_while_the_store_is_away_counts_add_up_and_the_same_block_comes_again(
    reporting: Reporting,
) -> None:
    reporting.sink.fails = StoreUnavailable("away")
    for _ in range(3):
        reporting.counts.add(SUBJECT, "192.0.2")
        reporting.clock.advance(REPORT_SECONDS)
    assert len(reporting.sink.blocks) == 3
    assert reporting.sink.blocks[0] == reporting.sink.blocks[2]
    reporting.sink.fails = None
    reporting.clock.advance(REPORT_SECONDS)
    reporting.clock.advance(REPORT_SECONDS)
    first, second = reporting.sink.blocks[3:]
    assert first == reporting.sink.blocks[0]
    assert second[2] != first[2]
    assert [row.questions for row in first[1] + second[1]] == [1, 2]


def test_what_the_store_refuses_does_not_keep_the_next(reporting: Reporting) -> None:
    reporting.sink.fails = StoreRefused("never")
    reporting.counts.add(SUBJECT, "192.0.2")
    reporting.clock.advance(REPORT_SECONDS)
    reporting.sink.fails = None
    reporting.counts.add(SUBJECT, "198.51.100")
    reporting.clock.advance(REPORT_SECONDS)
    assert [row.network for row in reporting.sink.blocks[-1][1]] == ["198.51.100.0/24"]


def test_the_last_counts_are_stored_at_the_stop(reporting: Reporting) -> None:
    reporting.counts.add(SUBJECT, "192.0.2")
    assert reporting.stop().called
    assert len(reporting.sink.blocks) == 1


def test_a_store_that_hangs_does_not_keep_the_stop(reporting: Reporting) -> None:
    reporting.sink.hangs = True
    reporting.counts.add(SUBJECT, "192.0.2")
    ended: list[object] = []
    _ = reporting.stop().addBoth(ended.append)
    assert ended == []
    reporting.clock.advance(LAST_SECONDS)
    assert ended == [None]  # and no failure
