"""Drives a console without a network: bytes in, bytes out, on a clock of its own."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport

from tests.unit.console.fakes import (
    FakeAccountKeys,
    FakeAccounts,
    FakeAnalytics,
    FakeBlocks,
    FakeExport,
    FakeHosts,
    FakeLetters,
    FakeLooking,
    FakeOrigins,
    FakeParents,
    FakeReadiness,
    FakeScans,
    FakeSites,
    FakeThreads,
    FakeUnsubscribing,
)
from watchducks.console.app import Console
from watchducks.model.metrics import Sample
from watchducks.registry.registration import Policy, validate
from watchducks.settings import parse
from watchducks.stores.memory import MemoryCache

NAMESERVERS = ["ns1.watchducks.example", "ns2.watchducks.example"]
GOOD = {
    "name": "ducks",
    "domain": "ducks.example",
    "origin": "203.0.113.7",
    "email": "owner@ducks.example",
    "cohort": "first",
}
HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class Reply:
    """One answer; ``body`` is already decompressed."""

    status: int
    headers: Mapping[str, str]
    cookies: list[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def parse_reply(data: bytes, method: str = "GET") -> Reply:
    """Read one HTTP answer."""
    response = http.client.HTTPResponse(cast(Any, _Socket(data)), method=method)
    response.begin()
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    if headers.get("content-encoding") == "gzip" and body:
        body = gzip.decompress(body)
    return Reply(response.status, headers, response.headers.get_all("Set-Cookie") or [], body)


def settings(**console: Any) -> Any:
    """Return settings for a console alone."""
    return parse(
        {
            "node": {"name": "test", "roles": ["console"]},
            "proxy": {"addresses": ["198.51.100.1"]},
            "nameserver": {"names": NAMESERVERS},
            "console": {"url": "http://console.example:8000", **console},
        }
    )


class Driver:
    """A console with fakes behind it.

    :ivar cookies: kept like a browser's, from answer to request.
    :ivar address: where who asks is.
    :cvar has_authorities: there are accounts at certificate authorities.
    """

    has_authorities: ClassVar[bool] = True

    def __init__(self, **console: Any) -> None:
        self.clock = MemoryReactorClock()
        self.clock.advance(1_795_300_000)
        self.sites = FakeSites()
        self.accounts = FakeAccounts(self.sites)
        self.looking = FakeLooking()
        self.blocks = FakeBlocks(self.sites)
        self.analytics = FakeAnalytics()
        self.readiness = FakeReadiness()
        self.parents = FakeParents()
        self.scans = FakeScans()
        self.origins = FakeOrigins()
        self.letters = FakeLetters()
        self.hosts = FakeHosts()
        self.account_keys = FakeAccountKeys(self.clock)
        self.samples: list[Sample] = []
        self.cache = MemoryCache(self.clock)
        self.export = FakeExport()
        self.console = Console(
            settings(**console),
            self.sites,
            self.analytics,
            self.readiness,
            accounts=self.accounts,
            scans=self.scans,
            origins=self.origins,
            letters=self.letters,
            hosts=self.hosts,
            unsubscribing=FakeUnsubscribing(),
            blocks=self.blocks,
            looking=self.looking,
            samples=lambda: self.samples,
            threads=FakeThreads(),
            reactor=self.clock,
            parents=self.parents,
            account_keys=self.account_keys if self.has_authorities else None,
            cache=self.cache,
            export=self.export,
        )
        self.cookies: dict[str, str] = {}
        self.address = "192.0.2.1"

    async def add(self, **fields: str) -> str:
        """Register a site behind the console's back; return its token."""
        registration = validate({**GOOD, **fields}, Policy((), allow_private_origins=False))
        return (await self.sites.register(registration))[1]

    def connect(self) -> tuple[Any, StringTransport]:
        """Open a connection."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", self.address, 40000))
        protocol = self.console.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        assert protocol is not None
        protocol.makeConnection(transport)
        return protocol, transport

    def send(self, protocol: Any, data: bytes) -> None:
        """Let bytes arrive, and what they ask for begin."""
        protocol.dataReceived(data)
        self.settle()

    def raw(self, request: bytes, *, step: int = 0, method: str = "GET") -> Reply:
        """Send bytes, ``step`` at a time (0: all at once), and read the answer."""
        protocol, transport = self.connect()
        for start in range(0, len(request), step or len(request)):
            protocol.dataReceived(request[start : start + (step or len(request))])
        if not transport.value():
            self.settle()
        return parse_reply(transport.value(), method)

    def settle(self) -> None:
        """Let the reactor have its turns, as many as it takes."""
        self.clock.advance(0)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        host: str = "console.example:8000",
    ) -> Reply:
        """Make one request."""
        lines = {"Host": host, **(headers or {})}
        if body or method in ("POST", "PATCH", "PUT"):
            lines["Content-Length"] = str(len(body))
        if self.cookies:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        reply = self.raw(request, method=method)
        for cookie in reply.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        """Ask for a page as a browser does."""
        return self.ask("GET", path, headers={**HTML, **headers})

    def api(self, method: str, path: str, document: object = None, token: str = "") -> Reply:
        """Make an API call."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if document is None:
            return self.ask(method, path, headers=headers)
        headers["Content-Type"] = "application/json"
        return self.ask(method, path, json.dumps(document).encode(), headers)

    def csrf(self, page: str = "/register") -> dict[str, str]:
        """Load the form, as a browser would, and return its hidden field."""
        found = re.search(r'name="(__[^"]*)"[^>]*value="([^"]*)"', self.get(page).text)
        assert found
        return {found[1]: found[2]}

    def submit(self, fields: Mapping[str, str], page: str = "/register") -> Reply:
        """Send the form of a page with exactly these fields."""
        headers = {**HTML, "Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", page, urlencode(fields).encode(), headers)
