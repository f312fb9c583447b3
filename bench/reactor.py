"""What a request costs on the stock epoll reactor and on ours: CPU time of the serving process.

``python -m bench.reactor [ROUNDS]`` prints one table. 64 keep-alive connections send one small
request each and wait for the answer; load and origin are processes of their own, whose time is not
counted. The reactors take turns, so that what else the machine does falls on both alike; the
medians of the rounds count.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from twisted.internet import protocol, stdio
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from watchducks.model.origins import Origin
from watchducks.model.routing import Route
from watchducks.model.rows import Row
from watchducks.proxy.service import Proxy
from watchducks.settings import parse

CONNECTIONS: Final = 64
# One or two seconds of load a round: long enough to even out a neighbour's burst.
REQUESTS_PER_ROUND: Final = 20_000
WARM_UP_REQUESTS: Final = 4_000
ROUNDS: Final = 7

HOST: Final = "www.example.com"
REQUEST: Final = (
    b"GET /a/path?with=query HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench\r\n"
    b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, br\r\n\r\n"
)
BODY: Final = b"x" * 700
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 700\r\n\r\n"
) + BODY

REACTORS: Final = {"stock": "twisted.internet.epollreactor", "ours": "watchducks.reactor"}
WORKS: Final = {
    "echo": "64 bytes echoed",
    "answer": "request -> fixed answer of 700 bytes",
    "proxy": "HTTP -> HTTP origin, through watchducks.proxy",
    "datagram": "UDP: 64 bytes echoed",
}
DATAGRAM: Final = b"d" * 64


# --- the process that is measured ---


def serve(reactor_name: str, work: str, origin_port: int) -> None:
    """Serve ``work`` until the standard input ends; prints the port."""
    import_module(REACTORS[reactor_name]).install()
    loop: Any = import_module("twisted.internet.reactor")

    class Until(protocol.Protocol):
        def connectionLost(self, _reason: object = None) -> None:
            if loop.running:
                loop.stop()

    class Echo(protocol.Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data if work == "echo" else ANSWER)

    class EchoDatagrams(protocol.DatagramProtocol):
        transport: Any

        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            self.transport.write(datagram, addr)

    async def start() -> None:
        if work == "proxy":
            port = await _start_proxy(loop, origin_port)
        elif work == "datagram":
            port = loop.listenUDP(0, EchoDatagrams(), interface="127.0.0.1").getHost().port
        else:
            factory = protocol.Factory.forProtocol(Echo)
            port = loop.listenTCP(0, factory, 500, "127.0.0.1").getHost().port
        print(port, flush=True)

    def failed(why: Failure) -> None:
        why.printTraceback()
        loop.stop()

    def started() -> None:
        _ = Deferred.fromCoroutine(start()).addErrback(failed)

    stdio.StandardIO(Until())
    loop.callWhenRunning(started)
    loop.run()


async def _start_proxy(loop: Any, origin_port: int) -> int:
    route = Route(7, "ducks", HOST, Origin("http", ipaddress.ip_address("127.0.0.1"), origin_port))

    class Routes:
        def known(self, _host: str) -> Route:
            return route

        async def look_up(self, _host: str) -> Route:
            return route

    class Sink:
        def record(self, row: Row) -> None:
            """The journal is not what is measured."""

    settings = parse(
        {
            "node": {"name": "bench", "roles": ["proxy"], "data_dir": "/nonexistent"},
            "proxy": {"http": ["tcp:0:interface=127.0.0.1"], "https": []},
        }
    )
    certificates: Any = None  # no TLS here
    proxy = Proxy(settings, routes=Routes(), certificates=certificates, sink=Sink(), reactor=loop)
    await proxy.start()
    address: Any = proxy.bound_addresses["http"][0]
    return int(address.port)


def be_origin() -> None:
    """Answer every request (which arrives whole) with :data:`ANSWER`; prints the port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=500)
    print(listening.getsockname()[1], flush=True)
    poller = select.epoll()
    poller.register(listening, select.EPOLLIN)
    poller.register(sys.stdin, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _event in poller.poll():
            if fd == sys.stdin.fileno():
                return
            if fd == listening.fileno():
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poller.register(connection, select.EPOLLIN)
            elif connections[fd].recv(65536):
                connections[fd].send(ANSWER)
            else:
                connections.pop(fd).close()


# --- the load ---


class Load:
    """Connections that each send a request, wait for its answer, and send the next."""

    def __init__(self, work: str, port: int) -> None:
        kind = socket.SOCK_DGRAM if work == "datagram" else socket.SOCK_STREAM
        self._request = DATAGRAM if work in {"echo", "datagram"} else REQUEST
        self._poller = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            client = socket.socket(socket.AF_INET, kind)
            client.connect(("127.0.0.1", port))
            if kind == socket.SOCK_STREAM:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[client.fileno()] = client
            self._poller.register(client, select.EPOLLIN)

    def run(self, requests: int) -> None:
        """Return when ``requests`` have been answered."""
        last = DATAGRAM[-2:] if self._request is DATAGRAM else BODY[-2:]
        to_send = requests
        for client in self._sockets.values():
            client.send(self._request)
            to_send -= 1
        unanswered = requests
        while unanswered:
            events = self._poller.poll(10)
            assert events, "no answer for 10 s"
            for fd, _event in events:
                client = self._sockets[fd]
                data = client.recv(65536)
                assert data, "the connection was closed"
                if not data.endswith(last):
                    continue  # the rest follows
                unanswered -= 1
                if to_send:
                    to_send -= 1
                    client.send(self._request)


@dataclass
class Child:
    """A process of ours that said which port it listens on."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, *arguments: str) -> Child:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.reactor", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    def cpu_seconds(self) -> float:
        """User and system time so far: the kernel's CPU clock of another process."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def measure(work: str, rounds: int) -> dict[str, list[float]]:
    """Return CPU microseconds per request of each round, by reactor."""
    origin = Child.start("origin")
    servers = {name: Child.start("serve", name, work, str(origin.port)) for name in REACTORS}
    loads = {name: Load(work, server.port) for name, server in servers.items()}
    costs: dict[str, list[float]] = {name: [] for name in REACTORS}
    try:
        for load in loads.values():
            load.run(WARM_UP_REQUESTS)
        for _ in range(rounds):
            for name, load in loads.items():
                before = servers[name].cpu_seconds()
                load.run(REQUESTS_PER_ROUND)
                spent = servers[name].cpu_seconds() - before
                costs[name].append(spent / REQUESTS_PER_ROUND * 1e6)
    finally:
        for child in (*servers.values(), origin):
            child.stop()
    return costs


def main(rounds: int) -> None:
    print(f"CPU microseconds per request, {CONNECTIONS} connections, medians of {rounds} rounds\n")
    print("| work | stock epoll | ours | ours / stock |")
    print("|---|---|---|---|")
    for work, description in WORKS.items():
        costs = measure(work, rounds)
        stock, ours = (statistics.median(costs[name]) for name in ("stock", "ours"))
        print(f"| {description} | {stock:.1f} | {ours:.1f} | {ours / stock:.2f} |", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", reactor_name, work, origin_port]:
            serve(reactor_name, work, int(origin_port))
        case ["origin"]:
            be_origin()
        case rest:
            main(int(rest[0]) if rest else ROUNDS)
