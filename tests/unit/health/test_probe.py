"""One HTTP probe against servers on real loopback sockets that behave in every bad way."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.servers.ports import free_port
from tests.servers.waiting import eventually
from watchducks.certificates.pairs import make_default_context
from watchducks.health.probe import MAX_BODY_OCTETS, HttpProbe, ProbeFailed, probe_all
from watchducks.health.prober import Health
from watchducks.health.reference import TcpReferences
from watchducks.settings import HealthSettings, ProxySettings

LOOPBACK = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Scripted(Protocol):
    """Sends ``script`` as soon as a whole request head is there, and closes if it says so."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""

    def connectionMade(self) -> None:
        self._server.open += 1

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self._server.requests.append(self._received)
            assert self.transport is not None
            self.transport.write(self._server.script)
            if self._server.closes:
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.open -= 1


class Server:
    script = OK
    closes = False
    open = 0

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port: IListeningPort | None = None

    @property
    def url(self) -> str:
        assert self.port is not None
        host = self.port.getHost()
        assert isinstance(host, IPv4Address)
        return f"http://{LOOPBACK}:{host.port}/health"

    async def closed(self) -> bool:
        return self.open == 0


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    factory = Factory.forProtocol(lambda: Scripted(server))
    server.port = await TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK).listen(factory)
    yield server
    # The connection of a probe that is over is closed, however the probe ended.
    await eventually(reactor, server.closed, "the probe's connection to be closed", 5)
    closing = server.port.stopListening()
    assert closing is not None
    await closing


@pytest_twisted.ensureDeferred
async def test_a_good_answer(server: Server) -> None:
    await HttpProbe(5, reactor=reactor)(server.url)
    (request,) = server.requests
    assert request.startswith(b"GET /health HTTP/1.1\r\n")
    assert b"connection: close" in request.lower()
    await HttpProbe(5, reactor=reactor)(server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("script", "closes", "words"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False, "status 503"),
        (b"HTTP/1.1 204 Empty\r\n\r\n", False, "status 204"),
        (
            b"HTTP/1.1 302 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            False,
            "status 302",
        ),
        (b"", True, "broke off"),
        (b"SSH-2.0-x\r\n", True, "."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", True, "broke off|."),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_OCTETS + 1), False, "a body of more than"),
        # Two seconds, because the server is a busy machine's own process and must be asked in time.
        (b"", False, "no answer within 2 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", False, "no answer within 2 s"),
        (b"HTTP/1.1 200 OK\r\n", False, "no answer within 2 s"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_bad_answer_is_told_in_a_few_words(
    server: Server, script: bytes, closes: bool, words: str
) -> None:
    server.script, server.closes = script, closes
    with pytest.raises(ProbeFailed, match=words) as caught:
        await HttpProbe(2, reactor=reactor)(server.url)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_an_answer_that_ends_with_the_connection_is_whole(server: Server) -> None:
    server.script, server.closes = b"HTTP/1.1 200 OK\r\n\r\n{}", True
    await HttpProbe(5, reactor=reactor)(server.url)


@pytest_twisted.ensureDeferred
async def test_nobody_there() -> None:
    with pytest.raises(ProbeFailed, match="connection refused"):
        await HttpProbe(5, reactor=reactor)(f"http://{LOOPBACK}:{free_port('tcp')}/")


@pytest_twisted.ensureDeferred
async def test_a_probe_can_be_cancelled(server: Server) -> None:
    server.script = b""
    probing: Deferred[None] = Deferred.fromCoroutine(HttpProbe(30, reactor=reactor)(server.url))

    async def asked() -> bool:
        return len(server.requests) == 1

    await eventually(reactor, asked, "the request", 5)
    probing.cancel()
    with pytest.raises(CancelledError):
        await probing


def start_python(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program])


@pytest_twisted.ensureDeferred
async def test_a_stopped_process_is_out_and_comes_back() -> None:
    """SIGSTOP: the kernel still accepts connections for it, and nobody ever answers."""
    port = free_port("tcp")
    program = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        f"h.ThreadingHTTPServer(('{LOOPBACK}', {port}), H).serve_forever()\n"
    )
    process = start_python(program)
    address = ipaddress.ip_address(LOOPBACK)
    settings = HealthSettings(interval=0.2, timeout=0.2, down_after=3, up_after=2)
    proxy = ProxySettings(addresses=(address,), http=(f"tcp:{port}",), https=())
    health = Health(settings, proxy, reactor=reactor)

    async def healthy() -> bool:
        return health.healthy_addresses() == (address,) and health.verdicts()[0].reason == "answers"

    async def down() -> bool:
        return not health.healthy_addresses()

    try:
        await health.start()
        await eventually(reactor, healthy, "the proxy to be healthy", 10)
        os.kill(process.pid, signal.SIGSTOP)
        began = reactor.seconds()
        await eventually(reactor, down, "the frozen proxy to be out", 10)
        # Three intervals and a timeout, and some for a busy machine.
        assert reactor.seconds() - began < 3 * 0.2 + 0.2 + 2
        assert "no answer" in health.verdicts()[0].reason
        os.kill(process.pid, signal.SIGCONT)
        await eventually(reactor, healthy, "the proxy to come back", 10)
    finally:
        await health.stop()
        process.kill()
        process.wait(5)


@implementer(IOpenSSLContextFactory)
class DefaultCertificate:
    """What our proxy shows to a visitor who names no host."""

    def __init__(self) -> None:
        self._context = make_default_context(0.0, ())

    def getContext(self) -> SSL.Context:
        return self._context


@pytest_twisted.ensureDeferred
async def test_by_https_any_certificate_will_do_but_the_handshake_has_to_succeed(
    server: Server,
) -> None:
    listening = SSL4ServerEndpoint(reactor, 0, DefaultCertificate(), interface=LOOPBACK)
    port = await listening.listen(Factory.forProtocol(lambda: Scripted(server)))
    try:
        await HttpProbe(5, reactor=reactor)(f"https://{LOOPBACK}:{port.getHost().port}/health")
        assert len(server.requests) == 1
        with pytest.raises(ProbeFailed):
            await HttpProbe(0.5, reactor=reactor)(server.url.replace("http:", "https:"))
    finally:
        await eventually(reactor, server.closed, "the probe's connection to be closed", 5)
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_of_several_urls_each_has_to_answer(server: Server) -> None:
    probe = HttpProbe(5, reactor=reactor)
    await probe_all(probe, [server.url, server.url])
    closed = f"https://{LOOPBACK}:{free_port('tcp')}/"
    with pytest.raises(ProbeFailed, match=r"^https: connection refused$"):
        await probe_all(probe, [server.url, closed])


@pytest_twisted.ensureDeferred
async def test_a_reference_answers_when_any_address_accepts_a_connection(server: Server) -> None:
    assert server.port is not None
    host = server.port.getHost()
    assert isinstance(host, IPv4Address)
    address = ipaddress.ip_address(LOOPBACK)
    dead = (address, free_port("tcp"))
    assert await TcpReferences([dead, (address, host.port)], reactor=reactor).answers()
    assert not await TcpReferences([dead, dead], reactor=reactor).answers()
    assert not await TcpReferences([], reactor=reactor).answers()
