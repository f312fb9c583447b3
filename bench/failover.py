"""How long a failover takes: ``python -m bench.failover [--quick] [--runs N]``.

A proxy, a name server and an origin in processes of their own; a resolver (unbound) between the
name server and a visitor. The proxy is killed (SIGKILL) or frozen (SIGSTOP) under a load of
questions and visits, and it is said

- when the name server's first answer with the origin came, and its last with the proxy,
- from when to when the visitor's requests failed. He honours the TTL, as his resolver does.

Everything but the resolver's cache is on one port and two loopback addresses, the proxy's and the
origin's, so that DNS alone decides where a visit goes.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.servers.ports import LOOPBACK, free_port  # noqa: E402 - found by the path above
from tests.servers.unbound import Unbound  # noqa: E402
from tests.servers.waiting import wait_until  # noqa: E402
from tests.system.appliance import Twistd, api, dig  # noqa: E402
from tests.system.origin import ADDRESS as ORIGIN_ADDRESS  # noqa: E402
from tests.system.origin import Origin  # noqa: E402

HOST: Final = "www.ducks.example"
QUESTION_SECONDS: Final = 0.02
VISIT_SECONDS: Final = 0.05
# A browser waits for longer; what takes longer than this counts as an outage here.
VISIT_TIMEOUT_SECONDS: Final = 2.0

Way = Literal["killed", "frozen"]


@dataclass(frozen=True)
class Outcome:
    """Seconds since the proxy's end. :ivar failed: the visitor's first and last failed visit."""

    first_origin: float
    last_proxy: float
    failed: tuple[float, float] | None
    failed_visits: int

    @property
    def outage(self) -> float:
        return 0.0 if self.failed is None else self.failed[1] - self.failed[0]


class Observer:
    """Calls ``observe`` again and again in a thread, and keeps what it saw with its times."""

    def __init__(self, observe: Callable[[], object], every: float) -> None:
        self.seen: list[tuple[float, object]] = []
        self._observe = observe
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.seen.append((began, self._observe()))
            self._stop.wait(max(0.0, self._every - (time.monotonic() - began)))

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def look_up(port: int) -> str:
    """Return the address that a server or a resolver answers with; "": none, in time."""
    query = dns.message.make_query(HOST, "A")
    try:
        answer = dns.query.udp(query, LOOPBACK, timeout=VISIT_TIMEOUT_SECONDS, port=port)
    except (dns.exception.Timeout, OSError):
        return ""
    found = [
        rdata.to_text()
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.A
        for rdata in rrset
    ]
    return found[0] if found else ""


def visit(resolver_port: int, port: int) -> bool:
    """Look the host up and ask it for a page; return whether that came."""
    address = look_up(resolver_port)
    if not address:
        return False
    try:
        with socket.create_connection((address, port), VISIT_TIMEOUT_SECONDS) as connection:
            connection.settimeout(VISIT_TIMEOUT_SECONDS)
            connection.sendall(
                f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer.startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def failover(directory: Path, way: Way, name_server: dict[str, Any], ttl: int) -> Outcome:
    """Run one: everything is started, and stopped by its process id."""
    port = free_port()
    registry = {"registry": {"url": f"sqlite://{directory}/registry.sqlite"}}
    here = {"http": [f"tcp:{port}:interface={LOOPBACK}"], "https": []}
    proxy = Twistd(directory / "proxy", {**registry, "node": {"roles": ["proxy"]}, "proxy": here})
    proxy.ports["http"] = port
    rest = Twistd(
        directory / "rest",
        {
            **registry,
            "node": {"roles": ["nameserver", "console"], "name": "ns"},
            "proxy": here,
            "nameserver": name_server,
        },
    )
    unbound = Unbound(directory)
    with Origin(port=port):
        proxy.start()  # first, or it would be taken for dead before it lives
        try:
            rest.start()
            api(
                "POST",
                f"{rest.console}/api/v1/sites",
                {
                    "name": "ducks",
                    "domain": HOST,
                    "origin": f"http://{ORIGIN_ADDRESS}:{port}",
                    "email": "owner@ducks.example",
                    "cohort": "bench",
                },
            )
            wait_until(lambda: dig(rest.ports["dns"], HOST) == [LOOPBACK], "the proxy in DNS", 20)
            unbound.know({"ducks.example": [(LOOPBACK, rest.ports["dns"])]})
            unbound.start()
            return _observe(proxy, rest.ports["dns"], unbound.port, port, way, ttl)
        finally:
            for server in (unbound, proxy, rest):
                server.recover()
                server.stop()


def _observe(
    proxy: Twistd, dns_port: int, resolver_port: int, port: int, way: Way, ttl: int
) -> Outcome:
    wait_until(lambda: visit(resolver_port, port), "the first visit", 20)
    with (
        Observer(lambda: look_up(dns_port), QUESTION_SECONDS) as questions,
        Observer(lambda: visit(resolver_port, port), VISIT_SECONDS) as visits,
    ):
        # A whole TTL of good visits first: the resolver's copy has then any age it may have.
        wait_until(lambda: visits.seen[-1:] != [] and len(visits.seen) > 5, "visits", 20)
        ended = time.monotonic()
        if way == "killed":
            proxy.kill()
        else:
            proxy.pause()
        wait_until(lambda: questions.seen[-1][1] == ORIGIN_ADDRESS, "the origin in DNS", 60)
        wait_until(
            lambda: time.monotonic() > ended + ttl + 3 and visits.seen[-1][1] is True,
            "visits to succeed again",
            ttl + 60,
        )
    answers = [(when - ended, seen) for when, seen in questions.seen if when > ended]
    failed = [when - ended for when, seen in visits.seen if when > ended and not seen]
    return Outcome(
        next(when for when, seen in answers if seen == ORIGIN_ADDRESS),
        max((when for when, seen in answers if seen == LOOPBACK), default=0.0),
        (failed[0], failed[-1]) if failed else None,
        len(failed),
    )


def main(arguments: Sequence[str]) -> int:
    """Print a table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each (3)")
    parser.add_argument("--quick", action="store_true", help="short intervals and TTL, one run")
    options = parser.parse_args(arguments)
    runs, ttl = (1, 2) if options.quick else (options.runs, 30)
    name_server: dict[str, Any] = {"ttl": ttl}
    if options.quick:
        name_server["health"] = {"interval": 0.4, "timeout": 0.4}
    columns = ("the proxy is", "first origin answer", "last proxy answer", "a visitor's outage")
    print(f"| {' | '.join(columns)} | visits |")
    print("|---|---|---|---|---|")
    ways: tuple[Way, ...] = ("killed", "frozen")
    for way in ways:
        outcomes = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory(prefix="failover-") as directory:
                outcomes.append(failover(Path(directory), way, name_server, ttl))
        print(
            f"| {way} | {_seconds([o.first_origin for o in outcomes])}"
            f" | {_seconds([o.last_proxy for o in outcomes])}"
            f" | {_seconds([o.outage for o in outcomes])}"
            f" | {round(statistics.median(o.failed_visits for o in outcomes))} failed |",
            flush=True,
        )
    return 0


def _seconds(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.1f} s"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
