"""What is asked, what is followed, and what hostile servers gain by their answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Coroutine
from typing import Any

import dns.name
import pytest
from dns import rcode, rdatatype
from dns.name import Name
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.unit.lookups.answering import FakeClient, found
from watchducks.lookups import usual
from watchducks.lookups.asking import MAX_NAMES, Asking
from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.found import Collection, belongs, owner_of_host, record_of, relative
from watchducks.lookups.message import Found, Response
from watchducks.lookups.panel import MAX_FAILURES, Panel
from watchducks.model.zones import MAX_ZONE_RECORDS, Record

ZONE = dns.name.from_text("pond.example")
ONE, OTHER = (Server(ipaddress.ip_address(f"192.0.2.{number}")) for number in (1, 2))


def result(work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    """Run what waits for nothing."""
    done: list[Any] = []
    _ = Deferred.fromCoroutine(work).addBoth(done.append)
    [value] = done
    if hasattr(value, "raiseException"):
        value.raiseException()
    return value


def asked(client: FakeClient, *names: str) -> list[Record]:
    panel = Panel([ONE, OTHER], ZONE, client)
    questions = [(name, usual.HOST_TYPES) for name in names]
    asking = Asking(panel, ZONE, questions, "no-such-name")
    result(asking.run())
    collection = Collection(ZONE)
    collection.add(asking.found())
    return list(collection.records())


def owners(records: list[Record]) -> list[tuple[bytes, int]]:
    return [(record.owner, record.type) for record in records]


def test_a_name_that_is_not_there_costs_one_question() -> None:
    client = FakeClient(found("www.pond.example", "A", "192.0.2.80"))
    records = asked(client, "www", "mail")
    assert owners(records) == [(b"\3www", rdatatype.A)]
    types = [type_ for _, name, type_ in client.asked if name == dns.name.from_text("mail", ZONE)]
    assert types == [rdatatype.A]
    types = [type_ for _, name, type_ in client.asked if name == dns.name.from_text("www", ZONE)]
    assert types == list(usual.HOST_TYPES)


def test_what_records_lead_to_is_asked_for_inside_the_zone_only() -> None:
    client = FakeClient(
        found("www.pond.example", "CNAME", "a.b.pond.example."),
        found("a.b.pond.example", "CNAME", "elsewhere.example."),
        found("elsewhere.example", "A", "192.0.2.66"),
        found("pond.example", "MX", "10 post.pond.example."),
        found("post.pond.example", "AAAA", "2001:db8::1"),
    )
    records = asked(client, "", "www")
    assert owners(records) == [
        (b"", rdatatype.MX),
        (b"\1a\1b", rdatatype.CNAME),
        (b"\3www", rdatatype.CNAME),
        (b"\4post", rdatatype.AAAA),
    ]
    assert not any(name == dns.name.from_text("elsewhere.example") for _, name, _ in client.asked)


class Endless(FakeClient):
    """Every name leads to yet another."""

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        self.asked.append((server, name, type_))
        target = f"n{len(self.asked)}.pond.example."
        answer = (Found(name, rdatatype.CNAME, 60, found("x", "CNAME", target).rdata),)
        return Response(rcode.NOERROR, authoritative=True, truncated=False, answer=answer)


def test_a_chain_without_end_ends() -> None:
    client = Endless()
    records = asked(client, "www")
    assert len(client.asked) <= MAX_NAMES
    assert len(records) <= MAX_NAMES


class Liar(FakeClient):
    """Answers every question with records that nobody asked for, as data or as a referral."""

    def __init__(self, *, authoritative: bool) -> None:
        super().__init__()
        self.authoritative = authoritative

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        self.asked.append((server, name, type_))
        lies = (
            found("bank.example", "A", "192.0.2.66"),
            found("other.pond.example", "A", "192.0.2.66"),
            found("example", "NS", "ns.evil.example."),
            found("pond.example", "NS", "ns.evil.example."),
            found("pond.example", "SOA", "a. b. 1 2 3 4 5"),
        )
        return Response(
            rcode.NOERROR,
            self.authoritative,
            truncated=False,
            answer=lies if self.authoritative else (),
            authority=lies,
            additional=lies,
        )


@pytest.mark.parametrize("authoritative", [True, False])
def test_lies_are_not_kept(authoritative: bool) -> None:
    assert asked(Liar(authoritative=authoritative), "", "www") == []


def test_a_server_that_fails_is_left_alone_and_the_others_answer() -> None:
    client = FakeClient(found("www.pond.example", "A", "192.0.2.80"))
    client.silent = {ONE}
    panel = Panel([ONE, OTHER], ZONE, client)
    for _ in range(20):
        response = result(panel.ask(dns.name.from_text("www", ZONE), rdatatype.A))
        assert len(response.answer) == 1
    assert [server for server, _, _ in client.asked].count(ONE) == MAX_FAILURES
    assert panel.reasons == {ONE: "192.0.2.1 did not answer"}


def test_when_no_server_is_left_that_is_said_at_once() -> None:
    client = FakeClient()
    client.silent = {ONE, OTHER}
    panel = Panel([ONE, OTHER], ZONE, client)
    for _ in range(10):
        with pytest.raises(LookupFailed):
            result(panel.ask(ZONE, rdatatype.A))
    assert len(client.asked) == 2 * MAX_FAILURES
    with pytest.raises(LookupFailed, match="no name server is left"):
        result(panel.ask(ZONE, rdatatype.A))


@pytest.mark.parametrize("code", [rcode.REFUSED, rcode.SERVFAIL, rcode.NOERROR])
def test_a_server_that_does_not_hold_the_zone_counts_as_failing(code: rcode.Rcode) -> None:
    """Refusing is one way; answering from a cache, without authority, another."""
    client = FakeClient(found("pond.example", "A", "192.0.2.66"))
    client.lame = code
    panel = Panel([ONE], ZONE, client)
    with pytest.raises(LookupFailed, match=r"192\.0\.2\.1 does not answer for pond\.example"):
        result(panel.ask(ZONE, rdatatype.A))


# --- records --------------------------------------------------------------------------------------


def test_records_in_canonical_form() -> None:
    record = record_of(found("WWW.Pond.Example", "MX", "10 Mail.POND.example.", ttl=99), ZONE)
    assert record == Record(b"\3www", 15, 99, b"\0\x0a\4mail\4pond\7example\0")
    record = record_of(found("pond.example", "TXT", '"As It Is"', ttl=2**31 - 1), ZONE)
    assert record == Record(b"", 16, 7 * 86_400, b"\x08As It Is")


@pytest.mark.parametrize(
    ("owner", "type_", "value"),
    [
        ("example", "A", "192.0.2.1"),
        ("xpond.example", "A", "192.0.2.1"),
        ("pond.example", "NS", "ns1.old.example."),
        ("pond.example", "DS", f"1 13 2 {'ab' * 32}"),
        ("pond.example", "SOA", "a. b. 1 2 3 4 5"),
        ("www.pond.example", "NSEC", "pond.example. A"),
    ],
)
def test_what_belongs_elsewhere(owner: str, type_: str, value: str) -> None:
    assert not belongs(found(owner, type_, value), ZONE)


def test_a_zone_too_large_is_read_up_to_its_bounds() -> None:
    collection = Collection(ZONE)
    collection.add(
        found(f"h{number}.pond.example", "A", "192.0.2.1") for number in range(MAX_ZONE_RECORDS + 9)
    )
    assert len(collection.records()) == MAX_ZONE_RECORDS
    assert [note.code for note in collection.notes()] == ["too-many-records"]
    collection = Collection(ZONE)
    long = " ".join(f'"{"x" * 250}"' for _ in range(8))
    collection.add(found(f"h{n}.pond.example", "TXT", long) for n in range(200))
    assert 100 < len(collection.records()) < 200
    assert str(collection.notes()[0]).startswith("The zone is larger than we keep: only 1")


def test_records_that_cannot_be_kept_are_named() -> None:
    collection = Collection(ZONE)
    collection.add([found("a.pond.example", "DNAME", "b."), found("pond.example", "HINFO", "a b")])
    assert collection.records() == ()
    assert [str(note) for note in collection.notes()] == [
        "A DNAME record, which renames every name below it, cannot be kept: enter those names one"
        " by one, as CNAME records.",
        "There are records that cannot be kept, of type HINFO.",
    ]


def test_an_rrset_has_one_ttl_and_no_record_twice() -> None:
    collection = Collection(ZONE)
    one, other = (found("pond.example", "A", f"192.0.2.{n}", ttl=60 * n) for n in (1, 2))
    collection.add([one, other, one, found("POND.example", "A", "192.0.2.1", ttl=5)])
    assert [record.ttl for record in collection.records()] == [60, 60]


@given(st.lists(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=4))
def test_a_host_is_the_owner_of_its_records(labels: list[str]) -> None:
    host = ".".join(labels)
    assert owner_of_host(host) == relative(dns.name.from_text(host, ZONE), ZONE)
    assert owner_of_host("@") == relative(ZONE, ZONE)


def test_the_usual_questions_are_names_and_no_name_is_asked_for_twice() -> None:
    names = [name for name, _ in usual.questions()]
    assert len(set(names)) == len(names)
    for name in names:
        assert dns.name.from_text(name or "@", ZONE).is_subdomain(ZONE)
    assert names[0] == ""
    assert len(names) < MAX_NAMES
