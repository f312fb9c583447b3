"""A session over real sockets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from treq.client import HTTPClient
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from watchducks.background import StartupError
from watchducks.certificates.acme.libraries import AccountKey, Transport
from watchducks.certificates.acme.session import Session

CONNECT_SECONDS: Final = 15.0
# As many as authorizations are looked at side by side.
CONNECTIONS: Final = 8


class Connections:
    """The connections to one authority (:class:`watchducks.background.Part`).

    :param ca_file: PEM of the directory's own CA; None: whom the platform trusts.
    """

    def __init__(self, ca_file: Path | None, *, reactor: Any) -> None:
        self._ca_file = ca_file
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._http: Transport | None = None

    async def start(self) -> None:
        """Be ready; nothing is asked yet.

        :raises StartupError: the file holds no certificates.
        """
        trust = None if self._ca_file is None else trustRootFromCertificates(_read(self._ca_file))
        policy = BrowserLikePolicyForHTTPS(trust)
        agent = Agent(
            self._reactor, contextFactory=policy, connectTimeout=CONNECT_SECONDS, pool=self._pool
        )
        self._http = Transport(HTTPClient(agent))

    async def stop(self) -> None:
        """End the connections that are kept."""
        await self._pool.closeCachedConnections()

    def session(self, directory_url: str, key: AccountKey) -> Session:
        """Return a session; nothing is asked yet."""
        assert self._http is not None, "the connections have not been started"
        return Session(directory_url, key, http=self._http, clock=self._reactor, now=time.time)


def _read(file: Path) -> list[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StartupError(
            f"certificates.ca_file = {file}: it has to hold PEM certificates ({error})"
        ) from error
    return [Certificate.loadPEM(one.public_bytes(Encoding.PEM)) for one in found]
