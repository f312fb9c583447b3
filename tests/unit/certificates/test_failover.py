"""Whether a failover would work: origins' own certificates, over real TLS on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    DefaultOpenSSLContextFactory,
    trustRootFromCertificates,
)
from twisted.internet.task import Clock

from tests.unit.certificates.authority import Authority
from tests.unit.nameserver.fakes import changed, site
from watchducks.certificates.failover import (
    AGAIN_SECONDS,
    DAY_SECONDS,
    EXPIRED,
    OTHER_NAMES,
    SILENT,
    TURN_SECONDS,
    UNTRUSTED,
    CertificateCheck,
    FailoverChecks,
)
from watchducks.model.scans import Note
from watchducks.model.sites import Site

REACTOR: Any = reactor
SITE = site("ducks.example", origin="127.0.0.1")
OURS, OTHERS = Authority(), Authority()


class Listening:
    """An origin with the certificate that a test gives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: list[Any] = []

    def tls(self, authority: Authority, *names: str, **more: Any) -> int:
        authority.write(self._folder, *names, **more)
        context = DefaultOpenSSLContextFactory(
            str(self._folder / "privkey.pem"),
            str(self._folder / "fullchain.pem"),
            sslmethod=SSL.TLS_METHOD,
        )
        factory = Factory.forProtocol(Protocol)
        self._ports.append(REACTOR.listenSSL(0, factory, context, interface="127.0.0.1"))
        return int(self._ports[-1].getHost().port)

    def plain(self) -> int:
        factory = Factory.forProtocol(_Rude)
        self._ports.append(REACTOR.listenTCP(0, factory, interface="127.0.0.1"))
        return int(self._ports[-1].getHost().port)

    def close(self) -> None:
        for port in self._ports:
            port.stopListening()


class _Rude(Protocol):
    def dataReceived(self, _: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.transport.loseConnection()


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Listening]:
    listening = Listening(tmp_path)
    yield listening
    listening.close()


async def found(port: int) -> Note | None:
    trust = trustRootFromCertificates([OURS.twisted])
    note = await CertificateCheck(reactor=REACTOR, trust=trust, port=port)(SITE)
    return None if note is None else replace(note, parameters={})


@pytest_twisted.ensureDeferred
async def test_what_a_browser_would_say(origin: Listening) -> None:
    assert await found(origin.tls(OURS, "ducks.example")) is None
    assert await found(origin.tls(OURS, "*.example")) is None
    assert await found(origin.tls(OURS, "geese.example")) == OTHER_NAMES
    assert await found(origin.tls(OTHERS, "ducks.example")) == UNTRUSTED
    assert await found(origin.tls(OURS, "ducks.example", days=-2)) == EXPIRED
    port = origin.plain()
    assert await found(port) == SILENT
    origin.close()
    assert await found(port) == SILENT


class Checked:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trouble: Note | None = None

    async def __call__(self, site: Site) -> Note | None:
        self.asked.append(site.domain)
        return self.trouble


def test_each_is_asked_daily_and_sooner_when_it_would_break() -> None:
    clock, check = Clock(), Checked()
    checks = FailoverChecks(check, accepts=lambda _: True, clock=clock)
    checks.apply(changed([SITE]))
    assert checks.report(SITE.id) is None
    check.trouble = EXPIRED
    _ = Deferred.fromCoroutine(checks.start())
    report = checks.report(SITE.id)
    assert report is not None
    assert report.trouble == check.trouble
    check.trouble = None
    clock.advance(AGAIN_SECONDS - TURN_SECONDS)
    assert len(check.asked) == 1
    clock.advance(TURN_SECONDS)
    assert len(check.asked) == 2
    clock.advance(DAY_SECONDS - TURN_SECONDS)
    assert len(check.asked) == 2
    checks.apply(changed([replace(SITE, revision=9)]))
    clock.advance(TURN_SECONDS)
    assert len(check.asked) == 3
    checks.apply(changed(removed=[SITE.zone]))
    clock.advance(DAY_SECONDS)
    assert len(check.asked) == 3
    assert checks.report(SITE.id) is None
    _ = Deferred.fromCoroutine(checks.stop())


def test_an_origin_that_may_not_be_asked_is_not() -> None:
    clock, check = Clock(), Checked()
    checks = FailoverChecks(check, accepts=lambda _: False, clock=clock)
    checks.apply(changed([SITE]))
    _ = Deferred.fromCoroutine(checks.start())
    assert not check.asked
    _ = Deferred.fromCoroutine(checks.stop())
