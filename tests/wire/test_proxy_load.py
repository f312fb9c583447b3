"""What a proxy in a process of its own costs under large bodies and slow visitors.

The visitors and the origin are plain sockets in threads of this process: nothing here shares a
reactor with what is measured. ``WATCHDUCKS_LARGE_BODY_MIB=2048`` makes the bodies 2 GiB.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1024 * 1024
BODY_BYTES = int(os.environ.get("WATCHDUCKS_LARGE_BODY_MIB", "256")) * MIB
PIECE = b"0123456789abcdef" * 4096
# What a streaming proxy holds of one body: its own buffers (64 KiB a side and a read), with room
# for the allocator. Kernel buffers are not in it.
FLAT_BYTES = 16 * MIB

Serve = Callable[[socket.socket, bytes], None]


@contextmanager
def origin(serve: Serve) -> Iterator[int]:
    """Listen; each connection's first bytes go to ``serve``, in a thread of its own."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as listener:

        def handle(side: socket.socket) -> None:
            with closing(side), suppress(OSError):
                while data := side.recv(65536):
                    serve(side, data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    side, _ = listener.accept()
                    threading.Thread(target=handle, args=(side,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept


class ProxyProcess:
    """A running ``proxy_process.py``."""

    def __init__(self, origin_port: int) -> None:
        script = Path(__file__).with_name("proxy_process.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(origin_port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def memory(self) -> int:
        """Return the resident bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def proxy(origin_port: int) -> Iterator[ProxyProcess]:
    running = ProxyProcess(origin_port)
    try:
        with closing(running.connect()) as visitor:  # so that all is loaded before it is measured
            visitor.sendall(b"GET /warm HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            assert visitor.recv(65536).startswith(b"HTTP/1.1 ")
        yield running
    finally:
        running.stop()


def slowly(count: int) -> None:
    """Let the other side wait for a while, now and then."""
    if count % 64 == 0:
        time.sleep(0.005)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.timeout(60 + BODY_BYTES // (10 * MIB))
def test_a_large_download_to_a_slow_reader_takes_no_memory() -> None:
    def serve(side: socket.socket, data: bytes) -> None:
        if b"/warm" in data:
            side.sendall(OK)
            return
        side.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
        for _ in range(BODY_BYTES // len(PIECE)):
            side.sendall(PIECE)

    with origin(serve) as port, proxy(port) as running, closing(running.connect()) as visitor:
        before = running.memory()
        visitor.sendall(GET)
        head = b""
        while b"\r\n\r\n" not in head:
            head += visitor.recv(65536)
        received = len(head.partition(b"\r\n\r\n")[2])
        time.sleep(0.3)  # the origin fills whatever there is to fill
        most = count = 0
        while received < BODY_BYTES:
            piece = visitor.recv(262144)
            assert piece, f"cut off after {received} bytes"
            received += len(piece)
            count += 1
            if count % 64 == 0:
                most = max(most, running.memory())
            slowly(count)
        assert received == BODY_BYTES
        assert most - before < FLAT_BYTES


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.timeout(60 + BODY_BYTES // (10 * MIB))
def test_a_large_upload_to_a_slow_origin_takes_no_memory() -> None:
    taken = 0

    def serve(side: socket.socket, data: bytes) -> None:
        nonlocal taken
        if b"/warm" in data:
            side.sendall(OK)
            return
        while b"\r\n\r\n" not in data:
            data += side.recv(65536)
        taken = len(data.partition(b"\r\n\r\n")[2])
        time.sleep(0.3)
        count = 0
        while taken < BODY_BYTES and (piece := side.recv(262144)):
            taken += len(piece)
            count += 1
            slowly(count)
        side.sendall(OK)

    with origin(serve) as port, proxy(port) as running, closing(running.connect()) as visitor:
        before = running.memory()
        most = 0
        visitor.sendall(
            b"PUT / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES
        )
        for count in range(BODY_BYTES // len(PIECE)):
            visitor.sendall(PIECE)
            if count % 64 == 0:
                most = max(most, running.memory())
        assert visitor.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert taken == BODY_BYTES
        assert most - before < FLAT_BYTES


IDLE = 2500
DRIPPING = 2500
# Of one request among 5,000 slow connections; an undisturbed one takes 1 ms on this path.
SLOWEST_MEDIAN_SECONDS = 0.05


def one_request(running: ProxyProcess) -> float:
    """Return how long a new connection with one request takes."""
    began = time.monotonic()
    with closing(running.connect()) as visitor:
        visitor.sendall(GET)
        assert visitor.recv(65536).startswith(b"HTTP/1.1 200 ")
    return time.monotonic() - began


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.timeout(60)
def test_thousands_of_slow_visitors_do_not_delay_others() -> None:
    wanted = IDLE + DRIPPING + 500
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip(f"only {most} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))
    slow: list[socket.socket] = []
    try:
        with origin(lambda side, _: side.sendall(OK)) as port, proxy(port) as running:
            memory_before = running.memory()
            for number in range(IDLE + DRIPPING):
                visitor = running.connect()
                slow.append(visitor)
                if number % 4 == 1:
                    visitor.sendall(b"GET / HTTP/1.1\r\nHost: www.exa")
                elif number % 4 == 3:
                    visitor.sendall(b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length")
            assert sorted(one_request(running) for _ in range(50))[25] < SLOWEST_MEDIAN_SECONDS
            # Now half of them drip, a byte each, while others ask.
            took = []
            dripping = slow[1::2]
            for start in range(0, len(dripping), 250):
                for visitor in dripping[start : start + 250]:
                    visitor.sendall(b"m")
                took.append(one_request(running))
            assert sorted(took)[len(took) // 2] < SLOWEST_MEDIAN_SECONDS
            assert max(took) < 1.0
            per_connection = (running.memory() - memory_before) / len(slow)
            assert per_connection < 20 * 1024
    finally:
        for visitor in slow:
            visitor.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
