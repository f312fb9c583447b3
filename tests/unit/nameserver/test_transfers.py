"""Who gets a zone, and that dnspython reads what he gets."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import pytest

from tests.unit.nameserver.fakes import (
    PROXY4,
    FixedVerdicts,
    changed,
    contents,
    site,
    zone_table,
)
from watchducks.nameserver.transfers import MESSAGE_OCTETS, Transfers
from watchducks.nameserver.tsig import make_key

SECONDARY = ipaddress.ip_address("203.0.113.99")
KEY = make_key("hmac-sha256:transfer.:c2VjcmV0IHNlY3JldCBzZWNyZXQ=")
OTHER = make_key("transfer.:b3RoZXIgb3RoZXIgb3RoZXI=")
ZONE = """\
@ 300 IN MX 10 mail
mail 300 IN A 198.51.100.25
mail 300 IN TXT "hello"
*.wild 60 IN CNAME www
sub 3600 IN NS ns.sub
ns.sub 3600 IN A 198.51.100.53
"""


class World:
    def __init__(self, key: dns.tsig.Key | None = None) -> None:
        self.zones = zone_table(
            site("example.com", held=contents("example.com", ZONE)), site("other.example")
        )
        self.verdicts = FixedVerdicts(PROXY4)
        self.transfers = Transfers(self.zones, self.verdicts, [SECONDARY], key=key, now=time.time)

    def begin(
        self, query: dns.message.Message, host: str = str(SECONDARY)
    ) -> list[dns.message.Message]:
        """Return the messages, each checked against the signature of the question."""
        messages = self.transfers.begin(query.to_wire(), host)
        assert messages is not None
        read: list[dns.message.Message] = []
        context: Any = None
        for message in messages:
            read.append(
                dns.message.from_wire(
                    message,
                    keyring=query.keyring,
                    request_mac=query.mac,
                    xfr=True,
                    multi=True,
                    tsig_ctx=context,
                    one_rr_per_rrset=True,
                )
            )
            context = read[-1].tsig_ctx
        return read

    def refusal(self, query: dns.message.Message, host: str = str(SECONDARY)) -> str:
        messages = self.transfers.begin(query.to_wire(), host)
        assert messages is not None
        (message,) = messages
        response = dns.message.from_wire(message)
        assert response.answer == []
        return dns.rcode.to_text(response.rcode())


def question(zone: str = "example.com", type_: str = "AXFR") -> dns.message.Message:
    return dns.message.make_query(zone, type_)


def lines(messages: list[dns.message.Message]) -> list[str]:
    return [str(rrset) for message in messages for rrset in message.answer]


def test_a_zone_is_all_its_records_between_two_soas() -> None:
    found = lines(World().begin(question()))
    assert found[0] == found[-1]
    assert " IN SOA ns1." in found[0]
    assert sorted(found[1:-1]) == sorted(
        [
            "example.com. 3600 IN NS ns1.watchducks.example.",
            "example.com. 3600 IN NS ns2.watchducks.example.",
            f"example.com. 30 IN A {PROXY4}",
            f"www.example.com. 30 IN A {PROXY4}",
            "example.com. 300 IN MX 10 mail.example.com.",
            "mail.example.com. 300 IN A 198.51.100.25",
            'mail.example.com. 300 IN TXT "hello"',
            "*.wild.example.com. 60 IN CNAME www.example.com.",
            "sub.example.com. 3600 IN NS ns.sub.example.com.",
            "ns.sub.example.com. 3600 IN A 198.51.100.53",
        ]
    )


def test_while_no_proxy_is_healthy_it_holds_the_origin() -> None:
    world = World()
    world.verdicts.set()
    assert "www.example.com. 30 IN A 198.51.100.7" in lines(world.begin(question()))


def test_a_zone_of_ours_inside_it_is_a_cut() -> None:
    world = World()
    world.zones.apply(changed([site("mail.example.com")]))
    found = lines(world.begin(question()))
    assert "mail.example.com. 3600 IN NS ns1.watchducks.example." in found
    assert not [line for line in found if line.startswith("mail.example.com. 300")]


def test_a_long_zone_comes_in_several_messages_that_are_one_signature() -> None:
    world = World(KEY)
    long = "".join(f'n{number} 60 IN TXT "{"x" * 200}"\n' for number in range(300))
    world.zones.apply(changed([site("long.example", held=contents("long.example", long))]))
    query = question("long.example")
    query.use_tsig(KEY)
    messages = world.begin(query)
    assert len(messages) > 3
    assert [bool(message.question) for message in messages] == [True] + [False] * (
        len(messages) - 1
    )
    assert all(len(message.to_wire()) < MESSAGE_OCTETS * 2 for message in messages)
    assert len([line for line in lines(messages) if " TXT " in line]) == 300


def test_what_was_begun_goes_on_as_it_began() -> None:
    world = World()
    messages = world.transfers.begin(question().to_wire(), str(SECONDARY))
    assert messages is not None
    world.verdicts.set()
    world.zones.apply(changed(removed=["example.com"]))
    assert str(PROXY4) in " ".join(lines([dns.message.from_wire(m, xfr=True) for m in messages]))


@pytest.mark.parametrize(
    ("zone", "host", "rcode"),
    [
        ("example.com", "203.0.113.98", "REFUSED"),
        ("example.com", "", "REFUSED"),
        ("www.example.com", str(SECONDARY), "NOTAUTH"),
        ("com", str(SECONDARY), "NOTAUTH"),
        ("third.example", str(SECONDARY), "NOTAUTH"),
    ],
)
def test_who_does_not_get_it(zone: str, host: str, rcode: str) -> None:
    assert World().refusal(question(zone), host) == rcode


def test_an_ipv4_address_written_as_ipv6_is_the_same_secondary() -> None:
    assert len(World().begin(question(), f"::ffff:{SECONDARY}")) == 1


def test_a_key_has_to_be_the_right_one() -> None:
    world = World(KEY)
    assert world.refusal(question()) == "REFUSED"
    wrong = question()
    wrong.use_tsig(OTHER)
    assert world.refusal(wrong) == "NOTAUTH"
    unknown = question()
    unknown.use_tsig(dns.tsig.Key(dns.name.from_text("nobody."), b"x", KEY.algorithm))
    assert world.refusal(unknown) == "NOTAUTH"
    right = question()
    right.use_tsig(KEY)
    assert world.begin(right)[0].had_tsig


@pytest.mark.parametrize("behind", [0, 1])
def test_ixfr_is_the_soa_alone_for_who_is_up_to_date(behind: int) -> None:
    world = World()
    soa = world.begin(question())[0].answer[0]
    old = soa[0].replace(serial=soa[0].serial - behind)
    query = question(type_="IXFR")
    query.authority.append(dns.rrset.from_rdata(soa.name, 0, old))
    found = lines(world.begin(query))
    assert (len(found) == 1) is (behind == 0)
    assert found[0].startswith("example.com. 3600 IN SOA")


def test_other_questions_are_not_for_us() -> None:
    transfers = World().transfers
    for query in (question(type_="A"), question(type_="SOA")):
        assert transfers.begin(query.to_wire(), str(SECONDARY)) is None
    for junk in (b"", b"x" * 12, question().to_wire()[:-1]):
        assert transfers.begin(junk, str(SECONDARY)) is None
