"""TLS at the proxy's door, passed through, and towards origins: over loopback sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from tests.wire.origin import OK, OriginSide
from tests.wire.proxying import HOST, RawVisitor, Running, route_to, running, wait_for
from watchducks.model.routing import Route
from watchducks.proxy.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def tls_of(visitor: RawVisitor) -> SSL.Connection:
    connection: SSL.Connection = visitor.transport.getHandle()
    return connection


@pytest.mark.parametrize("alpn", [(), (b"http/1.1",), (b"spdy/3", b"http/1.1"), (b"spdy/3",)])
@pytest_twisted.ensureDeferred
async def test_a_site_with_a_certificate_is_terminated_whatever_alpn_says(
    alpn: tuple[bytes, ...],
) -> None:
    async with running() as run:
        run.certificates.hold(run.authority, HOST)
        visitor = await run.visit_tls("WWW.example.com", GET, alpn)
        data = await visitor.until_has(b"hello")
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        expected = b"http/1.1" if b"http/1.1" in alpn else b""
        assert tls_of(visitor).get_alpn_proto_negotiated() == expected
        assert b"X-Forwarded-Proto: https\r\n" in run.origin.heads[0]
        assert (run.rows[0].scheme, run.rows[0].kind) == ("https", "request")


@pytest.mark.parametrize("alpn", [(b"h2",), (b"http/1.1", b"h2")])
@pytest_twisted.ensureDeferred
async def test_http_2_is_preferred_and_its_own_protocol_speaks_it(alpn: tuple[bytes, ...]) -> None:
    async with running() as run:
        run.certificates.hold(run.authority, HOST)
        settings = b"\0\0\0\x04\0\0\0\0\0"
        visitor = await run.visit_tls(HOST, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings, alpn)
        data = await visitor.until(lambda it: len(it.data) >= 9)
        assert tls_of(visitor).get_alpn_proto_negotiated() == b"h2"
        assert data[3:5] == b"\x04\0"  # SETTINGS, not an acknowledgement
        assert not run.rows


@pytest_twisted.ensureDeferred
async def test_a_host_that_the_certificate_does_not_cover_is_421() -> None:
    async with running() as run:
        run.certificates.hold(run.authority, HOST, "also.example")
        for name, site in (("also.example", 8), ("other.example", 9)):
            run.routes.routes[name] = route_to(run.origin.port, site_id=site, domain=name)
        visitor = await run.visit_tls(HOST, GET.replace(HOST.encode(), b"also.example"))
        await visitor.until_has(b"hello")
        visitor.send(GET.replace(HOST.encode(), b"other.example") + GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert visitor.data.count(b"HTTP/1.1 421 Misdirected Request\r\n") == 1
        assert [(row.site_id, row.status) for row in run.rows] == [(8, 200), (9, 421), (7, 200)]


@pytest.mark.parametrize("server_name", ["", "nobody.example"])
@pytest_twisted.ensureDeferred
async def test_the_default_certificate_carries_no_site_but_the_health_page(
    server_name: str,
) -> None:
    async with running() as run:
        host = b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n"
        health = b"GET /.well-known/watchducks/health HTTP/1.1\r\nHost: x\r\n\r\n"
        visitor = await run.visit_tls(server_name, GET + host + health)
        data = await visitor.until_has(b"}")
        assert data.startswith(b"HTTP/1.1 421 ")
        assert b"HTTP/1.1 404 Not Found\r\n" in data
        body = data[data.rindex(b"\r\n\r\n") + 4 :]
        assert json.loads(body)["status"] == "ok"
        certificate = tls_of(visitor).get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        assert "watchducks default" in certificate.subject.rfc4514_string()


@pytest_twisted.ensureDeferred
async def test_a_registered_site_without_a_certificate_passes_through_untouched() -> None:
    # The proxy trusts nobody here: verifying is the visitor's business.
    async with running(origin_names=(HOST,), trusted=False) as run:
        visitor = await run.visit_tls(HOST, GET)
        data = await visitor.until_has(b"hello")
        assert data == OK
        assert run.origin.heads == [GET]  # nothing added
        certificate = tls_of(visitor).get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        assert certificate.issuer == run.authority.certificate.subject
        assert not run.rows
        visitor.transport.loseConnection()
        (row,) = await run.until_rows(1)
        assert (row.site_id, row.kind, row.scheme, row.status) == (7, "connection", "https", 0)
        assert (row.host, row.client, row.reason, row.path) == (HOST, "127.0.0.1", "", "")
        assert row.request_bytes > 500  # ClientHello, Finished, request, close
        assert row.response_bytes > 500
        assert row.duration_us > 0
        await wait_for(lambda: run.origin.connections[0].lost, "the origin's side to end")


@pytest_twisted.ensureDeferred
async def test_an_acme_challenge_is_the_origins_even_where_we_hold_a_certificate() -> None:
    async with running(origin_names=(HOST,)) as run:
        run.certificates.hold(run.authority, HOST)
        visitor = await run.visit_tls(HOST, GET, (b"acme-tls/1",))
        assert await visitor.until_has(b"hello") == OK
        assert run.origin.heads == [GET]
        visitor.transport.loseConnection()
        (row,) = await run.until_rows(1)
        assert row.kind == "connection"


@pytest_twisted.ensureDeferred
async def test_a_slow_look_up_holds_the_handshake_back_and_loses_no_byte() -> None:
    async with running(origin_names=("slow.example",)) as run:
        answer: Deferred[Route | None] = Deferred()
        run.routes.slow["slow.example"] = answer
        visitor = await run.visit_tls("slow.example", GET)
        await wait_for(lambda: run.routes.asked, "the look-up")
        assert not run.origin.connections
        answer.callback(run.routes.routes[HOST])
        await visitor.until_has(b"hello")


@pytest_twisted.ensureDeferred
async def test_a_slow_look_up_that_finds_nothing_ends_at_the_default_certificate() -> None:
    async with running() as run:
        answer: Deferred[Route | None] = Deferred()
        run.routes.slow["slow.example"] = answer
        visitor = await run.visit_tls("slow.example", GET)
        await wait_for(lambda: run.routes.asked, "the look-up")
        answer.callback(None)
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 421 ")


@pytest_twisted.ensureDeferred
async def test_a_look_up_that_fails_ends_the_connection() -> None:
    async with running() as run:
        run.routes.failing.add("down.example")
        visitor = await run.visit_tls("down.example", GET)
        assert await visitor.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_the_hello_may_come_byte_by_byte() -> None:
    async with running() as run:
        run.certificates.hold(run.authority, HOST)
        hello = await captured_hello(run)
        visitor = await run_raw(run)
        for byte in hello:
            visitor.send(bytes([byte]))
        data = await visitor.until(lambda v: len(v.data) > 100)
        assert data[0] == 22  # a ServerHello


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01", b"\x16\x03\x01\0\0"]
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_hello_is_cut_off(garbage: bytes) -> None:
    async with running() as run:
        visitor = await run_raw(run, garbage)
        assert await visitor.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_a_hello_without_an_end_is_cut_off_by_time_and_by_size() -> None:
    limits = Limits(client_hello_seconds=0.1)
    async with running(limits=limits) as run:
        slow = await run_raw(run, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff")
        assert await slow.until_closed() == b""
    async with running() as run:
        record = b"\x16\x03\x01\x40\x00"
        endless = record + b"\x01\xff\xff\xff" + b"x" * 16380 + (record + b"x" * 16384) * 5
        large = await run_raw(run, endless)
        assert await large.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_an_https_origin_is_verified_by_the_sites_name() -> None:
    async with running(origin_names=(HOST,)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == 1


@pytest.mark.parametrize("how", ["wrong-name", "untrusted", "not-tls"])
@pytest_twisted.ensureDeferred
async def test_an_origin_that_cannot_be_verified_gets_nothing(how: str) -> None:
    names = None if how == "not-tls" else (("other.example",) if how == "wrong-name" else (HOST,))
    async with running(origin_names=names, trusted=how != "untrusted") as run:
        if how == "not-tls":
            run.routes.routes[HOST] = route_to(run.origin.port, scheme="https")
            run.origin.handler = lambda side, _: side.send(OK)
        visitor = await run.visit(
            b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 6\r\n\r\nsecret"
        )
        if how == "not-tls":
            await wait_for(lambda: run.origin.connections, "the connection")
            run.origin.connections[0].send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert (run.rows[0].status, run.rows[0].reason) == (502, "origin-tls")
        assert not run.origin.heads


@pytest_twisted.ensureDeferred
async def test_large_answers_and_a_slow_reader_through_tls() -> None:
    size = 8 * 1024 * 1024

    def handler(side: OriginSide, head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size)

    async with running(handler) as run:
        run.certificates.hold(run.authority, HOST)
        visitor = await run.visit_tls(HOST, GET)
        await visitor.until_has(b"\r\n\r\n")
        visitor.transport.pauseProducing()
        assert not run.rows
        visitor.transport.resumeProducing()
        await visitor.until(lambda v: v.data.endswith(b"z") and len(v.data) > size)
        assert run.rows[0].response_bytes == size


async def run_raw(run: Running, data: bytes = b"") -> RawVisitor:
    """Connect to the TLS port without TLS."""
    from twisted.internet import reactor

    visitor = RawVisitor()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", run.https_port).connect(
        Factory.forProtocol(lambda: visitor)
    )
    run.visitors.append(visitor)
    visitor.send(data)
    return visitor


async def captured_hello(run: Running) -> bytes:
    """Return a ClientHello as OpenSSL writes it."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_tlsext_host_name(HOST.encode())
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Protocol):
    """An origin that waits for the end of what it is sent, and answers only then."""

    transport: Any

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.received = b""
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True
        self.transport.write(self._answer)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing follows."""


@pytest_twisted.ensureDeferred
async def test_passing_through_closes_each_half_on_its_own_and_loses_nothing() -> None:
    from twisted.internet import reactor

    async with running() as run:
        origin = HalfClosing(b"z" * 3_000_000)
        factory: Any = Factory.forProtocol(lambda: origin)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        try:
            run.routes.routes[HOST] = route_to(port.getHost().port, scheme="https")
            hello = await captured_hello(run)
            visitor = await run_raw(run, hello + b"y" * 1_000_000)
            visitor.transport.loseWriteConnection()
            data = await visitor.until_closed()
            assert origin.received == hello + b"y" * 1_000_000
            assert data == b"z" * 3_000_000
            (row,) = await run.until_rows(1)
            assert (row.request_bytes, row.response_bytes) == (len(hello) + 1_000_000, 3_000_000)
            assert row.reason == ""
        finally:
            await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_passing_through_to_an_origin_that_is_not_there() -> None:
    async with running(origin_names=(HOST,)) as run:
        await run.origin.stop()
        visitor = await run_raw(run, await captured_hello(run))
        assert await visitor.until_closed() == b""
        (row,) = await run.until_rows(1)
        assert (row.kind, row.reason, row.response_bytes) == ("connection", "connect-refused", 0)


@pytest_twisted.ensureDeferred
async def test_a_connection_passed_through_that_nobody_uses_ends() -> None:
    limits = Limits(passthrough_idle_seconds=0.1)
    async with running(origin_names=(HOST,), limits=limits) as run:
        visitor = await run.visit_tls(HOST, GET)
        await visitor.until_has(b"hello")
        await visitor.until_closed()
        await run.until_rows(1)
        await wait_for(lambda: run.origin.connections[0].lost, "the origin's side to end")


@pytest_twisted.ensureDeferred
async def test_an_https_origin_that_does_not_shake_hands_is_504() -> None:
    async with running(limits=Limits(connect_seconds=0.2)) as run:
        run.routes.routes[HOST] = route_to(run.origin.port, scheme="https")
        visitor = await run.visit(GET)
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 504 ")
        assert run.rows[0].reason == "connect-timeout"
        await wait_for(lambda: run.origin.connections[0].lost, "the connection to be given up")
