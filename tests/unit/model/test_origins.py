"""Origins: reading them, writing them, and which are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.origins import (
    MAX_ORIGIN_ADDRESSES,
    Origin,
    OriginScheme,
    check_origin,
    leads_back,
    parse_origin,
    usable,
)
from watchducks.model.problems import Problem
from watchducks.registry.schema import ORIGIN_CHARACTERS

V4 = ipaddress.ip_address("203.0.113.7")
V6 = ipaddress.ip_address("2001:db8::7")


def named(scheme: OriginScheme, port: int | None) -> Origin:
    return Origin(scheme, None, port, "origin.example.net")


@pytest.mark.parametrize(
    ("text", "origin", "written"),
    [
        ("203.0.113.7", Origin("same", V4, None), "203.0.113.7"),
        (" 2001:DB8::7 ", Origin("same", V6, None), "2001:db8::7"),
        ("[2001:db8::7]", Origin("same", V6, None), "2001:db8::7"),
        ("203.0.113.7:8443", Origin("https", V4, 8443), "https://203.0.113.7:8443"),
        ("203.0.113.7:443", Origin("https", V4, 443), "https://203.0.113.7"),
        ("203.0.113.7:80", Origin("http", V4, 80), "http://203.0.113.7"),
        ("203.0.113.7:3000", Origin("http", V4, 3000), "http://203.0.113.7:3000"),
        ("https://203.0.113.7", Origin("https", V4, 443), "https://203.0.113.7"),
        ("HTTPS://203.0.113.7/", Origin("https", V4, 443), "https://203.0.113.7"),
        ("http://203.0.113.7:443", Origin("http", V4, 443), "http://203.0.113.7:443"),
        ("https://203.0.113.7:80", Origin("https", V4, 80), "https://203.0.113.7:80"),
        ("http://[2001:db8::7]:8080", Origin("http", V6, 8080), "http://[2001:db8::7]:8080"),
        ("http://[2001:db8::7]", Origin("http", V6, 80), "http://[2001:db8::7]"),
        ("203.0.113.7:00080", Origin("http", V4, 80), "http://203.0.113.7"),
        ("Origin.Example.net.", named("same", None), "origin.example.net"),
        ("origin.example.net:8443", named("https", 8443), "https://origin.example.net:8443"),
        ("origin.example.net:80", named("http", 80), "http://origin.example.net"),
        ("https://origin.example.net/", named("https", 443), "https://origin.example.net"),
        ("http://origin.example.net:3000", named("http", 3000), "http://origin.example.net:3000"),
        ("203.0.113.7:65535", Origin("http", V4, 65535), "http://203.0.113.7:65535"),
    ],
)
def test_origins(text: str, origin: Origin, written: str) -> None:
    assert parse_origin(text) == origin
    assert str(origin) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "http://localhost:8080",
        "ducks.example:",
        "ducks.example:0",
        "ducks.example:80:80",
        "ducks.example/path",
        "ducks.example path",
        "_ducks.example",
        "-ducks.example",
        "ducks..example",
        "https://user:password@ducks.example",
        "user.name@ducks.example",
        "[ducks.example]:80",
        "ducks.example%eth0",
        "ducks.\uff11",
        "203.0.113.7\u3002",
        f"{'d' * 64}.example",
        "203.0.113.7:",
        "203.0.113.7:0",
        "203.0.113.7:65536",
        "203.0.113.7:-1",
        "203.0.113.7:8o",
        "203.0.113.7:\uff18\uff10",
        "203.0.113.7:000080",
        "203.0.113",
        "203.0.113.07",
        "0xcb007107",
        "3405803783",
        "203.0.113.7/24",
        "203.0.113.7 80",
        "https://203.0.113.7/path",
        "https://203.0.113.7//",
        "https://user:password@203.0.113.7",
        "ftp://203.0.113.7",
        "://203.0.113.7",
        "http://https://203.0.113.7",
        "[203.0.113.7]:80",
        "[2001:db8::7",
        "[2001:db8::7]:",
        "[2001:db8::7]80",
        "2001:db8::7]:80",
        "fe80::1%eth0",
        "[fe80::1%1]:80",
        "203.0.113.7\n",
        "\u0662\u0660\u0663.0.113.7",
        "\ud800",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    if text == "203.0.113.7\n":
        assert parse_origin(text) == Origin("same", V4, None)  # blanks around it
        return
    with pytest.raises(Problem):
        parse_origin(text)


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(["http", "https", "same"]))
def test_what_is_written_is_read_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, scheme: OriginScheme
) -> None:
    origin = Origin(scheme, address, None if scheme == "same" else port)
    assert parse_origin(str(origin)) == origin
    assert len(str(origin)) <= ORIGIN_CHARACTERS


@given(
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text("htps:/[]0123456789abcdef.% ", max_size=40)
)
def test_anything_is_an_origin_or_a_problem(text: str) -> None:
    try:
        origin = parse_origin(text)
    except Problem:
        return
    assert parse_origin(str(origin)) == origin
    assert (origin.port is None) == (origin.scheme == "same")


REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.0.8",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "100::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_visitors_cannot_reach_are_refused(address: str) -> None:
    origin = Origin("same", ipaddress.ip_address(address), None)
    with pytest.raises(Problem) as caught:
        check_origin(origin, own_addresses=(), allow_private=False)
    assert caught.value.code == "reserved-address"
    check_origin(origin, own_addresses=(), allow_private=True)


def wrappings(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """IPv6 addresses that lead to an IPv4 address."""
    number = int(address)
    return [
        ipaddress.IPv6Address((0xFFFF << 32) | number),  # mapped
        ipaddress.IPv6Address(number),  # compatible
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        ipaddress.IPv6Address((0x0064FF9B << 96) | number),  # NAT64
        ipaddress.IPv6Address((0x20010000 << 96) | (~number & 0xFFFFFFFF)),  # Teredo
    ]


@pytest.mark.parametrize("address", [text for text in REFUSED if ":" not in text])
def test_no_ipv6_wrapping_leads_round_that(address: str) -> None:
    for wrapped in wrappings(ipaddress.IPv4Address(address)):
        with pytest.raises(Problem):
            check_origin(Origin("same", wrapped, None), own_addresses=(), allow_private=False)


def test_our_own_addresses_are_nobodys_origin() -> None:
    own = ipaddress.IPv4Address("198.51.100.1")
    with pytest.raises(Problem) as caught:
        check_origin(Origin("same", own, None), own_addresses={own}, allow_private=False)
    assert caught.value.code == "own-address"
    for wrapped in wrappings(own):
        with pytest.raises(Problem):
            check_origin(Origin("same", wrapped, None), own_addresses={own}, allow_private=False)


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.7",
        "198.51.100.9",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2001:db8::7",
        "2600::1",
    ],
)
def test_other_addresses_are_accepted(address: str) -> None:
    origin = Origin("same", ipaddress.ip_address(address), None)
    check_origin(origin, own_addresses={V4 + 1}, allow_private=False)


@pytest.mark.parametrize(
    ("text", "visitor", "endpoint", "tls_port"),
    [
        ("203.0.113.7", "http", ("http", 80), 443),
        ("203.0.113.7", "https", ("https", 443), 443),
        ("http://203.0.113.7:8080", "https", ("http", 8080), 443),
        ("https://203.0.113.7:8443", "http", ("https", 8443), 8443),
    ],
)
def test_where_a_request_goes(
    text: str, visitor: str, endpoint: tuple[str, int], tls_port: int
) -> None:
    origin = parse_origin(text)
    assert origin.endpoint(visitor) == endpoint  # type: ignore[arg-type]
    assert origin.tls_port == tls_port


def test_a_name_has_the_addresses_that_were_looked_up() -> None:
    origin = parse_origin("https://\ubb3c\uc624\ub9ac.example")
    assert str(origin) == "https://xn--oy2bp2al4t.example"
    assert origin.addresses == ()
    found = origin.at([V4, V6])
    assert (found.address, found.addresses, str(found)) == (V4, (V4, V6), str(origin))
    assert len(origin.at([V4] * 9).addresses) == MAX_ORIGIN_ADDRESSES
    assert found.at([]).addresses == ()
    assert parse_origin("203.0.113.7").addresses == (V4,)


def test_each_address_of_a_name_is_checked() -> None:
    own, private = map(ipaddress.ip_address, ("198.51.100.1", "10.0.0.1"))
    found = [private, V4, own, V6]
    assert usable(found, own_addresses={own}, allow_private=False) == (V4, V6)
    assert usable(found, own_addresses={own}, allow_private=True) == tuple(found)
    origin = parse_origin("origin.example.net")
    check_origin(origin, own_addresses={own}, allow_private=False)
    check_origin(origin.at([V4]), own_addresses={own}, allow_private=False)
    for wrong in (own, private):
        with pytest.raises(Problem):
            check_origin(origin.at([V4, wrong]), own_addresses={own}, allow_private=False)


def test_a_name_of_the_site_itself_leads_back_to_us() -> None:
    hosts = ("ducks.example", "www.ducks.example")
    problem = leads_back(parse_origin("https://WWW.ducks.example"), hosts)
    assert problem is not None
    assert problem.code == "own-host"
    assert leads_back(parse_origin("origin.ducks.example"), hosts) is None
    assert leads_back(parse_origin("203.0.113.7"), hosts) is None
