"""Blocks: what they are written as, and what they refuse."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from tests.unit.registry.examples import example_site
from watchducks.model.blocks import Block, BlockKind, keys_of, read_block
from watchducks.model.origins import parse_origin
from watchducks.model.problems import Problem

DOMAIN, EMAIL, NETWORK = BlockKind
SITE = replace(
    example_site("shop.ducks.example"),
    email="Owner@mail.pond.example",
    origin=parse_origin("https://origin.cloud.example"),
)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (" Ducks.Example ", DOMAIN, "ducks.example"),
        (".example", DOMAIN, "example"),
        ("한글.example", DOMAIN, "xn--bj0bj06e.example"),
        ("Some.Body@Mail.Example", EMAIL, "some.body@mail.example"),
        ("@Mail.Example", EMAIL, "@mail.example"),
        ("203.0.113.7", NETWORK, "203.0.113.7/32"),
        ("203.0.113.7/24", NETWORK, "203.0.113.0/24"),
        ("2001:DB8::/32", NETWORK, "2001:db8::/32"),
    ],
)
def test_a_block_is_read_as_people_write_it(text: str, kind: BlockKind, value: str) -> None:
    assert read_block(text) == (kind, value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "block") for text in ("", "@", "a b", "203.0.113", "http://x.example/", "\x00")),
        ("two@at@", "email"),
        ("0.0.0.0/0", "wide-network"),
        ("::/0", "wide-network"),
        ("10.0.0.0/7", "wide-network"),
    ],
)
def test_what_is_none_is_told(text: str, code: str) -> None:
    with pytest.raises(Problem) as raised:
        read_block(text)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("what", "concerned"),
    [
        ("shop.ducks.example", True),
        ("ducks.example", True),
        ("example", True),
        ("www.shop.ducks.example", False),
        ("op.ducks.example", False),
        ("owner@MAIL.pond.example", True),
        ("@pond.example", True),
        ("@ducks.example", False),
        ("other@mail.pond.example", False),
        ("cloud.example", True),  # what its origin's name is below of
        ("203.0.113.0/24", False),
    ],
)
def test_a_block_is_about_what_it_says_and_what_is_below_it(what: str, concerned: bool) -> None:
    kind, value = read_block(what)
    assert Block(1, kind, value, "", "", 0).concerns(SITE) is concerned


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.112.0/20", "203.0.113.7"),
        ("203.0.0.0/8", "203.0.113.7"),
        ("203.0.113.7", "::ffff:203.0.113.7"),
        ("2001:db8::/32", "2001:db8:ffff::1"),
        ("2001:db8::1/128", "2001:db8::1"),
    ],
)
def test_a_network_is_who_asks_and_where_a_server_is(network: str, address: str) -> None:
    _, value = read_block(network)
    assert value in keys_of((), "", None, ipaddress.ip_address(address))
    literal = f"http://[{address}]" if ":" in address else address
    assert value in keys_of((), "", parse_origin(literal), None)
    assert value not in keys_of((), "", None, ipaddress.ip_address("198.51.100.1"))
