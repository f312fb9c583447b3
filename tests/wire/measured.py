"""A proxy in a process of its own, beside plain sockets: nothing here shares a reactor with what is
measured, and nothing sleeps. For tests and benchmarks.

A body is poured into one end and drained from the other by two threads. The drain takes some only
while the pour is stuck, so that it is always the slower one: all that lies between is full.
"""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.wire.proxying import HOST

MIB: Final = 1024 * 1024
GET: Final = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_PIECE: Final = b"0123456789abcdef" * 4096
# What is drained at a time: more than all buffers between two processes, so that it is felt.
_STEP_BYTES: Final = MIB
# For anything to happen at all.
_PATIENCE_SECONDS: Final = 60.0


class ProxyProcess:
    """A running ``proxy_process.py``."""

    def __init__(self, origin_port: int, addresses: int) -> None:
        script = Path(__file__).with_name("proxy_process.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(origin_port), str(addresses)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ports = [int(port) for port in self._process.stdout.readline().split()]
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    def resident_bytes(self) -> int:
        """Return what it holds now."""
        return self._status("VmRSS:")

    def peak_bytes(self) -> int:
        """Return the most that it held since :meth:`forget_peak`."""
        return self._status("VmHWM:")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split(name)[1].split()[0]) * 1024

    def forget_peak(self) -> None:
        """Begin :meth:`peak_bytes` anew."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def connect(self, *, https: bool = False) -> socket.socket:
        """Connect to the http port, or the https port without shaking hands."""
        return socket.create_connection(("127.0.0.1", self.ports[https]), _PATIENCE_SECONDS)

    def ask(self, *, https: bool = False) -> None:
        """Make one request on a new connection."""
        with closing(self.connect(https=https)) as plain:
            if https:
                with closing(self._tls.wrap_socket(plain, server_hostname=HOST)) as visitor:
                    _ask(visitor)
            else:
                _ask(plain)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _ask(visitor: socket.socket) -> None:
    visitor.sendall(GET)
    got = visitor.recv(65536)
    assert got.startswith(b"HTTP/1.1 200 "), got


@contextmanager
def proxy(origin_port: int, addresses: int = 0) -> Iterator[ProxyProcess]:
    """Run one, and ask it something, so that all is loaded before it is measured."""
    running = ProxyProcess(origin_port, addresses)
    try:
        for https in (False, True):
            running.ask(https=https)
        yield running
    finally:
        running.stop()


@contextmanager
def origin(serve: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Listen; each connection's first bytes, and those after it was served, go to ``serve``, in a
    thread of its own."""
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


def pour(side: socket.socket, size: int, stuck: threading.Event) -> None:
    """Send ``size`` bytes; ``stuck`` is set while no more is taken, and at the end."""
    sent = 0
    while sent < size:
        if not select.select([], [side], [], 0)[1]:
            stuck.set()
            assert select.select([], [side], [], _PATIENCE_SECONDS)[1], "nobody takes it"
            stuck.clear()
        sent += side.send(_PIECE[: size - sent], socket.MSG_DONTWAIT)
    stuck.set()


def drain(side: socket.socket, size: int, stuck: threading.Event) -> None:
    """Receive ``size`` bytes, some at a time, whenever whoever pours is ``stuck``."""
    received = 0
    while received < size:
        assert stuck.wait(_PATIENCE_SECONDS), "it is never full"
        until = min(size, received + _STEP_BYTES)
        while received < until:
            piece = side.recv(min(65536, until - received))
            assert piece, f"cut off after {received} bytes"
            received += len(piece)


def download(size: int) -> tuple[int, int]:
    """Let a visitor read ``size`` bytes more slowly than the origin sends them.

    Returns what the proxy held before, and the most that it held meanwhile.
    """
    stuck = threading.Event()

    def serve(side: socket.socket, data: bytes) -> None:
        if data.startswith(b"GET /large "):
            side.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            pour(side, size, stuck)
        else:
            side.sendall(OK)

    with origin(serve) as port, proxy(port) as running, closing(running.connect()) as visitor:
        before = _begin(running)
        visitor.sendall(GET.replace(b"GET / ", b"GET /large "))
        _read_head(visitor)
        drain(visitor, size, stuck)
        return before, running.peak_bytes()


def upload(size: int) -> tuple[int, int]:
    """Let an origin read ``size`` bytes more slowly than a visitor sends them; as above."""
    stuck = threading.Event()

    def serve(side: socket.socket, data: bytes) -> None:
        if data.startswith(b"PUT "):
            while b"\r\n\r\n" not in data:
                data += side.recv(65536)
            drain(side, size - len(data.partition(b"\r\n\r\n")[2]), stuck)
        side.sendall(OK)

    with origin(serve) as port, proxy(port) as running, closing(running.connect()) as visitor:
        before = _begin(running)
        head = GET.replace(b"GET ", b"PUT ")[:-2] + b"Content-Length: %d\r\n\r\n" % size
        visitor.sendall(head)
        pour(visitor, size, stuck)
        assert visitor.recv(65536).startswith(b"HTTP/1.1 200 ")
        return before, running.peak_bytes()


def _begin(running: ProxyProcess) -> int:
    running.forget_peak()
    return running.resident_bytes()


def _read_head(visitor: socket.socket) -> None:
    """Read to the end of a head, and nothing after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += visitor.recv(1)
        assert len(head) < 65536
