"""The answering rules, seen through dnspython."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from tests.unit.nameserver.fakes import (
    PROXY4,
    PROXY6,
    TTL,
    Asker,
    FixedVerdicts,
    rdatas,
    site,
    zone_table,
)


@pytest.fixture
def asker() -> Asker:
    zones = zone_table(site("example.com"), site("six.example", "http://[2001:db8::7]:8080"))
    return Asker(zones, FixedVerdicts(PROXY4))


def assert_negative(response: dns.message.Message, rcode: dns.rcode.Rcode, apex: str) -> None:
    """No answer, and the zone's SOA with the time for which that may be remembered (RFC 2308)."""
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert response.answer == []
    (soa,) = response.authority
    assert soa.name.to_text() == apex
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == TTL
    assert soa[0].minimum == TTL


@pytest.mark.parametrize("name", ["example.com", "www.example.com", "WwW.eXaMpLe.CoM"])
def test_apex_and_www_are_the_healthy_proxies(asker: Asker, name: str) -> None:
    response = asker.ask(name)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert rdatas(response.answer) == [f"{name}. {TTL} IN A {PROXY4}"]
    assert response.question[0].name.to_text() == name + "."
    assert response.authority == response.additional == []


def test_every_healthy_proxy_is_answered_by_family(asker: Asker) -> None:
    asker.verdicts.set(PROXY4, PROXY6)
    assert rdatas(asker.ask("example.com", "AAAA").answer) == [
        f"example.com. {TTL} IN AAAA {PROXY6}"
    ]
    assert rdatas(asker.ask("example.com", "A").answer) == [f"example.com. {TTL} IN A {PROXY4}"]


def test_a_family_without_a_healthy_proxy_is_nodata_while_another_has_one(asker: Asker) -> None:
    assert_negative(asker.ask("six.example", "AAAA"), dns.rcode.NOERROR, "six.example.")


def test_addresses_are_kept_for_a_shorter_time_while_a_verdict_is_pending(asker: Asker) -> None:
    def ttls() -> list[int]:
        return [
            asker.ask("www.example.com").answer[0].ttl,
            asker.ask("www.example.com", "AAAA").authority[0].ttl,
            asker.ask("nope.example.com").authority[0].ttl,
        ]

    assert ttls() == [TTL, TTL, TTL]
    asker.verdicts.ttl_limit = 2
    asker.verdicts.revision += 1  # what Health does with each change of it: the cache is forgotten
    assert ttls() == [2, 2, TTL], "a name that is not there is not about to change"
    asker.verdicts.set()
    assert ttls() == [2, 2, TTL], "the origin, while a proxy is about to come back"
    asker.verdicts.ttl_limit = None
    asker.verdicts.set(PROXY4)
    assert ttls() == [TTL, TTL, TTL]


def test_the_origin_is_answered_while_no_proxy_is_healthy(asker: Asker) -> None:
    asker.verdicts.set()
    assert rdatas(asker.ask("www.example.com").answer) == [
        f"www.example.com. {TTL} IN A 198.51.100.7"
    ]
    assert rdatas(asker.ask("six.example", "AAAA").answer) == [
        f"six.example. {TTL} IN AAAA 2001:db8::7"
    ]
    assert_negative(asker.ask("six.example", "A"), dns.rcode.NOERROR, "six.example.")
    asker.verdicts.set(PROXY4)
    assert rdatas(asker.ask("www.example.com").answer) == [f"www.example.com. {TTL} IN A {PROXY4}"]


@pytest.mark.parametrize("type_", ["MX", "TXT", "CAA", "CNAME", "HTTPS", "TYPE65280"])
def test_a_type_without_records_is_nodata(asker: Asker, type_: str) -> None:
    assert_negative(asker.ask("example.com", type_), dns.rcode.NOERROR, "example.com.")
    assert_negative(asker.ask("www.example.com", type_), dns.rcode.NOERROR, "example.com.")


@pytest.mark.parametrize("name", ["nope.example.com", "a.www.example.com", r"\000.example.com"])
@pytest.mark.parametrize("type_", ["A", "ANY", "NS"])
def test_a_name_that_does_not_exist_is_nxdomain(asker: Asker, name: str, type_: str) -> None:
    assert_negative(asker.ask(name, type_), dns.rcode.NXDOMAIN, "example.com.")


def test_an_empty_non_terminal_is_nodata() -> None:
    zones = zone_table(site("example.com"), names=("ns1.dns.example.com",))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    for type_ in ("A", "ANY"):
        assert_negative(asker.ask("dns.example.com", type_), dns.rcode.NOERROR, "example.com.")


def test_the_start_of_authority_has_a_serial_of_both_revisions(asker: Asker) -> None:
    (soa,) = asker.ask("example.com", "SOA").answer
    assert soa[0].mname.to_text() == "ns1.watchducks.example."
    assert soa[0].rname.to_text() == r"watch\.ducks.watchducks.example."
    assert soa[0].serial == 7 + asker.verdicts.revision
    before = soa[0].serial
    asker.verdicts.set()
    assert asker.ask("example.com", "SOA").answer[0][0].serial > before


def test_name_servers_without_their_addresses_outside_the_zone(asker: Asker) -> None:
    response = asker.ask("example.com", "NS")
    assert rdatas(response.answer) == [
        "example.com. 3600 IN NS ns1.watchducks.example.",
        "example.com. 3600 IN NS ns2.watchducks.example.",
    ]
    assert response.additional == []
    assert_negative(asker.ask("www.example.com", "NS"), dns.rcode.NOERROR, "example.com.")


def test_name_servers_with_their_addresses_inside_the_zone() -> None:
    asker = Asker(zone_table(site("watchducks.example")), FixedVerdicts(PROXY4))
    expected = [
        "ns1.watchducks.example. 3600 IN A 203.0.113.53",
        "ns1.watchducks.example. 3600 IN AAAA 2001:db8::53",
        "ns2.watchducks.example. 3600 IN A 203.0.113.54",
    ]
    assert rdatas(asker.ask("watchducks.example", "NS").additional) == expected
    assert rdatas(asker.ask("watchducks.example").answer) == [
        f"watchducks.example. {TTL} IN A {PROXY4}"
    ]


@pytest.mark.parametrize("sites", [(), (site("watchducks.example"),)])
def test_our_own_hosts_are_answered_within_a_zone_and_without(sites: tuple[object, ...]) -> None:
    asker = Asker(zone_table(*sites), FixedVerdicts(PROXY4))  # type: ignore[arg-type]
    assert rdatas(asker.ask("ns1.watchducks.example").answer) == [
        "ns1.watchducks.example. 3600 IN A 203.0.113.53"
    ]
    assert rdatas(asker.ask("ns1.watchducks.example", "AAAA").answer) == [
        "ns1.watchducks.example. 3600 IN AAAA 2001:db8::53"
    ]
    apex = "watchducks.example." if sites else "ns2.watchducks.example."
    assert_negative(asker.ask("ns2.watchducks.example", "AAAA"), dns.rcode.NOERROR, apex)


@pytest.mark.parametrize(
    "name", [".", "com", "example.org", "notexample.com", "watchducks.example"]
)
def test_outside_our_zones_is_refused(asker: Asker, name: str) -> None:
    response = asker.ask(name)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA
    assert response.answer == response.authority == response.additional == []


@pytest.mark.parametrize("cls", ["CH", "HS", "ANY"])
def test_other_classes_are_refused(asker: Asker, cls: str) -> None:
    assert asker.ask("example.com", "A", cls=cls).rcode() == dns.rcode.REFUSED
    assert asker.ask("version.bind", "TXT", cls=cls).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("type_", ["AXFR", "IXFR"])
def test_nobody_may_copy_a_zone(asker: Asker, type_: str) -> None:
    assert asker.ask("example.com", type_, udp=False).rcode() == dns.rcode.REFUSED


def test_any_is_answered_with_one_small_record(asker: Asker) -> None:
    assert rdatas(asker.ask("example.com", "ANY").answer) == [
        'example.com. 3600 IN HINFO "RFC8482" ""'
    ]


@pytest.mark.parametrize(
    "opcode", [dns.opcode.IQUERY, dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE, 9]
)
def test_other_opcodes_are_not_implemented(asker: Asker, opcode: int) -> None:
    query = dns.message.make_query("example.com", "A").to_wire()
    query = query[:2] + bytes((query[2] & 0x87 | opcode << 3,)) + query[3:]
    response = asker.responder.respond(query, datagram=True)
    assert response is not None
    assert len(response) == 12
    assert response[3] & 0xF == dns.rcode.NOTIMP
    assert response[2] >> 3 & 0xF == opcode
