"""What a proxy in a process of its own costs under large bodies, and others under slow visitors."""

from __future__ import annotations

import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from statistics import mean, median

import pytest

from tests.wire.measured import MIB, OK, ProxyProcess, download, proxy, upload
from tests.wire.proxying import HOST

# bench/bodies.py does the same with 2 GiB.
BODY_BYTES = 256 * MIB
# What a streaming proxy holds of one body: its own buffers (64 KiB a side and a read), with room
# for the allocator. Kernel buffers are not in it.
FLAT_BYTES = 16 * MIB

# Connections that are opened and then drip, or say nothing.
SLOW = 5000
# Requests of others meanwhile, and how many of the slow ones send a byte between two of them.
ASKED, DRIPPING_BETWEEN = 200, 10
# Origins that the bodies are for, so that all of them are held at the same time.
ORIGINS = 25
# Beside a proxy that has no slow visitors: as long again, and what 10 more bytes to be read and
# 5,000 limits to be looked through cost a shared machine.
TIMES_SLOWER, SECONDS_SLOWER = 2.0, 0.003


@pytest.mark.timeout(120)
@pytest.mark.parametrize("carry", [download, upload])
def test_a_large_body_to_a_slow_reader_takes_no_memory(
    carry: Callable[[int], tuple[int, int]],
) -> None:
    before, peak = carry(BODY_BYTES)
    assert peak - before < FLAT_BYTES


@contextmanager
def quiet_origin() -> Iterator[int]:
    """Listen on all of 127.0.0.0/8, and answer GET; one thread for thousands of connections."""
    with closing(socket.create_server(("", 0), backlog=4096)) as listener:
        waker, woken = socket.socketpair()
        thread = threading.Thread(target=_answer, args=(listener, woken))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            waker.close()
            thread.join()
            woken.close()


def _answer(listener: socket.socket, woken: socket.socket) -> None:
    sides = {one.fileno(): one for one in (listener, woken)}
    with closing(select.epoll()) as poll:
        for number in sides:
            poll.register(number, select.EPOLLIN)
        while True:
            for number, _ in poll.poll():
                side = sides[number]
                if side is woken:
                    for accepted in islice(sides.values(), 2, None):
                        accepted.close()
                    return
                if side is listener:
                    accepted = listener.accept()[0]
                    sides[accepted.fileno()] = accepted
                    poll.register(accepted.fileno(), select.EPOLLIN)
                    continue
                data = b""
                with suppress(OSError):
                    data = side.recv(65536)
                    if data.startswith(b"GET "):
                        side.sendall(OK)
                if not data:
                    sides.pop(number).close()


def _client_hello() -> bytes:
    from OpenSSL import SSL

    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(HOST.encode())
    with suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def heads(number: int) -> tuple[bytes, bytes]:
    head = f"GET /{number} HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode()
    return (head, b"m") if number % 2 else (b"", b"")


def bodies(number: int) -> tuple[bytes, bytes]:
    host = f"{1 + number % ORIGINS}.example".encode()
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 1000000\r\n\r\nbegun" % host
    return head, b"m" if number % 2 else b""


HELLO = _client_hello()


def handshakes(number: int) -> tuple[bytes, bytes]:
    # Every tenth one gets as far as our answer, and leaves its own unfinished.
    return (HELLO, b"") if number % 10 == 0 else (HELLO[:20], HELLO[20:21])


Slow = Callable[[int], tuple[bytes, bytes]]


@contextmanager
def enough_files(wanted: int) -> Iterator[None]:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip(f"only {most} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def seconds(running: ProxyProcess, *, https: bool) -> float:
    """Return how long one request on a new connection takes."""
    began = time.monotonic()
    running.ask(https=https)
    return time.monotonic() - began


@pytest.mark.timeout(120)
@pytest.mark.parametrize("slow", [heads, bodies, handshakes])
def test_thousands_of_slow_visitors_do_not_delay_others(slow: Slow) -> None:
    https = slow is handshakes
    visitors: list[socket.socket] = []
    with (
        enough_files(2 * SLOW + 1000),
        quiet_origin() as port,
        proxy(port) as control,
        proxy(port, ORIGINS) as running,
    ):
        try:
            before = running.resident_bytes()
            for number in range(SLOW):
                visitor = running.connect(https=https)
                visitors.append(visitor)
                visitor.sendall(slow(number)[0])
            drips = ((visitor, slow(number)[1]) for number, visitor in enumerate(visitors))
            dripping = ((visitor, drip) for visitor, drip in drips if drip)
            running.ask(https=https)  # when it is answered, all that was sent before has been read
            alone, among = [], []
            for _ in range(ASKED):
                for visitor, drip in islice(dripping, DRIPPING_BETWEEN):
                    visitor.sendall(drip)
                among.append(seconds(running, https=https))
                alone.append(seconds(control, https=https))
            for middle in (median, mean):
                limit = TIMES_SLOWER * middle(alone) + SECONDS_SLOWER
                assert middle(among) < limit, (among, alone)
            # All of them are still there, and were not refused: it is they who are waited for.
            waiting = select.poll()
            for visitor in visitors:
                waiting.register(visitor, select.POLLIN | select.POLLHUP)
            spoken = len(waiting.poll(0))
            assert spoken == (SLOW // 10 if https else 0)
            assert (running.resident_bytes() - before) / SLOW < 50 * 1024
        finally:
            for visitor in visitors:
                visitor.close()
