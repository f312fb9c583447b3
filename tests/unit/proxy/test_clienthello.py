"""The ClientHello, split over any number of records and segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from watchducks.model.origins import parse_origin
from watchducks.model.routing import Route
from watchducks.proxy.accept import Decision, decide
from watchducks.proxy.clienthello import ClientHello, NotAClientHello, read_client_hello
from watchducks.routes import UNKNOWN, Unknown


def openssl_hello(name: bytes | None, alpn: list[bytes]) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if alpn:
        context.set_alpn_protos(alpn)
    connection = SSL.Connection(context, None)
    if name is not None:
        connection.set_tlsext_host_name(name)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


HELLO = openssl_hello(b"WWW.Example.com", [b"h2", b"http/1.1"])
UNDERSTOOD = ClientHello("www.example.com", (b"h2", b"http/1.1"))


def in_records(message: bytes, sizes: list[int]) -> bytes:
    records = b""
    for size in [*sizes, 16384]:
        part, message = message[:size], message[size:]
        if part:
            records += b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
    return records


def test_openssls_own() -> None:
    assert read_client_hello(HELLO) == UNDERSTOOD
    assert read_client_hello(HELLO + b"more") == UNDERSTOOD
    assert read_client_hello(openssl_hello(None, [])) == ClientHello("", ())


def test_byte_by_byte() -> None:
    for end in range(len(HELLO)):
        assert read_client_hello(HELLO[:end]) is None
    assert read_client_hello(HELLO) == UNDERSTOOD


@given(st.lists(st.integers(1, 400), max_size=40))
def test_over_any_number_of_records(sizes: list[int]) -> None:
    assert read_client_hello(in_records(HELLO[5:], sizes)) == UNDERSTOOD


@given(st.binary(max_size=100), st.integers(0, len(HELLO)), st.integers(0, 255))
def test_whatever_comes_is_understood_or_refused(data: bytes, at: int, byte: int) -> None:
    damaged = HELLO[:at] + bytes([byte]) + HELLO[at + 1 :]
    for hostile in (data, b"\x16\x03\x01" + data, damaged, HELLO[:at] + data):
        try:
            hello = read_client_hello(hostile)
        except NotAClientHello:
            continue
        assert hello is None or hello.server_name.isascii()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x01\x00",
        b"\x16\x02\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
    ],
)
def test_what_is_no_hello(data: bytes) -> None:
    with pytest.raises(NotAClientHello):
        read_client_hello(data)


@pytest.mark.parametrize("name", [b"a\0b", b"a/b", b"a b", b"\xff", b"-a", b"a" * 300])
def test_a_server_name_that_is_no_host_is_none(name: bytes) -> None:
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    content = len(entry).to_bytes(2, "big") + entry
    extension = b"\x00\x00" + len(content).to_bytes(2, "big") + content
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extension).to_bytes(2, "big") + extension
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    assert read_client_hello(in_records(message, [])) == ClientHello("", ())


ROUTE = Route(1, "a", "a.example", parse_origin("192.0.2.1"))


@pytest.mark.parametrize(
    ("name", "alpn", "certificate", "route", "decision"),
    [
        ("", (), True, ROUTE, Decision.DEFAULT),
        ("a.example", (), True, UNKNOWN, Decision.TERMINATE),
        ("a.example", (), True, ROUTE, Decision.TERMINATE),
        ("a.example", (), False, ROUTE, Decision.PASS_THROUGH),
        ("a.example", (), False, UNKNOWN, Decision.LOOK_UP),
        ("a.example", (), False, None, Decision.DEFAULT),
        ("a.example", (b"acme-tls/1",), True, ROUTE, Decision.PASS_THROUGH),
        ("a.example", (b"acme-tls/1",), True, UNKNOWN, Decision.LOOK_UP),
        ("a.example", (b"acme-tls/1",), True, None, Decision.TERMINATE),
    ],
)
def test_whose_connection_it_is(
    name: str,
    alpn: tuple[bytes, ...],
    certificate: bool,
    route: Route | Unknown | None,
    decision: Decision,
) -> None:
    assert decide(ClientHello(name, alpn), certificate=certificate, route=route) is decision
