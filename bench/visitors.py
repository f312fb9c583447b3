"""Visitors of our own, for what no load generator does: handshakes alone, a steady pace, idling."""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Final

from bench.machine import BenchmarkError
from bench.peers import SMALL_BYTES, Proxy
from bench.registry import HOST
from tests.servers.ports import LOOPBACK


def _request(host: str) -> bytes:
    return f"GET /small HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\n\r\n".encode()


_REQUEST: Final = _request(HOST)
# Enough for the server to have the next one waiting.
_HANDSHAKE_THREADS: Final = 4
# The paced load: at 1,000 requests/s and some milliseconds each, a few of them are in use.
_PACED_CONNECTIONS: Final = 64
_ANSWER_SECONDS: Final = 10.0


def _context(alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is the bench's own; only the server's work is measured.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    return context


def _connect(proxy: Proxy, scheme: str) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, proxy.ports[scheme]), _ANSWER_SECONDS)
    # Or a request after a handshake waits 40 ms for the acknowledgement of the handshake's end.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_answer(connection: socket.socket) -> None:
    answer = b""
    while True:
        part = connection.recv(65536)
        if not part:
            raise BenchmarkError(f"the connection ended in an answer: {answer[:200]!r}")
        answer += part
        if _complete(answer):
            return


def _complete(answer: bytes) -> bool:
    """Whether it is all there; raises BenchmarkError if it is not the origin's."""
    if not b"HTTP/1.1 200 ".startswith(answer[:13]):
        raise BenchmarkError(f"not the origin's answer: {answer[:200]!r}")
    head, end, body = answer.partition(b"\r\n\r\n")
    # Caddy's and ours would be chunked if the origin's were; it is not.
    return bool(end) and len(body) >= SMALL_BYTES and b"chunked" not in head


def speaks_http2(proxy: Proxy) -> bool:
    """Return whether the proxy takes HTTP/2 over TLS."""
    with (
        _connect(proxy, "https") as plain,
        _context("h2").wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        return connection.selected_alpn_protocol() == "h2"


def handshakes(proxy: Proxy, seconds: float, *, resumed: bool) -> float:
    """Make TLS 1.3 handshakes and nothing else; return the server's CPU seconds for one.

    :raises BenchmarkError: a session was not resumed although it should, or the other way round.
    """
    context = _context("http/1.1")
    with (
        _connect(proxy, "https") as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        connection.sendall(_REQUEST)
        _read_answer(connection)  # tickets come before it
        session = connection.session if resumed else None
    proxy.finish()

    def make_some() -> int:
        made = 0
        while time.monotonic() < deadline:
            with (
                _connect(proxy, "https") as plain,
                context.wrap_socket(plain, server_hostname=HOST, session=session) as connection,
            ):
                if connection.session_reused is not resumed:
                    raise BenchmarkError(f"{proxy.name}: resumed: {connection.session_reused}")
                # Close and wait for the server to do so: then it has done its part in full.
                with suppress(OSError):
                    connection.unwrap()
            made += 1
        return made

    before = proxy.usage()
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(_HANDSHAKE_THREADS) as pool:
        running = [pool.submit(make_some) for _ in range(_HANDSHAKE_THREADS)]
        made = sum(future.result() for future in running)
    return (proxy.usage().serving - before.serving) / made


def paced(proxy: Proxy, rate: int, seconds: float, hosts: Sequence[str] = (HOST,)) -> list[float]:
    """Send ``rate`` requests a second, evenly, without waiting for answers; return the seconds that
    each took, sorted.

    :param hosts: visited in turn.

    A request for which no connection is free waits, and its time counts from when it was due.
    """
    took: list[float] = []
    requests = itertools.cycle(_request(host) for host in hosts)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(_connect(proxy, "http")) for _ in range(_PACED_CONNECTIONS)
        ]
        for connection in connections:
            connection.sendall(next(requests))  # the proxy's connections to the origin, too
        for connection in connections:
            _read_answer(connection)
        free = deque(connections)
        asked: dict[socket.socket, tuple[float, bytes]] = {}
        interval = 1 / rate
        begin = due = time.perf_counter()
        while asked or due < begin + seconds:
            now = time.perf_counter()
            if due < begin + seconds and now >= due and free:
                connection = free.popleft()
                # Our own lateness, microseconds of it, is not the server's.
                since = now if now - due < interval else due
                asked[connection] = (since, b"")
                connection.sendall(next(requests))
                due += interval
                continue
            patience = _ANSWER_SECONDS if due >= begin + seconds else max(0.0, due - now)
            # Not epoll: its time is in whole milliseconds.
            ready, _, _ = select.select(list(asked), [], [], patience if free else _ANSWER_SECONDS)
            now = time.perf_counter()
            for connection in ready:
                since, answer = asked.pop(connection)
                answer += connection.recv(65536)
                if _complete(answer):
                    took.append(now - since)
                    free.append(connection)
                else:
                    asked[connection] = (since, answer)
    proxy.finish()
    return sorted(took)


def idle_connections(proxy: Proxy, count: int) -> ExitStack:
    """Open TLS connections, let each make one request and then idle; closing the result ends
    them."""
    context = _context("http/1.1")
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(
                context.wrap_socket(_connect(proxy, "https"), server_hostname=HOST)
            )
            connection.sendall(_REQUEST)
            _read_answer(connection)
        return stack.pop_all()
