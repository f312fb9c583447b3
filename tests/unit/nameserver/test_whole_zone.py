"""A zone with records of every kind, seen through dnspython (RFC 1034 section 4.3.2, RFC 4592)."""

from __future__ import annotations

import ipaddress

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.nameserver.fakes import (
    PROXY4,
    PROXY6,
    TTL,
    Asker,
    FixedVerdicts,
    contents,
    rdatas,
    site,
    zone_table,
)
from watchducks.nameserver.answer import MAX_CNAMES
from watchducks.nameserver.records import wire_name

ZONE = """
$TTL 600
@           MX    10 mail
@           MX    20 mail.elsewhere.example.
@           TXT   "v=spf1 mx -all"
@           CAA   0 issue "ca.example"
mail        A     192.0.2.25
mail        AAAA  2001:db8:25::1
www         TXT   "proxied, and more"
www         A     192.0.2.99
ftp    300  CNAME mail
far         CNAME www.elsewhere.example.
loop1       CNAME loop2
loop2       CNAME loop1
nowhere     CNAME gone
texts       CNAME mail
_sip._tcp   SRV   0 5 5060 sip
sip         A     192.0.2.60
new         HTTPS 1 . alpn=h2
new         A     192.0.2.61
newer       HTTPS 1 new.EXAMPLE.com. alpn=h2
a.b.c       TXT   "deep"
*.wild      A     192.0.2.70
*.wild      MX    5 mail
sub.wild    TXT   "blocks"
x.y.wild    TXT   "y is empty and blocks as well"
*.alias     CNAME mail
*.chain     CNAME y.chain
shop        NS    ns.shop
shop        NS    ns.beside
shop        NS    ns.elsewhere.example.
shop        DS    12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
shop        A     192.0.2.80
ns.shop     A     192.0.2.53
ns.shop     TXT   "not ours to say"
ns.beside   A     192.0.2.54
lonely      NS    ns.elsewhere.example.
into        CNAME www.shop
"""


@pytest.fixture(scope="module")
def asker() -> Asker:
    held = contents("example.com", ZONE, ("@", "www", "blog"))
    return Asker(zone_table(site("example.com", held=held)), FixedVerdicts(PROXY4, PROXY6))


def answered(response: dns.message.Message) -> list[str]:
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert response.authority == []
    return rdatas(response.answer)


def assert_negative(response: dns.message.Message, rcode: dns.rcode.Rcode) -> None:
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    (soa,) = response.authority
    assert (soa.name.to_text(), soa.rdtype, soa.ttl) == ("example.com.", dns.rdatatype.SOA, TTL)


# --- records ------------------------------------------------------------------------------------


def test_records_stay_what_they_were(asker: Asker) -> None:
    assert answered(asker.ask("example.com", "TXT")) == ['example.com. 600 IN TXT "v=spf1 mx -all"']
    assert answered(asker.ask("mail.example.com")) == ["mail.example.com. 600 IN A 192.0.2.25"]
    assert answered(asker.ask("example.com", "CAA")) == [
        'example.com. 600 IN CAA 0 issue "ca.example"'
    ]


@pytest.mark.parametrize("host", ["example.com", "www.example.com", "blog.example.com"])
def test_hosts_that_the_owner_marked_are_the_proxies(asker: Asker, host: str) -> None:
    assert answered(asker.ask(host)) == [f"{host}. {TTL} IN A {PROXY4}"]
    assert answered(asker.ask(host, "AAAA")) == [f"{host}. {TTL} IN AAAA {PROXY6}"]


def test_a_proxied_host_keeps_its_other_records(asker: Asker) -> None:
    assert answered(asker.ask("www.example.com", "TXT")) == [
        'www.example.com. 600 IN TXT "proxied, and more"'
    ]


def test_an_apex_that_is_not_proxied_has_its_own_addresses() -> None:
    held = contents("example.com", "@ 60 A 192.0.2.1\n@ 50 A 192.0.2.2", ("www",))
    asker = Asker(zone_table(site("example.com", held=held)), FixedVerdicts(PROXY4))
    assert answered(asker.ask("example.com")) == [
        "example.com. 50 IN A 192.0.2.1",
        "example.com. 50 IN A 192.0.2.2",
    ]
    assert_negative(asker.ask("example.com", "AAAA"), dns.rcode.NOERROR)


def test_a_proxied_host_that_was_a_cname_or_a_delegation_is_so_no_more() -> None:
    text = "www CNAME elsewhere.example.\nshop NS ns.elsewhere.example."
    held = contents("example.com", "$TTL 60\n" + text, ("www", "shop"))
    asker = Asker(zone_table(site("example.com", held=held)), FixedVerdicts(PROXY4))
    for host in ("www", "shop"):
        assert answered(asker.ask(f"{host}.example.com")) == [
            f"{host}.example.com. {TTL} IN A {PROXY4}"
        ]


@pytest.mark.parametrize("name", ["c.example.com", "b.c.example.com", "_tcp.example.com"])
@pytest.mark.parametrize("type_", ["A", "TXT", "ANY"])
def test_names_between_are_empty(asker: Asker, name: str, type_: str) -> None:
    assert_negative(asker.ask(name, type_), dns.rcode.NOERROR)


# --- addresses of targets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "type_", "additional"),
    [
        (
            "example.com",
            "MX",
            [
                "mail.example.com. 600 IN A 192.0.2.25",
                "mail.example.com. 600 IN AAAA 2001:db8:25::1",
            ],
        ),
        ("_sip._tcp.example.com", "SRV", ["sip.example.com. 600 IN A 192.0.2.60"]),
        ("new.example.com", "HTTPS", ["new.example.com. 600 IN A 192.0.2.61"]),
        ("newer.example.com", "HTTPS", ["new.example.com. 600 IN A 192.0.2.61"]),
    ],
)
def test_addresses_of_targets_come_along(
    asker: Asker, name: str, type_: str, additional: list[str]
) -> None:
    response = asker.ask(name, type_)
    assert answered(response)
    assert rdatas(response.additional) == additional


# --- CNAME --------------------------------------------------------------------------------------


def test_a_cname_is_followed_within_the_zone(asker: Asker) -> None:
    assert answered(asker.ask("ftp.example.com")) == [
        "ftp.example.com. 300 IN CNAME mail.example.com.",
        "mail.example.com. 600 IN A 192.0.2.25",
    ]
    assert answered(asker.ask("ftp.example.com", "CNAME")) == [
        "ftp.example.com. 300 IN CNAME mail.example.com."
    ]
    assert answered(asker.ask("far.example.com")) == [
        "far.example.com. 600 IN CNAME www.elsewhere.example."
    ]


def test_a_loop_ends_where_it_began(asker: Asker) -> None:
    query = dns.message.make_query("loop1.example.com", "A").to_wire()
    wire = asker.responder.respond(query, datagram=True)
    assert wire is not None
    assert wire[6:8] == bytes((0, 2))  # dnspython makes one of two equal records
    assert answered(asker.ask("loop1.example.com")) == [
        "loop1.example.com. 600 IN CNAME loop2.example.com.",
        "loop2.example.com. 600 IN CNAME loop1.example.com.",
    ]
    assert answered(asker.ask("a.chain.example.com")) == [
        "a.chain.example.com. 600 IN CNAME y.chain.example.com.",
        "y.chain.example.com. 600 IN CNAME y.chain.example.com.",
    ]


def test_a_chain_has_a_longest_length() -> None:
    text = "\n".join(f"c{number} 60 CNAME c{number + 1}" for number in range(MAX_CNAMES + 5))
    held = contents("example.com", text)
    asker = Asker(zone_table(site("example.com", held=held)), FixedVerdicts(PROXY4))
    assert len(answered(asker.ask("c0.example.com", edns=True))) == MAX_CNAMES


def test_the_end_of_a_chain_says_whether_there_is_such_a_name(asker: Asker) -> None:
    response = asker.ask("nowhere.example.com")
    assert_negative(response, dns.rcode.NXDOMAIN)
    assert rdatas(response.answer) == ["nowhere.example.com. 600 IN CNAME gone.example.com."]
    response = asker.ask("texts.example.com", "TXT")
    assert_negative(response, dns.rcode.NOERROR)
    assert rdatas(response.answer) == ["texts.example.com. 600 IN CNAME mail.example.com."]


def test_a_chain_into_our_other_zone_is_left_to_the_resolver() -> None:
    held = contents("example.com", "other 60 CNAME www.example.org.")
    zones = zone_table(site("example.com", held=held), site("example.org"))
    response = Asker(zones, FixedVerdicts(PROXY4)).ask("other.example.com")
    assert answered(response) == ["other.example.com. 60 IN CNAME www.example.org."]


# --- wildcards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wild", "a.b.wild", "*.wild", "a.*.wild"])
def test_a_wildcard_stands_for_names_that_do_not_exist(asker: Asker, name: str) -> None:
    if name == "a.*.wild":  # its closest encloser is the wildcard's own name (RFC 4592, 2.2.1)
        assert_negative(asker.ask("a.*.wild.example.com"), dns.rcode.NXDOMAIN)
        return
    assert answered(asker.ask(f"{name}.example.com")) == [
        f"{name}.example.com. 600 IN A 192.0.2.70"
    ]
    assert_negative(asker.ask(f"{name}.example.com", "TXT"), dns.rcode.NOERROR)


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("wild", dns.rcode.NOERROR),
        ("sub.wild", dns.rcode.NOERROR),
        ("y.wild", dns.rcode.NOERROR),
        ("a.sub.wild", dns.rcode.NXDOMAIN),
        ("a.y.wild", dns.rcode.NXDOMAIN),
    ],
)
def test_a_wildcard_does_not_stand_for_what_exists(
    asker: Asker, name: str, rcode: dns.rcode.Rcode
) -> None:
    assert_negative(asker.ask(f"{name}.example.com"), rcode)


def test_a_wildcard_s_cname_and_targets(asker: Asker) -> None:
    assert answered(asker.ask("a.alias.example.com")) == [
        "a.alias.example.com. 600 IN CNAME mail.example.com.",
        "mail.example.com. 600 IN A 192.0.2.25",
    ]
    response = asker.ask("a.wild.example.com", "MX")
    assert answered(response) == ["a.wild.example.com. 600 IN MX 5 mail.example.com."]
    assert len(rdatas(response.additional)) == 2


# --- delegations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop", "www.shop", "ns.shop", "a.b.shop"])
@pytest.mark.parametrize("type_", ["A", "NS", "TXT", "SOA", "ANY"])
def test_a_delegated_zone_is_left_to_its_servers(asker: Asker, name: str, type_: str) -> None:
    response = asker.ask(f"{name}.example.com", type_)
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.flags & dns.flags.AA
    assert response.answer == []
    assert rdatas(response.authority) == [
        "shop.example.com. 600 IN NS ns.beside.example.com.",
        "shop.example.com. 600 IN NS ns.elsewhere.example.",
        "shop.example.com. 600 IN NS ns.shop.example.com.",
    ]
    assert rdatas(response.additional) == [
        "ns.beside.example.com. 600 IN A 192.0.2.54",
        "ns.shop.example.com. 600 IN A 192.0.2.53",
    ]


def test_ds_at_a_cut_is_the_parent_s(asker: Asker) -> None:
    (line,) = answered(asker.ask("shop.example.com", "DS"))
    assert line.startswith("shop.example.com. 600 IN DS 12345 13 2 ")
    assert_negative(asker.ask("lonely.example.com", "DS"), dns.rcode.NOERROR)
    assert asker.ask("www.shop.example.com", "DS").authority[0].rdtype == dns.rdatatype.NS
    assert_negative(asker.ask("example.com", "DS"), dns.rcode.NOERROR)


def test_a_chain_into_a_delegation_ends_with_its_servers(asker: Asker) -> None:
    response = asker.ask("into.example.com")
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert rdatas(response.answer) == ["into.example.com. 600 IN CNAME www.shop.example.com."]
    assert len(response.authority[0]) == 3


def test_a_referral_without_its_glue_is_truncated_and_without_other_addresses_is_not() -> None:
    own = "\n".join(f"{'n' * 60}{number}.shop A 192.0.2.{number}" for number in range(6))
    servers = "\n".join(f"shop NS {'n' * 60}{number}.shop" for number in range(6))
    held = contents("example.com", f"$TTL 60\n{servers}\n{own}")
    asker = Asker(zone_table(site("example.com", held=held)), FixedVerdicts(PROXY4))
    response = asker.ask("www.shop.example.com")
    assert response.flags & dns.flags.TC
    whole = asker.ask("www.shop.example.com", edns=True)
    assert not whole.flags & dns.flags.TC
    assert len(whole.additional) == 6
    beside = contents("example.com", f"$TTL 60\n{servers}\n{own}".replace(".shop", ".beside"))
    asker = Asker(zone_table(site("example.com", held=beside)), FixedVerdicts(PROXY4))
    response = asker.ask("www.shop.example.com")
    assert not response.flags & dns.flags.TC
    assert len(response.additional) < 6


# --- zones within zones -------------------------------------------------------------------------


def test_a_registered_zone_within_another_is_a_cut_of_it() -> None:
    outer = contents(
        "example.com",
        "$TTL 60\n*.shop A 192.0.2.1\n* A 192.0.2.2\na.shop TXT inner\nto CNAME www.a.shop",
    )
    zones = zone_table(site("example.com", held=outer), site("a.shop.example.com"))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    assert answered(asker.ask("www.a.shop.example.com")) == [
        f"www.a.shop.example.com. {TTL} IN A {PROXY4}"
    ]
    assert_negative(asker.ask("a.shop.example.com", "DS"), dns.rcode.NOERROR)
    assert answered(asker.ask("to.example.com")) == [
        "to.example.com. 60 IN CNAME www.a.shop.example.com."
    ]


def test_names_on_the_way_to_a_registered_zone_exist() -> None:
    outer = contents("example.com", "* 60 A 192.0.2.2")
    zones = zone_table(site("example.com", held=outer), site("b.a.example.com"))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    assert_negative(asker.ask("a.example.com"), dns.rcode.NOERROR)
    assert_negative(asker.ask("x.a.example.com"), dns.rcode.NXDOMAIN)
    assert answered(asker.ask("x.example.com"))


def test_a_registered_zone_below_a_delegation_is_not_the_outer_zone_s_to_speak_of() -> None:
    outer = contents("example.com", "a 60 NS ns.elsewhere.example.")
    zones = zone_table(
        site("example.com", held=outer), site("b.a.example.com"), site("d.c.a.example.com")
    )
    asker = Asker(zones, FixedVerdicts(PROXY4))
    for name, type_ in (("b.a", "DS"), ("c.a", "A"), ("x.c.a", "A")):
        response = asker.ask(f"{name}.example.com", type_)
        assert rdatas(response.authority) == ["a.example.com. 60 IN NS ns.elsewhere.example."]
    assert answered(asker.ask("www.b.a.example.com"))


def test_ds_behind_a_cname_is_the_parent_s_as_well() -> None:
    outer = contents("example.com", "to 60 CNAME shop")
    inner = contents("shop.example.com", "self 60 CNAME @")
    zones = zone_table(site("example.com", held=outer), site("shop.example.com", held=inner))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    assert_negative(asker.ask("to.example.com", "DS"), dns.rcode.NOERROR)
    assert answered(asker.ask("self.shop.example.com", "DS")) == [
        "self.shop.example.com. 60 IN CNAME shop.example.com."
    ]


# --- ALIAS --------------------------------------------------------------------------------------


def test_an_alias_is_answered_with_the_other_name_s_addresses() -> None:
    target = wire_name("back.host.net")
    text = rf"@ 60 TYPE65401 \# {len(target)} {target.hex()}"
    zones = zone_table(site("example.com", held=contents("example.com", text, ("www",))))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    assert asker.ask("example.com").rcode() == dns.rcode.SERVFAIL
    zones.learn(target, [ipaddress.ip_address("192.0.2.200")])
    assert answered(asker.ask("example.com")) == ["example.com. 30 IN A 192.0.2.200"]
    assert_negative(asker.ask("example.com", "AAAA"), dns.rcode.NOERROR)
    assert_negative(asker.ask("example.com", "TYPE65401"), dns.rcode.NOERROR)
    zones.forget(target)
    assert asker.ask("example.com").rcode() == dns.rcode.SERVFAIL


def test_a_proxied_host_is_no_alias() -> None:
    target = wire_name("back.host.net")
    text = rf"@ 60 TYPE65401 \# {len(target)} {target.hex()}"
    zones = zone_table(site("example.com", held=contents("example.com", text)))
    asker = Asker(zones, FixedVerdicts(PROXY4))
    assert answered(asker.ask("example.com")) == [f"example.com. {TTL} IN A {PROXY4}"]


# --- types that are no questions ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "rcode"),
    [
        ("OPT", dns.rcode.FORMERR),
        ("TSIG", dns.rcode.FORMERR),
        ("TYPE128", dns.rcode.FORMERR),
        ("TKEY", dns.rcode.NOTIMP),
        ("MAILA", dns.rcode.NOTIMP),
        ("MAILB", dns.rcode.NOTIMP),
        ("AXFR", dns.rcode.REFUSED),
        ("IXFR", dns.rcode.REFUSED),
    ],
)
def test_types_that_are_no_questions(asker: Asker, type_: str, rcode: dns.rcode.Rcode) -> None:
    response = asker.ask("example.com", type_)
    assert response.rcode() == rcode
    assert response.answer == response.authority == []
    assert not response.flags & dns.flags.AA


def test_signatures_of_a_zone_without_them_are_nodata(asker: Asker) -> None:
    for type_ in ("RRSIG", "DNSKEY", "NSEC"):
        assert_negative(asker.ask("example.com", type_), dns.rcode.NOERROR)
