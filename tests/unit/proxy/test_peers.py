"""Whose word about the client's address counts."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from watchducks.proxy.peers import (
    MAX_HOPS,
    Peer,
    address_of,
    is_trusted,
    parse_address,
    peer_at,
    visitor_of,
)

NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
BALANCER = Peer("10.0.0.1", trusted=True)


def client_address(peer: Peer, values: list[bytes], networks: Any) -> str:
    fields = [(b"X-Forwarded-For", value) for value in values]
    address, scheme = visitor_of(peer, "http", fields, networks)
    assert scheme == "http"
    return address


@given(
    st.ip_addresses().map(str).filter(lambda text: not peer_at(text, NETWORKS).trusted),
    st.lists(st.binary() | st.ip_addresses().map(lambda address: str(address).encode())),
)
def test_nothing_an_untrusted_peer_sends_changes_his_address(
    address: str, values: list[bytes]
) -> None:
    peer = peer_at(address, NETWORKS)
    assert not peer.trusted
    assert client_address(peer, values, NETWORKS) == peer.address


@given(st.lists(st.binary()), st.ip_addresses(v=4).map(str))
def test_what_the_client_wrote_before_the_balancer_did_changes_nothing(
    forged: list[bytes], client: str
) -> None:
    if is_trusted(parse_address(client), NETWORKS):
        return
    values = [*forged, client.encode()]
    assert client_address(BALANCER, values, NETWORKS) == client


@given(st.lists(st.binary()))
def test_whatever_comes_is_an_address(values: list[bytes]) -> None:
    ipaddress.ip_address(client_address(BALANCER, values, NETWORKS))


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([], "10.0.0.1"),
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ([b"198.51.100.1", b"203.0.113.9"], "203.0.113.9"),
        ([b"203.0.113.9, 10.1.2.3 ,\t10.4.5.6"], "203.0.113.9"),
        ([b"10.1.2.3"], "10.1.2.3"),
        ([b"2001:db9::7, 2001:db8::1"], "2001:db9::7"),
        ([b"[2001:db9::7]:4711"], "2001:db9::7"),
        ([b"[2001:db9::7]"], "2001:db9::7"),
        ([b"203.0.113.9:4711"], "203.0.113.9"),
        ([b"::ffff:203.0.113.9"], "203.0.113.9"),
        ([b"::ffff:10.1.2.3, 10.0.0.2"], "10.1.2.3"),
        ([b"203.0.113.9, unknown"], "10.0.0.1"),
        ([b"203.0.113.9, unknown, 10.7.7.7"], "10.7.7.7"),
        ([b"203.0.113.9,"], "10.0.0.1"),
        ([b"[2001:db9::7]x"], "10.0.0.1"),
        ([b"[2001:db9::7"], "10.0.0.1"),
        ([b"203.0.113.9:http"], "10.0.0.1"),
        ([b"fe80::1%eth0"], "10.0.0.1"),
        ([b"203.0.113.9\r\nX: y"], "10.0.0.1"),
    ],
)
def test_the_nearest_address_that_is_not_trusted_is_the_client(
    values: list[bytes], client: str
) -> None:
    assert client_address(BALANCER, values, NETWORKS) == client


FOR, PROTO, FORWARDED = b"X-Forwarded-For", b"x-forwarded-proto", b"Forwarded"
CLIENT = (FOR, b"203.0.113.9")


@pytest.mark.parametrize(
    ("fields", "address", "scheme"),
    [
        ([], "10.0.0.1", "http"),
        ([(PROTO, b"https")], "10.0.0.1", "https"),
        ([CLIENT, (PROTO, b"HTTPS")], "203.0.113.9", "https"),
        ([CLIENT, (PROTO, b"wss")], "203.0.113.9", "https"),
        ([CLIENT, (PROTO, b"gopher")], "203.0.113.9", "http"),
        ([CLIENT, (PROTO, b"")], "203.0.113.9", "http"),
        # What the visitor claims stands before what the balancer saw.
        ([CLIENT, (PROTO, b"https"), (PROTO, b"http")], "203.0.113.9", "http"),
        ([CLIENT, (PROTO, b"http, https")], "203.0.113.9", "https"),
        # Two of ours, each with its word, or one word for both.
        ([(FOR, b"203.0.113.9, 10.0.0.9"), (PROTO, b"https, http")], "203.0.113.9", "https"),
        ([(FOR, b"203.0.113.9, 10.0.0.9"), (PROTO, b"https")], "203.0.113.9", "https"),
        ([(FORWARDED, b"for=203.0.113.9;proto=https")], "203.0.113.9", "https"),
        ([(FORWARDED, b'Proto=HTTPS; For="[2001:db9::7]:4711"')], "2001:db9::7", "https"),
        ([(FORWARDED, b"proto=https;host=a.example")], "10.0.0.1", "https"),
        ([(FORWARDED, b"for=198.51.100.1, for=203.0.113.9")], "203.0.113.9", "http"),
        (
            [(FORWARDED, b"for=203.0.113.9;proto=https,for=10.0.0.9;proto=http")],
            "203.0.113.9",
            "https",
        ),
        # What is malformed hides nothing of what the balancer wrote after it.
        ([(FORWARDED, b'for="x, for=203.0.113.9;proto=https')], "203.0.113.9", "https"),
        ([(FORWARDED, b"for=203.0.113.9;for=198.51.100.1;proto=https")], "10.0.0.1", "http"),
        ([(FORWARDED, b"for=_hidden;proto=https")], "10.0.0.1", "https"),
        # Whoever writes the one passes on what visitors claim in the other.
        ([CLIENT, (FORWARDED, b"for=198.51.100.1;proto=https")], "203.0.113.9", "http"),
        ([(PROTO, b"http"), (FORWARDED, b"for=198.51.100.1;proto=https")], "10.0.0.1", "http"),
    ],
)
def test_a_trusted_peer_says_who_came_and_by_which_scheme(
    fields: list[tuple[bytes, bytes]], address: str, scheme: str
) -> None:
    assert visitor_of(BALANCER, "http", fields, NETWORKS) == (address, scheme)
    nobody = Peer("203.0.113.1", trusted=False)
    assert visitor_of(nobody, "http", fields, NETWORKS) == ("203.0.113.1", "http")


@given(st.lists(st.tuples(st.sampled_from([FOR, PROTO, FORWARDED]), st.binary())))
def test_whatever_a_trusted_peer_says_is_an_address_and_a_scheme(
    fields: list[tuple[bytes, bytes]],
) -> None:
    address, scheme = visitor_of(BALANCER, "https", fields, NETWORKS)
    ipaddress.ip_address(address)
    assert scheme in ("http", "https")


def test_only_so_many_hops_are_followed() -> None:
    chain = b", ".join([b"203.0.113.9", *[b"10.9.9.9"] * (MAX_HOPS - 1)])
    assert client_address(BALANCER, [chain], NETWORKS) == "203.0.113.9"
    assert client_address(BALANCER, [chain + b", 10.9.9.9"], NETWORKS) == "10.9.9.9"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::1"),
        (UNIXAddress(None), ""),
        (None, ""),
    ],
)
def test_the_address_of_a_transport(address: Any, text: str) -> None:
    assert address_of(address) == text


def test_a_peer_without_an_address_is_not_trusted() -> None:
    everybody = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert peer_at("", everybody) == Peer("", trusted=False)
    assert peer_at("192.0.2.1", everybody).trusted
