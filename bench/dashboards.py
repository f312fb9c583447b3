"""People who look at the console: pages and answers asked for at a steady pace.

A program of its own (``python bench/dashboards.py PORT MIX RATE SECONDS``), which says as JSON how
it was served. Like a browser, it takes gzip and keeps its connections; unlike one, it shows no
ETag, so that each answer is a whole one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

_SITES: Final = ("bench", "site-1", "site-2", "site-3")
# What an open page of a site asks for as long as it is open.
_FIGURES: Final = ("traffic", "traffic", "traffic", "latency", "status", "visitors")

MIXES: Final[dict[str, Sequence[str]]] = {
    # Pages alone, as they are opened.
    "pages": ("/", *(f"/sites/{name}" for name in _SITES), "/ranking", "/", "/?range=week"),
    # An overview now and then, and what open pages ask for.
    "figures": (
        "/",
        *(f"/api/v1/sites/{name}/{kind}?range=day" for kind in _FIGURES for name in _SITES),
    ),
}
# As many pages at a time as have people in front of them.
_CONNECTIONS: Final = 32
_PATIENCE_SECONDS: Final = 20.0


class Refused(Exception):
    """The console gave something else than a page."""


class _Connection:
    """One connection, used for one request after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str) -> int:
        """Ask for a page; return how many octets came. :raises Refused: it was none."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: text/html\r\n"
            "Accept-Language: en\r\nAccept-Encoding: gzip\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Refused(f"{path}: {head[:100]!r}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        return len(head) + len(await reader.readexactly(length))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def _look(port: int, paths: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    connections: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
    for _ in range(_CONNECTIONS):
        connections.put_nowait(_Connection(port))
    took: list[float] = []
    sizes: Counter[str] = Counter()

    async def one(path: str, due: float) -> None:
        connection = await connections.get()
        sizes[path] = await asyncio.wait_for(connection.ask(path), _PATIENCE_SECONDS)
        took.append(time.monotonic() - due)
        connections.put_nowait(connection)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(one(paths[number % len(paths)], due))
    all_seconds = time.monotonic() - begin
    while not connections.empty():
        connections.get_nowait().close()
    took.sort()
    return {
        "rate": len(took) / max(seconds, all_seconds),
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
        "bytes": dict(sizes),
    }


def main(port: str, mix: str, rate: str, seconds: str) -> None:
    """Look, and say how it was."""
    found = asyncio.run(_look(int(port), MIXES[mix], float(rate), float(seconds)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
