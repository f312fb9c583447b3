"""What all connections of one proxy share, and the seams to the rest of the program."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime

from watchducks.background import Tasks
from watchducks.model.routing import Route
from watchducks.model.rows import RowSink
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.limits import Limits
from watchducks.proxy.pool import OriginPools
from watchducks.proxy.rates import ClientRates
from watchducks.routes import Unknown
from watchducks.settings_values import Network

HEALTH_PATH = b"/.well-known/watchducks/health"
# RFC 8555 section 8.3.
CHALLENGE_PATH = b"/.well-known/acme-challenge/"


class Routes(Protocol):
    """From host to site; :class:`watchducks.routes.RouteTable`. Hosts are lower-case, no port."""

    def known(self, host: str) -> Route | Unknown | None:
        """Return at once what is known; None: there is no such site."""

    async def look_up(self, host: str) -> Route | None:
        """Find out. Raises whatever its stores raise; cancelling one waiter harms no other."""


class Certificates(Protocol):
    """Whose certificates we hold; :class:`watchducks.certificates.store.CertificateStore`."""

    @property
    def default_context(self) -> SSL.Context:
        """A self-signed certificate, for visitors whom no other fits."""

    def context_for(self, server_name: str) -> SSL.Context | None:
        """Return the context with a certificate for ``server_name`` (lower-case), or None."""

    def covers(self, server_name: str, host: str) -> bool:
        """Return whether the certificate for ``server_name`` is one for ``host``, too."""


class Challenges(Protocol):
    """What certificate authorities look for; :class:`watchducks.model.challenges.Answers`."""

    def page(self, host: str, token: str) -> str | None:
        """Return the page of a token at ``host``; None: it is not one of ours."""


class Connection(Protocol):
    """One accepted connection, as the service sees it when it stops."""

    def drain(self) -> None:
        """End as soon as what is under way is complete."""

    def abort(self) -> None:
        """End now."""


class RequestIds:
    """Makes request ids: unguessable for other processes, unique, and cheap."""

    def __init__(self) -> None:
        # 64 random bits a process keep the ids of all proxies apart.
        self._prefix = secrets.token_hex(8).encode()
        self._count = 0

    def __call__(self) -> bytes:
        self._count += 1
        return b"%b-%x" % (self._prefix, self._count)


@dataclass(slots=True, eq=False)
class ProxyContext:
    """Shared by all connections; owned by the service.

    :ivar clock: for time limits and durations.
    :ivar wall: POSIX seconds.
    :ivar draining: the proxy is stopping: connections end with the exchange they are in.
    :ivar successor: somebody else accepts what comes from now on: no haste, while draining, with
        those who are asking nothing.
    :ivar connections: all accepted connections; each takes itself out when it is lost.
    :ivar trusted_networks: whose PROXY headers and X-Forwarded-For are believed.
    :ivar rates: the limits per client; None: there are none.
    :ivar challenges: pages for certificate authorities; None: we have no certificates made.
    """

    routes: Routes
    pools: OriginPools
    sink: RowSink
    clock: IReactorTime
    wall: Callable[[], float]
    deadlines: Deadlines
    limits: Limits
    tasks: Tasks
    new_request_id: Callable[[], bytes]
    node: str
    version: str
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    successor: bool = False
    trusted_networks: tuple[Network, ...] = ()
    rates: ClientRates | None = None
    challenges: Challenges | None = None

    @property
    def idle_seconds(self) -> float:
        """How long a visitor may wait with his next request."""
        if not self.draining:
            return self.limits.visitor_idle_seconds
        return self.limits.drain_idle_seconds if self.successor else 0.0

    def health(self) -> tuple[int, bytes, bytes]:
        """Return status, phrase and JSON body for whoever asks whether we can serve."""
        status = "stopping" if self.draining else "ok"
        body = json.dumps({"status": status, "node": self.node, "version": self.version}).encode()
        return (503, b"Service Unavailable", body) if self.draining else (200, b"OK", body)
