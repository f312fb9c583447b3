"""Towards origins: who is believed to be the right one, and how one in trouble is kept apart."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from tests.wire.origin import OK, OriginSide
from tests.wire.proxying import HOST, Running, route_to, running, wait_for
from watchducks.model.sites import OriginTls, SiteChoices
from watchducks.proxy.limits import Limits
from watchducks.proxy.origin_tls import spki_digest

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OTHER = "other.example"
GET_OTHER = b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n"
WRONG_PIN = "ab" * 32


def pin_of(run: Running) -> str:
    public = run.origin_key.public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def choose(run: Running, choices: SiteChoices) -> None:
    run.routes.routes[HOST] = replace(run.routes.routes[HOST], choices=choices)


@pytest.mark.parametrize(
    ("mode", "names", "trusted", "reason"),
    [
        ("verify", (HOST,), True, ""),
        ("verify", (HOST,), False, "origin-tls"),
        ("verify", (OTHER,), True, "origin-tls"),
        ("verify", (), True, "origin-tls"),
        ("pinned", (OTHER,), False, ""),
        ("pinned", (HOST,), True, ""),
        ("wrong pin", (HOST,), True, "origin-pin"),
        ("off", (OTHER,), False, ""),
        ("off", (), False, ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_origin_is_believed_as_the_site_chose(
    mode: str, names: tuple[str, ...], trusted: bool, reason: str
) -> None:
    async with running(origin_names=names, trusted=trusted) as run:
        choose(
            run,
            {
                "verify": SiteChoices(),
                "pinned": SiteChoices("pinned", pin_of(run)),
                "wrong pin": SiteChoices("pinned", WRONG_PIN),
                "off": SiteChoices("off"),
            }[mode],
        )
        visitor = await run.visit(GET)
        data = await visitor.until_has(b"</html>" if reason else b"hello")
        (row,) = await run.until_rows(1)
        assert row.reason == reason
        assert data.startswith(b"HTTP/1.1 502 " if reason else b"HTTP/1.1 200 ")
        assert len(run.origin.heads) == (0 if reason else 1)
        if reason:
            assert b"own server has" in data
            await wait_for(lambda: run.origin.connections[0].lost, "the connection to be closed")


@pytest_twisted.ensureDeferred
async def test_a_kept_connection_is_not_used_under_a_stricter_choice() -> None:
    async with running(origin_names=(OTHER,), trusted=False) as run:
        choose(run, SiteChoices("off"))
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        choose(run, SiteChoices("verify"))
        visitor.send(GET)
        await visitor.until_has(b"HTTP/1.1 502 ")
        choose(run, SiteChoices("pinned", pin_of(run)))
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.heads) == 2


@pytest_twisted.ensureDeferred
async def test_bodies_of_any_size_pass_both_ways_through_an_https_origin() -> None:
    size = 3_000_000

    def handler(side: OriginSide, _head: bytes) -> None:
        side.on_extra = lambda: answer(side)

    def answer(side: OriginSide) -> None:
        if len(side.extra) == size:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + side.extra)

    async with running(handler, origin_names=(HOST,)) as run:
        body = random.Random(7).randbytes(size)
        head = b"PUT / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n" % size
        visitor = await run.visit(head + body)
        await visitor.until_has(b"\r\n\r\n")
        visitor.transport.pauseProducing()  # a visitor who is slow for a moment
        assert not run.rows
        visitor.transport.resumeProducing()
        data = await visitor.until(lambda v: len(v.data) > size and v.data.endswith(body[-9:]))
        assert data.partition(b"\r\n\r\n")[2] == body
        (row,) = await run.until_rows(1)
        assert (row.request_bytes, row.response_bytes, row.reason) == (size, size, "")
        assert run.proxy._context.pools.idle == 1


@pytest.mark.parametrize("who", ["origin", "visitor"])
@pytest_twisted.ensureDeferred
async def test_a_tunnel_through_an_https_origin_ends_when_either_does(who: str) -> None:
    def handler(side: OriginSide, _head: bytes) -> None:
        side.on_extra = lambda: side.send(b"<" + side.extra + b">")
        side.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )

    async with running(handler, origin_names=(HOST,)) as run:
        upgrade = b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
        key = b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        visitor = await run.visit(GET.replace(b"\r\n\r\n", upgrade + key))
        await visitor.until_has(b"101 Switching")
        visitor.send(b"\x81\x05hello")
        await visitor.until_has(b"<\x81\x05hello>")
        side = run.origin.connections[0]
        if who == "origin":
            side.close()
            await visitor.until_closed()
        else:
            visitor.transport.loseWriteConnection()
            await wait_for(lambda: side.lost, "the origin to hear of it")
        (row,) = await run.until_rows(1)
        assert (row.status, row.reason) == (101, "")
        assert len(run.proxy._context.pools) == 0


@pytest.mark.parametrize("end", ["close_notify", "fin", "reset"])
@pytest_twisted.ensureDeferred
async def test_only_a_close_that_tls_vouches_for_completes_an_answer(end: str) -> None:
    def handler(side: OriginSide, _head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")

    async with running(handler, origin_names=(HOST,)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        side = run.origin.connections[0]
        if end == "close_notify":
            side.close()
        elif end == "fin":  # what somebody on the way can send
            side.transport.transport.loseWriteConnection()
        else:
            side.reset()
        (row,) = await run.until_rows(1)
        assert row.reason == ("" if end == "close_notify" else "origin-reset")
        data = await visitor.until(lambda v: v.closed or b"\r\n0\r\n\r\n" in v.data)
        assert (b"\r\n0\r\n\r\n" in data) is (end == "close_notify")


@pytest_twisted.ensureDeferred
async def test_a_kept_https_connection_that_the_origin_closes_is_forgotten() -> None:
    async with running(origin_names=(HOST,)) as run:
        visitor = await run.visit(GET)
        await visitor.until_has(b"hello")
        pools = run.proxy._context.pools
        assert (pools.idle, len(pools.connections)) == (1, 0)
        run.origin.connections[0].close()
        await wait_for(lambda: pools.idle == 0, "the connection to be forgotten")
        visitor.send(GET)
        await visitor.until(lambda v: v.data.count(b"hello") == 2)
        assert len(run.origin.connections) == 2


@pytest.mark.parametrize("end", ["close", "reset", "garbage"])
@pytest_twisted.ensureDeferred
async def test_an_https_origin_that_breaks_off_the_handshake(end: str) -> None:
    async with running() as run:
        run.routes.routes[HOST] = route_to(run.origin.port, scheme="https")
        visitor = await run.visit(GET)
        await wait_for(lambda: run.origin.connections, "the connection")
        side = run.origin.connections[0]
        ends: dict[str, Callable[[], None]] = {
            "close": side.close,
            "reset": side.reset,
            "garbage": lambda: side.send(b"x" * 99),
        }
        ends[end]()
        data = await visitor.until_has(b"</html>")
        assert data.startswith(b"HTTP/1.1 502 ")
        assert run.rows[0].reason == ("origin-tls" if end == "garbage" else "origin-reset")
        await wait_for(lambda: not run.proxy._context.pools.connections, "its end")
        assert len(run.proxy._context.pools) == 0


class TlsOrigin:
    """Answers each connection once, with the standard library's TLS, which tells about resumption.

    :ivar resumed: one entry a handshake.
    """

    def __init__(self, certificate: Path, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "fullchain.pem", certificate / "privkey.pem")
        context.maximum_version = version
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self.port: int = self._listening.getsockname()[1]
        self.resumed: list[bool] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            with suppress(OSError), self._context.wrap_socket(accepted, server_side=True) as one:
                self.resumed.append(bool(one.session_reused))
                one.recv(65536)
                one.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                one.unwrap()

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(timeout=10)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mode", ["verify", "pinned", "off"])
@pytest_twisted.ensureDeferred
async def test_sessions_are_resumed_but_only_under_the_same_choice(
    tmp_path: Path, mode: OriginTls, version: ssl.TLSVersion
) -> None:
    async with running(origin_names=(HOST,)) as run:
        run.authority.write(tmp_path, HOST)
        certificate = load_pem_x509_certificate((tmp_path / "fullchain.pem").read_bytes())
        pin = spki_digest(certificate) if mode == "pinned" else ""
        origin = TlsOrigin(tmp_path, version)
        try:
            route = route_to(origin.port, scheme="https")
            run.routes.routes[HOST] = replace(route, choices=SiteChoices(mode, pin))
            visitor = await run.visit()
            for number in range(1, 5):
                visitor.send(GET)
                await visitor.until(lambda v, n=number: v.data.count(b"hello") == n)  # type: ignore[misc]
            assert origin.resumed == [False, True, True, True]
            # What was believed for one reason is not believed for another.
            choose(run, SiteChoices("pinned", WRONG_PIN))
            visitor.send(GET)
            await visitor.until_has(b"HTTP/1.1 502 ")
            assert True not in origin.resumed[4:]
        finally:
            origin.stop()


# --- one origin in trouble ------------------------------------------------------------------------


@contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port where SYNs are dropped: nobody accepts, and the line for it is full."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port: int = listening.getsockname()[1]
        waiting = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


@pytest_twisted.ensureDeferred
async def test_a_black_hole_holds_few_and_delays_no_other_origin() -> None:
    from twisted.internet import reactor

    limits = Limits(connect_seconds=3, origin_connecting=4, origin_queue=6, origin_queue_seconds=2)
    async with running(limits=limits) as run:
        with black_hole() as port:
            run.routes.routes[OTHER] = route_to(run.origin.port, site_id=8, domain=OTHER)
            run.routes.routes[HOST] = route_to(port)
            visitors = [await run.visit(GET) for _ in range(40)]
            # Thirty are told at once, while four wait for the connect and six in line.
            await run.until_rows(30)
            pools = run.proxy._context.pools
            (pool,) = pools._pools.values()
            assert (pool._busy, pool._connecting, len(pool._waiting)) == (4, 4, 6)
            assert {row.reason for row in run.rows} == {"overloaded"}

            worst = 0.0
            other = await run.visit()
            for number in range(1, 51):
                began = reactor.seconds()
                other.send(GET_OTHER)
                await other.until(lambda v, n=number: v.data.count(b"hello") == n)  # type: ignore[misc]
                worst = max(worst, reactor.seconds() - began)
            # Far below the 3 s that the black hole takes, on a machine however busy.
            assert worst < 1

            for visitor in visitors:
                await visitor.until_has(b"</html>")
            reasons = [row.reason for row in run.rows if row.site_id == 7]
            assert (reasons.count("overloaded"), reasons.count("connect-timeout")) == (36, 4)
            assert pool.unused
            assert port not in {key.port for key in pools._pools}


@pytest_twisted.ensureDeferred
async def test_connections_are_made_a_few_at_a_time_and_all_are_served() -> None:
    held: list[OriginSide] = []
    async with running(
        lambda side, _: held.append(side), limits=Limits(origin_connecting=2)
    ) as run:
        visitors = [await run.visit(GET) for _ in range(12)]
        await wait_for(lambda: len(held) == 12, "all to be at the origin")
        (pool,) = run.proxy._context.pools._pools.values()
        assert (pool._busy, pool._connecting) == (12, 0)
        for side in held:
            side.send(OK)
        for visitor in visitors:
            await visitor.until_has(b"hello")
        assert (pool._busy, len(pool._idle)) == (0, 12)


@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_connect_takes_a_connection_that_is_given_back() -> None:
    limits = Limits(origin_connecting=1, connect_seconds=5)
    async with running(lambda _side, _head: None, origin_names=(HOST,), limits=limits) as run:
        first = await run.visit(GET)
        await wait_for(lambda: run.origin.heads, "the first request")
        (pool,) = run.proxy._context.pools._pools.values()
        # The second connects to nobody who answers; the third waits behind it.
        with black_hole() as port:
            pool.key = pool.key._replace(port=port)
            await run.visit(GET)
            third = await run.visit(GET)
            await wait_for(lambda: pool._waiting, "the third in line")
            run.origin.handler = lambda side, _: side.send(OK)
            run.origin.connections[0].send(OK)
            await first.until_has(b"hello")
            await third.until_has(b"hello")
            assert len(run.origin.connections) == 1


@pytest_twisted.ensureDeferred
async def test_a_failed_connect_gives_its_turn_to_the_next() -> None:
    async with running(limits=Limits(origin_connecting=1, origin_queue=20)) as run:
        await run.origin.stop()
        visitors = [await run.visit(GET) for _ in range(10)]
        for visitor in visitors:
            await visitor.until_has(b"</html>")
        assert [row.reason for row in run.rows] == ["connect-refused"] * 10
        assert len(run.proxy._context.pools) == 0


@pytest_twisted.ensureDeferred
async def test_stopping_ends_those_in_line() -> None:
    limits = Limits(origin_connecting=1, drain_seconds=0.2)
    async with running(limits=limits) as run:
        with black_hole() as port:
            run.routes.routes[HOST] = route_to(port)
            for _ in range(3):
                await run.visit(GET)
            pools = run.proxy._context.pools
            await wait_for(
                lambda: any(len(pool._waiting) == 2 for pool in pools._pools.values()), "the line"
            )
            await run.proxy.stop()
            assert len(pools) == 0
            assert len(run.rows) == 3
