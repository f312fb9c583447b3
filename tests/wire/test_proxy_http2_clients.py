"""HTTP/2 as others speak it: curl and h2load against a real listener."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet.interfaces import IPushProducer
from twisted.internet.utils import getProcessOutputAndValue
from zope.interface import implementer

from tests.servers.process import find_program
from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, Running, running

MIB = 1024 * 1024


async def run_program(program: str, *arguments: str) -> str:
    """Run a program to its end; return its output."""
    out, err, code = await getProcessOutputAndValue(
        find_program(program), arguments, env=dict(os.environ)
    )
    text: str = (out + err).decode(errors="replace")
    assert code == 0, text[-2000:]
    return text


async def curl(run: Running, path: str, *arguments: str) -> str:
    run.certificates.hold(run.authority, HOST)
    url = f"https://{HOST}:{run.https_port}"
    where = f"{HOST}:{run.https_port}:127.0.0.1"
    paths = [part for one in path.split() for part in ("-o", "/dev/null", url + one)]
    return await run_program("curl", "-sSk", "--http2", "--resolve", where, *arguments, *paths)


@implementer(IPushProducer)
class _Endless:
    """Sends ``size`` bytes as fast as the transport takes them."""

    def __init__(self, transport: Any, size: int) -> None:
        self._transport = transport
        self._left = size
        self._paused = True

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left and not self._paused:
            piece = min(self._left, 65_536)
            self._left -= piece
            self._transport.write(bytes(piece))
        if not self._left:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        self._left = 0


def _sends(size: int) -> Callable[[OriginSide, bytes], None]:
    def answer(side: OriginSide, _head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        producer = _Endless(side.transport, size)
        side.transport.registerProducer(producer, True)
        producer.resumeProducing()

    return answer


@pytest_twisted.ensureDeferred
async def test_curl_gets_and_posts(tmp_path: Path) -> None:
    body = bytes(range(256)) * 8000  # 2 MB: many windows
    (tmp_path / "body").write_bytes(body)

    def answer(side: OriginSide, head: bytes) -> None:
        if head.startswith(b"GET"):
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            return

        def more() -> None:
            if len(side.extra) == len(body):
                side.on_extra = lambda: None
                side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        side.on_extra = more

    async with running(answer) as run:
        wanted = "%{http_version} %{http_code} %{size_download}\n"
        assert await curl(run, "/", "-w", wanted) == "2 200 5\n"
        sent = f"@{tmp_path / 'body'}"
        seen = await curl(run, "/up", "-w", wanted, "-X", "PUT", "--data-binary", sent)
        assert seen == f"2 200 {len(body)}\n"
        await run.until_rows(2)
        assert run.origin.connections[-1].extra == body
        assert [(row.protocol, row.status, row.request_bytes) for row in run.rows] == [
            ("HTTP/2", 200, 0),
            ("HTTP/2", 200, len(body)),
        ]


@pytest_twisted.ensureDeferred
async def test_slow_readers_of_large_answers_take_no_memory() -> None:
    size, count = 24 * MIB, 8
    async with running(_sends(size)) as run:
        await curl(run, "/warm")
        before = _forget_highest()
        arguments = ("--parallel", "--parallel-max", "8", "--limit-rate", "12M")
        paths = " ".join(f"/{number}" for number in range(count))
        seen = await curl(run, paths, *arguments, "-w", "%{http_version} %{size_download}\n")
        assert seen.split("\n").count(f"2 {size}") == count
        grown = _status("VmHWM") - before
        assert grown < 16 * MIB, f"{grown / MIB:.1f} MiB"
        rows = await run.until_rows(count + 1)
        assert {row.response_bytes for row in rows} == {size}


def _forget_highest() -> int:
    """Let VmHWM begin again; return what it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def _status(key: str) -> int:
    """Return a figure of this process in bytes."""
    match = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


@pytest_twisted.ensureDeferred
async def test_h2load_misses_nothing() -> None:
    count = 1000

    def answer(side: OriginSide, _head: bytes) -> None:
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n" + bytes(700))

    async with running(answer) as run:
        run.certificates.hold(run.authority, HOST)
        seen = await run_program(
            "h2load",
            *("-n", str(count), "-c", "2", "-m", "32", f"--connect-to=127.0.0.1:{run.https_port}"),
            f"https://{HOST}:{run.https_port}/",
        )
        assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in seen
        assert "Application protocol: h2" in seen
        rows = await run.until_rows(count)
        assert len(rows) == count
        # One each for those under way at a time; they are kept.
        assert len(run.origin.connections) <= 2 * 32
