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
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.servers.ports import free_port
from tests.servers.waiting import eventually
from watchducks.health.probe import MAX_BODY_OCTETS, HttpProbe, ProbeFailed
from watchducks.health.prober import Health
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
        (b"", False, "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", False, "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\n", False, "no answer within 0.3 s"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_bad_answer_is_told_in_a_few_words(
    server: Server, script: bytes, closes: bool, words: str
) -> None:
    server.script, server.closes = script, closes
    with pytest.raises(ProbeFailed, match=words) as caught:
        await HttpProbe(0.3, reactor=reactor)(server.url)
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
    proxy = ProxySettings(addresses=(address,), http=(f"tcp:{port}",))
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
