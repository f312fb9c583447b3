"""Who may come in, as whom, and how often: over loopback sockets."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.task import deferLater

from tests.wire.proxying import HOST, RawVisitor, Running, running, wait_for
from tests.wire.test_proxy_tls import captured_hello, run_raw
from watchducks.background import StartupError
from watchducks.model.sites import SiteChoices
from watchducks.proxy.limits import Limits
from watchducks.proxy.tls_engine import TlsEngine
from watchducks.settings import parse

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
LOOPBACK = {"trusted_peers": ["127.0.0.0/8", "10.0.0.0/8"]}
V1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n"
_V2_ADDRESSES = ipaddress.ip_address("2001:db8::9").packed * 2 + b"\x12\x67\x01\xbb"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + _V2_ADDRESSES
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


class TlsTalk:
    """A TLS client of raw bytes, so that something can be sent before its hello."""

    def __init__(self, visitor: RawVisitor, server_name: str = HOST) -> None:
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_connect_state()
        connection.set_tlsext_host_name(server_name.encode())
        self.engine = TlsEngine(connection)
        self.visitor = visitor
        self.data = b""

    def pump(self) -> bool:
        """Go on with what has come; True once the handshake is complete."""
        received, self.visitor.data = self.visitor.data, b""
        if received:
            self.engine.feed(received)
        done = self.engine.handshake()
        if done:
            self.data += self.engine.read()
        sent = self.engine.take()
        if sent:
            self.visitor.send(sent)
        return done

    async def ask(self, request: bytes) -> bytes:
        await wait_for(self.pump, "the handshake")
        self.engine.connection.send(request)
        await wait_for(lambda: self.pump() and b"hello" in self.data, "the answer")
        return self.data


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"", "127.0.0.1"),
        (V1, "203.0.113.9"),
        (V2, "2001:db8::9"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("split", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_trusted_peer_says_who_the_client_is(
    header: bytes, client: str, split: bool
) -> None:
    async with running(proxy_settings=LOOPBACK) as run:
        run.certificates.hold(run.authority, HOST)
        plain, tls = await run.visit(), await run_raw(run)
        for visitor in (plain, tls):
            for part in [bytes([byte]) for byte in header] if split else [header]:
                visitor.send(part)
        plain.send(GET)
        await plain.until_has(b"hello")
        await TlsTalk(tls).ask(GET)
        assert [row.client for row in await run.until_rows(2)] == [client, client]
        for head in run.origin.heads:
            assert f"X-Forwarded-For: {client}\r\n".encode() in head


@pytest_twisted.ensureDeferred
async def test_a_header_and_a_request_may_come_in_one_segment_and_byte_by_byte() -> None:
    async with running(proxy_settings=LOOPBACK) as run:
        at_once = await run.visit(V1 + GET)
        await at_once.until_has(b"hello")
        dripping = await run.visit()
        for byte in V2 + GET:
            dripping.send(bytes([byte]))
            await deferLater(_reactor(), 0)
        await dripping.until_has(b"hello")
        clients = [row.client for row in await run.until_rows(2)]
        assert clients == ["203.0.113.9", "2001:db8::9"]


@pytest_twisted.ensureDeferred
async def test_a_client_named_by_a_header_is_not_trusted_himself() -> None:
    forged = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
    async with running(proxy_settings=LOOPBACK) as run:
        for header in (V1, b"PROXY TCP4 10.7.7.7 10.0.0.1 1 2\r\n", b""):
            visitor = await run.visit(header + forged)
            await visitor.until_has(b"hello")
        clients = [row.client for row in await run.until_rows(3)]
        assert clients == ["203.0.113.9", "198.51.100.1", "198.51.100.1"]


@pytest.mark.parametrize("trusted", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_balancer_that_speaks_tls_for_us_says_so_and_its_visitors_are_not_redirected(
    trusted: bool,
) -> None:
    peers = LOOPBACK if trusted else {}
    async with running(proxy_settings=peers) as run:
        choices = SiteChoices(redirect_to_https=True, hsts_seconds=60)
        run.routes.routes[HOST] = replace(run.routes.routes[HOST], choices=choices)
        visitor = await run.visit()
        for by in (b"http", b"https", b""):
            said = b"X-Forwarded-For: 203.0.113.9\r\n"
            said += b"X-Forwarded-Proto: %b\r\n" % by if by else b""
            visitor.data = b""
            visitor.send(GET.replace(b"\r\n\r\n", b"\r\n%b\r\n" % said))
            data = await visitor.until_has(b"\r\n\r\n")
            if trusted and by == b"https":
                assert data.startswith(b"HTTP/1.1 200 ")
                assert b"\r\nStrict-Transport-Security: max-age=60\r\n" in data
                assert b"\r\nX-Forwarded-Proto: https\r\n" in run.origin.heads[0]
                assert b"\r\nForwarded: for=203.0.113.9;proto=https;" in run.origin.heads[0]
            else:
                assert data.startswith(b"HTTP/1.1 301 ")
                assert b"\r\nLocation: https://www.example.com/\r\n" in data
                assert b"Strict-Transport" not in data
        # Whose it is is learned of requests that are refused as well.
        visitor.data = b""
        said = b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nbad line\r\n"
        visitor.send(GET.replace(b"\r\n\r\n", b"\r\n%b\r\n" % said))
        assert (await visitor.until_closed()).startswith(b"HTTP/1.1 400 ")
        rows = [(row.client, row.scheme) for row in await run.until_rows(4)]
        if trusted:
            clients = ["203.0.113.9"] * 3 + ["203.0.113.7"]
            assert rows == list(zip(clients, ["http", "https", "http", "https"], strict=True))
        else:
            assert rows == [("127.0.0.1", "http")] * 4


@pytest_twisted.ensureDeferred
async def test_nothing_that_an_untrusted_peer_sends_is_believed() -> None:
    forged = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
    async with running(proxy_settings={"trusted_peers": ["192.0.2.0/24"]}) as run:
        run.certificates.hold(run.authority, HOST)
        refused = await run.visit(V1 + GET)
        assert (await refused.until_has(b"</html>")).startswith(b"HTTP/1.1 400 ")
        refused = await run_raw(run, V1 + await captured_hello(run))
        assert await refused.until_closed() == b""
        visitor = await run.visit(forged)
        await visitor.until_has(b"hello")
        assert {row.client for row in run.rows} == {"127.0.0.1"}
        assert len(run.origin.heads) == 1
        assert b"198.51.100.1" not in run.origin.heads[0]


@pytest.mark.parametrize("bad", [b"PROXY / HTTP/1.1\r\n\r\n", V2[:13] + b"\x99" + V2[14:]])
@pytest_twisted.ensureDeferred
async def test_a_bad_header_ends_the_connection(bad: bytes) -> None:
    async with running(proxy_settings=LOOPBACK) as run:
        visitor = await run.visit(bad)
        assert await visitor.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_a_header_that_does_not_come_is_not_waited_for_long() -> None:
    limits = Limits(client_hello_seconds=0.1)
    async with running(proxy_settings=LOOPBACK, limits=limits) as run:
        visitor = await run.visit(V1[:20])
        assert await visitor.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_a_connection_that_passes_through_names_its_client() -> None:
    async with running(origin_names=(HOST,), proxy_settings=LOOPBACK) as run:
        visitor = await run_raw(run, V1)
        await TlsTalk(visitor).ask(GET)
        assert run.origin.heads == [GET]
        visitor.transport.loseConnection()
        (row,) = await run.until_rows(1)
        assert (row.kind, row.client) == ("connection", "203.0.113.9")


@pytest_twisted.ensureDeferred
async def test_one_client_has_only_so_many_connections_and_ended_ones_make_room() -> None:
    async with running(proxy_settings={"client_connections": 2}) as run:
        run.certificates.hold(run.authority, HOST)
        first = await run.visit(GET)
        second = await run.visit_tls(HOST, GET)
        for visitor in (first, second):
            await visitor.until_has(b"hello")
        third = await run.visit(GET)
        assert await third.until_closed() == b""
        second.transport.loseConnection()
        await second.until_closed()
        fourth = await again(run)
        await fourth.until_has(b"hello")


async def again(run: Running) -> RawVisitor:
    """Come back until the proxy has noticed that one of us has left."""
    while True:
        visitor = await run.visit(GET)
        await visitor.until(lambda it: it.closed or bool(it.data))
        if visitor.data:
            return visitor


@pytest_twisted.ensureDeferred
async def test_connections_are_counted_by_the_client_that_a_balancer_names() -> None:
    async with running(proxy_settings={"client_connections": 1, **LOOPBACK}) as run:
        for header in (V1, V2, b"", b""):  # a balancer's own are not counted
            visitor = await run.visit(header + GET)
            await visitor.until_has(b"hello")
        visitor = await run.visit(V1 + GET)
        assert await visitor.until_closed() == b""


@pytest_twisted.ensureDeferred
async def test_one_client_has_only_so_many_requests_a_second() -> None:
    async with running(proxy_settings={"client_requests_per_second": 1}) as run:
        visitor = await run.visit(GET * 2)
        await visitor.until(lambda it: it.data.count(b"hello") == 2)
        visitor.send(GET)
        data = await visitor.until_has(b"</html>")
        assert b"HTTP/1.1 429 Too Many Requests\r\n" in data
        assert [row.status for row in run.rows] == [200, 200, 429]
        assert len(run.origin.heads) == 2


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_refused_with_its_reason(tmp_path: Any) -> None:
    from watchducks.proxy.service import Proxy

    async with running() as run:
        settings = parse({"node": {"roles": ["proxy"]}})
        # As systemd may hand one over whose description does not say what it is.
        odd = settings.proxy.__class__(http=(f"unix:{tmp_path}/socket",), https=())
        proxy = Proxy(
            settings.__class__(node=settings.node, proxy=odd),
            routes=run.routes,
            certificates=run.certificates,
            sink=run.rows,
            reactor=_reactor(),
        )
        with pytest.raises(StartupError, match=r"proxy\.http: unix:.*visitor's address"):
            await proxy.start()
        assert not (tmp_path / "socket").exists()


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor
