"""Visitors who notice everything: ``python -m bench.steady ADDRESS HOST [options]``.

They come without a pause, in every way that visitors come, until standard input is closed, and
count what was answered and what was not; that is one JSON document at the end. ``bench.swaps`` and
the system tests run them beside a swap of versions. With ``--origin`` it is the server of the
visited site instead.

A request on a kept connection that is closed without a single octet of an answer is sent again,
once, on a new one, as every browser does (RFC 9112 section 9.3.1); it counts as ``again``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions

# Longer than any visitor waits; what takes it has failed.
PATIENCE_SECONDS: Final = 20.0
# What a resolver gives a datagram before it asks again, which no visitor here does.
DNS_SECONDS: Final = 5.0
DOWNLOAD_BYTES: Final = 200 * 1024 * 1024
# Slow enough to be under way while one version takes over from the other.
DOWNLOAD_BYTES_PER_SECOND: Final = 25 * 1024 * 1024
_PIECE: Final = 64 * 1024
_BODY: Final = b"quack " * 116
_PAUSE: Final = 0.002  # between two requests of one visitor: the machine is not only his
_WEBSOCKET_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ERRORS_KEPT: Final = 20
# A WebSocket is closed after so many messages, and opened anew.
_MESSAGES: Final = 30
_STREAMS: Final = 50  # of one HTTP/2 connection

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Unanswered(Exception):
    """What a visitor notices."""


# What ends a visit without an answer; anything else is a mistake of ours.
_NOTICED: Final = (OSError, Unanswered, EOFError, ValueError, h2.exceptions.ProtocolError)


class ClosedUnused(Exception):
    """A kept connection ended before anything of an answer came."""


@dataclass
class Tally:
    """:ivar done: kind -> requests answered as they should be.
    :ivar rows: requests of which the site's owner should have a row.
    :ivar resumed: TLS handshakes that resumed a session.
    """

    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    rows: int = 0
    handshakes: int = 0
    resumed: int = 0
    slowest_ms: dict[str, float] = field(default_factory=dict)

    def fail(self, kind: str, error: BaseException) -> None:
        self.failed[kind] += 1
        if len(self.errors) < _ERRORS_KEPT:
            when = time.strftime("%H:%M:%S")
            self.errors.append(f"{when} {kind}: {type(error).__name__}: {error}")

    def succeed(self, kind: str, began: float, *, row: bool = True) -> None:
        self.done[kind] += 1
        self.rows += row
        took = (time.monotonic() - began) * 1000
        self.slowest_ms[kind] = round(max(took, self.slowest_ms.get(kind, 0.0)), 1)


class Visitors:
    def __init__(self, address: str, host: str, ports: Sequence[int], tally: Tally) -> None:
        """:param ports: of http, https and dns."""
        self.address = address
        self.http, self.https, self.dns = ports
        self.host = host
        self.tally = tally
        self.stopping = asyncio.Event()
        self._request = f"GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._h2 = ssl.create_default_context()
        self._h2.check_hostname = False
        self._h2.verify_mode = ssl.CERT_NONE
        self._h2.set_alpn_protocols(["h2"])

    async def run(self, kind: str, visit: Callable[[], Awaitable[None]]) -> None:
        """Visit again and again until the end; each visit counts its own requests."""
        while not self.stopping.is_set():
            try:
                await visit()
            except _NOTICED as error:
                self.tally.fail(kind, error)
            await asyncio.sleep(_PAUSE)

    async def _connect(self, port: int, **tls: Any) -> tuple[Reader, Writer]:
        return await asyncio.wait_for(
            asyncio.open_connection(self.address, port, **tls), PATIENCE_SECONDS
        )

    async def _ask(self, reader: Reader, writer: Writer) -> bool:
        """Send one request and read its answer; return whether the connection is kept."""
        writer.write(self._request)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Unanswered(f"a head broke off: {error.partial[:60]!r}") from None
            raise ClosedUnused from None
        except ConnectionError:
            raise ClosedUnused from None
        status, fields = _head(head)
        body = await asyncio.wait_for(
            reader.readexactly(int(fields.get("content-length", "0"))), PATIENCE_SECONDS
        )
        if status != 200 or body != _BODY:
            raise Unanswered(f"status {status}: {body[:120]!r}")
        return fields.get("connection", "").lower() != "close"

    async def fresh(self) -> None:
        """A connection a request."""
        began = time.monotonic()
        reader, writer = await self._connect(self.http)
        try:
            await self._ask(reader, writer)
            self.tally.succeed("fresh", began)
        except ClosedUnused:
            raise Unanswered("a new connection was closed without an answer") from None
        finally:
            await _close(writer)

    async def kept(self) -> None:
        """One connection, until it is closed."""
        reader, writer = await self._connect(self.http)
        first = True
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                try:
                    kept = await self._ask(reader, writer)
                except ClosedUnused:
                    if first:
                        raise Unanswered("a new connection was closed without an answer") from None
                    self.tally.again["kept"] += 1
                    await self._once_more(began)
                    return
                first = False
                self.tally.succeed("kept", began)
                if not kept:
                    return
                await asyncio.sleep(_PAUSE)
        finally:
            await _close(writer)

    async def _once_more(self, began: float) -> None:
        reader, writer = await self._connect(self.http)
        try:
            await self._ask(reader, writer)
            self.tally.succeed("kept", began)
        except ClosedUnused:
            raise Unanswered("closed without an answer, twice") from None
        finally:
            await _close(writer)

    async def tls(self) -> None:
        """A handshake a request."""
        began = time.monotonic()
        reader, writer = await self._connect(
            self.https, ssl=self._context, server_hostname=self.host
        )
        try:
            self.tally.handshakes += 1
            await self._ask(reader, writer)
            self.tally.succeed("tls", began)
        except ClosedUnused:
            raise Unanswered("a new connection was closed without an answer") from None
        finally:
            await _close(writer)

    async def resumed(self) -> None:
        """A session is resumed on each following connection: is it, by the next version, too?"""
        loop = asyncio.get_running_loop()
        session: Any = None
        for _ in range(10):
            if self.stopping.is_set():
                return
            began = time.monotonic()
            session, was = await loop.run_in_executor(None, self._resume, session)
            self.tally.handshakes += 1
            self.tally.resumed += was
            self.tally.succeed("resumed", began)
            await asyncio.sleep(0.1)

    def _resume(self, session: Any) -> tuple[Any, bool]:
        context = self._context
        with (
            socket.create_connection((self.address, self.https), PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=self.host, session=session) as tls,
        ):
            tls.sendall(self._request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            content = b""
            while piece := tls.recv(65536):
                content += piece
            if not content.startswith(b"HTTP/1.1 200"):
                raise Unanswered(f"by TLS: {content[:120]!r}")
            return tls.session, bool(tls.session_reused)

    async def http2(self) -> None:
        """Requests one after another on one connection; a GOAWAY is obeyed."""
        reader, writer = await self._connect(self.https, ssl=self._h2, server_hostname=self.host)
        connection = h2.connection.H2Connection(
            config=h2.config.H2Configuration(header_encoding="utf-8")
        )
        frames = _Frames(connection)
        try:
            connection.initiate_connection()
            for _ in range(_STREAMS):
                if self.stopping.is_set():
                    break
                began = time.monotonic()
                if not await self._stream(connection, frames, reader, writer):
                    self.tally.again["http2"] += 1
                    return
                self.tally.succeed("http2", began)
                if connection.state_machine.state is h2.connection.ConnectionState.CLOSED:
                    return
                await asyncio.sleep(_PAUSE)
        finally:
            await _close(writer)

    async def _stream(
        self,
        connection: h2.connection.H2Connection,
        frames: _Frames,
        reader: Reader,
        writer: Writer,
    ) -> bool:
        """Make one request; False: it was not processed, as a GOAWAY or the close said."""
        stream = connection.get_next_available_stream_id()
        connection.send_headers(
            stream,
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", self.host),
                (":path", "/page"),
            ],
            end_stream=True,
        )
        writer.write(connection.data_to_send())
        answer = _Answer(stream)
        while not answer.ended:
            try:
                data = await asyncio.wait_for(reader.read(65536), PATIENCE_SECONDS)
            except ConnectionError:
                data = b""
            if not data:
                if answer.status:
                    raise Unanswered("an answer by HTTP/2 broke off")
                return False
            for event in frames.events(data):
                answer.take(event, connection)
            with contextlib.suppress(ConnectionError):
                writer.write(connection.data_to_send())
            if answer.refused:
                return False
        if answer.status != "200" or answer.body != _BODY:
            raise Unanswered(f"status {answer.status} by HTTP/2: {answer.body[:120]!r}")
        if answer.goaway:
            connection.state_machine.state = h2.connection.ConnectionState.CLOSED
        return True

    async def websocket(self) -> None:
        """Messages back and forth for some seconds."""
        began = time.monotonic()
        reader, writer = await self._connect(self.http)
        try:
            key = base64.b64encode(secrets.token_bytes(16)).decode()
            writer.write(
                f"GET /echo HTTP/1.1\r\nHost: {self.host}\r\nConnection: Upgrade\r\n"
                f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}"
                "\r\n\r\n".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
            if _head(head)[0] != 101:
                raise Unanswered(f"no WebSocket: {head[:60]!r}")
            for _ in range(_MESSAGES):
                message = secrets.token_bytes(40)
                writer.write(message)
                echo = await asyncio.wait_for(reader.readexactly(40), PATIENCE_SECONDS)
                if echo != message:
                    raise Unanswered("a WebSocket brought back something else")
                await asyncio.sleep(0.1)
            self.tally.succeed("websocket", began)
        finally:
            await _close(writer)

    async def download(self) -> None:
        """200 MB, slowly."""
        began = time.monotonic()
        reader, writer = await self._connect(self.http)
        try:
            writer.write(f"GET /download HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
            if _head(head)[0] != 200:
                raise Unanswered(f"no download: {head[:60]!r}")
            got = 0
            while got < DOWNLOAD_BYTES:
                piece = await asyncio.wait_for(reader.read(_PIECE), PATIENCE_SECONDS)
                if not piece:
                    raise Unanswered(f"a download broke off after {got} octets")
                got += len(piece)
                ahead = got / DOWNLOAD_BYTES_PER_SECOND - (time.monotonic() - began)
                if ahead > 0:
                    await asyncio.sleep(ahead)
            self.tally.succeed("download", began)
        finally:
            await _close(writer)

    async def dns_tcp(self) -> None:
        began = time.monotonic()
        reader, writer = await self._connect(self.dns)
        try:
            for number in range(5):
                question, id_ = self._question()
                writer.write(struct.pack("!H", len(question)) + question)
                try:
                    (size,) = struct.unpack(
                        "!H", await asyncio.wait_for(reader.readexactly(2), PATIENCE_SECONDS)
                    )
                except (asyncio.IncompleteReadError, ConnectionError):
                    if number == 0:
                        raise Unanswered("TCP closed without an answer") from None
                    # RFC 7766 section 6.2.4: the question is asked again on a new connection.
                    self.tally.again["dns-tcp"] += 1
                    return
                answer = await asyncio.wait_for(reader.readexactly(size), PATIENCE_SECONDS)
                self._check(answer, id_)
                self.tally.succeed("dns-tcp", began, row=False)
                began = time.monotonic()
                await asyncio.sleep(0.02)
        finally:
            await _close(writer)

    async def dns_udp(self) -> None:
        """One socket, one question after another; none is asked again."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        class Asking(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _addr: Any) -> None:
                answers.put_nowait(data)

        transport, _ = await loop.create_datagram_endpoint(
            Asking, remote_addr=(self.address, self.dns)
        )
        try:
            for _i in range(200):
                if self.stopping.is_set():
                    return
                began = time.monotonic()
                question, id_ = self._question()
                transport.sendto(question)
                self._check(await asyncio.wait_for(answers.get(), DNS_SECONDS), id_)
                self.tally.succeed("dns-udp", began, row=False)
                await asyncio.sleep(_PAUSE * 2)
        finally:
            transport.close()

    def _question(self) -> tuple[bytes, int]:
        id_ = secrets.randbelow(65536)
        name = b"".join(bytes([len(label)]) + label.encode() for label in self.host.split("."))
        return struct.pack("!6H", id_, 0, 1, 0, 0, 0) + name + b"\0\0\1\0\1", id_

    @staticmethod
    def _check(answer: bytes, id_: int) -> None:
        found, flags, _, answers = struct.unpack("!4H", answer[:8])
        if found != id_ or flags & 15 or not answers:
            raise Unanswered(f"the answer to a question: {answer[:12].hex()}")


@dataclass
class _Answer:
    """One stream's answer by HTTP/2.

    :ivar goaway: this is the last one of its connection.
    :ivar refused: the request was not processed, and may be sent again.
    """

    stream: int
    status: str = ""
    body: bytes = b""
    goaway: bool = False
    refused: bool = False
    ended: bool = False

    def take(self, event: Any, connection: h2.connection.H2Connection) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.status = _text(dict(event.headers or []), ":status")
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data or b""
            connection.acknowledge_received_data(event.flow_controlled_length or 0, self.stream)
        elif isinstance(event, h2.events.StreamReset):
            raise Unanswered(f"a stream was reset: {event.error_code}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = True
            self.refused = (event.last_stream_id or 0) < self.stream
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True


def _text(headers: Mapping[Any, Any], name: str) -> str:
    """Return a field's value: h2's types say bytes, whatever it was told to decode to."""
    return str(headers[name])


class _Frames:
    """A connection's octets, frame by frame, because h2 refuses what follows a GOAWAY."""

    def __init__(self, connection: h2.connection.H2Connection) -> None:
        self._connection = connection
        self._waiting = b""

    def events(self, data: bytes) -> Iterator[Any]:
        """Return what happened; the streams before a GOAWAY go on, as RFC 9113 section 6.8 says."""
        machine, states = self._connection.state_machine, h2.connection.ConnectionState
        self._waiting += data
        while len(self._waiting) >= 9:
            size = 9 + int.from_bytes(self._waiting[:3], "big")
            if len(self._waiting) < size:
                return
            frame, self._waiting = self._waiting[:size], self._waiting[size:]
            yield from self._connection.receive_data(frame)
            if machine.state is states.CLOSED:
                machine.state = states.CLIENT_OPEN


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    return int(head.split(b" ", 2)[1]), _fields(head)


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {name.lower(): value for name, value in fields.items()}


async def _close(writer: Writer) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 2)


# --- the site's own server ----------------------------------------------------------------------


async def _serve(reader: Reader, writer: Writer) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/echo":
                await _echo(head, reader, writer)
                return
            length = DOWNLOAD_BYTES if path == b"/download" else len(_BODY)
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: text/plain"
                "\r\n\r\n".encode()
            )
            if path == b"/download":
                piece = bytes(_PIECE)
                for _ in range(DOWNLOAD_BYTES // _PIECE):
                    writer.write(piece)
                    await writer.drain()
            else:
                writer.write(_BODY)
    except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # the visitor is gone, or we are
    finally:
        writer.close()


async def _echo(head: bytes, reader: Reader, writer: Writer) -> None:
    key = _fields(head)["sec-websocket-key"]
    accept = base64.b64encode(
        hashlib.sha1(f"{key}{_WEBSOCKET_GUID}".encode(), usedforsecurity=False).digest()
    ).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while data := await reader.read(65536):
        writer.write(data)


async def _until_eof() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


async def _origin(address: str, port: int) -> None:
    server = await asyncio.start_server(_serve, address, port, backlog=1024)
    print("ready", flush=True)
    await _until_eof()
    server.close()


async def _say(tally: Tally, stopping: asyncio.Event) -> None:
    """Say once a second how many requests were answered."""
    while not stopping.is_set():
        print(sum(tally.done.values()), flush=True)
        await asyncio.sleep(1)


async def _visit(options: argparse.Namespace) -> None:
    tally = Tally()
    visitors = Visitors(options.address, options.host, options.ports, tally)
    ways = {
        "fresh": (visitors.fresh, 2),
        "kept": (visitors.kept, options.kept),
        "tls": (visitors.tls, 1),
        "resumed": (visitors.resumed, 1),
        "http2": (visitors.http2, 2),
        "websocket": (visitors.websocket, 2),
        "download": (visitors.download, 1),
        "dns-udp": (visitors.dns_udp, 2),
        "dns-tcp": (visitors.dns_tcp, 1),
    }
    began = time.monotonic()
    print("ready", flush=True)
    tasks = [
        asyncio.create_task(visitors.run(kind, visit))
        for kind, (visit, count) in ways.items()
        if not options.only or kind in options.only
        for _ in range(count)
    ]
    tasks.append(asyncio.create_task(_say(tally, visitors.stopping)))
    stop = asyncio.create_task(_until_eof())
    stop.add_done_callback(lambda _: visitors.stopping.set())
    try:
        await asyncio.wait_for(asyncio.shield(stop), options.seconds)
    except TimeoutError:
        visitors.stopping.set()
    await asyncio.gather(*tasks)
    print(
        json.dumps(
            {
                "seconds": round(time.monotonic() - began, 1),
                "done": dict(tally.done),
                "failed": dict(tally.failed),
                "again": dict(tally.again),
                "rows": tally.rows,
                "handshakes": tally.handshakes,
                "resumed": tally.resumed,
                "slowest_ms": tally.slowest_ms,
                "errors": tally.errors,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.steady")
    parser.add_argument("address", help="of the appliance, with ports 53, 80 and 443")
    parser.add_argument("host", nargs="?", default="", help="a registered site")
    parser.add_argument("--origin", type=int, metavar="PORT", help="be the site's server")
    parser.add_argument("--kept", type=int, default=6, help="visitors with kept connections")
    parser.add_argument("--only", nargs="+", help="only these kinds of visitors")
    parser.add_argument(
        "--ports", nargs=3, type=int, default=(80, 443, 53), metavar=("HTTP", "HTTPS", "DNS")
    )
    parser.add_argument("--seconds", type=float, default=1800, help="stop then, at the latest")
    options = parser.parse_args()
    asyncio.run(_origin(options.address, options.origin) if options.origin else _visit(options))


if __name__ == "__main__":
    main()
