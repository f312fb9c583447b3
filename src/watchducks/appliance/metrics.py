"""Metrics on endpoints of their own: what a host without a console shows to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from watchducks.appliance.house import House
from watchducks.background import StartupError
from watchducks.exposition import CONTENT_TYPE, Exposition
from watchducks.sockets import Sockets

PATH: Final = b"/metrics"
# Prometheus asks every few seconds over one connection and needs no longer pause.
IDLE_SECONDS: Final = 60.0


class _Page(Resource):
    """The one page there is."""

    isLeaf = True

    def __init__(self, text: Callable[[], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._text = text

    def render_GET(self, request: Request) -> bytes:
        if request.path != PATH:
            request.setResponseCode(404)
            return b"Ask for /metrics.\n"
        request.setHeader(b"Content-Type", CONTENT_TYPE.encode())
        return self._text()


class _Quiet(Site):
    """Writes no access log, and does not say which version of Twisted this is."""

    noisy = False

    def log(self, request: Request) -> None:
        """Nothing."""


class Metrics:
    """``GET /metrics`` on the endpoints of ``node.metrics``. A Part.

    Whoever reaches them may ask: they are for a network of one's own, such as ``127.0.0.1``.
    """

    def __init__(
        self, endpoints: Sequence[str], text: Callable[[], bytes], *, reactor: Any
    ) -> None:
        self._endpoints = endpoints
        self._reactor = reactor
        page = _Page(text)
        self._site = _Quiet(page, timeout=IDLE_SECONDS, reactor=reactor)  # type: ignore[no-untyped-call]
        self._ports: list[IListeningPort] = []

    async def start(self) -> None:
        """Listen. :raises StartupError: an endpoint cannot be bound."""
        for text in self._endpoints:
            try:
                for endpoint in Sockets().streams(text, reactor=self._reactor):
                    self._ports.append(await endpoint.listen(self._site))
            except Exception as error:  # endpoints of plug-ins raise what they like
                await self.stop()
                reason = getattr(error, "socketError", None) or error
                raise StartupError(f'node.metrics = "{text}": cannot listen: {reason}') from error

    async def stop(self) -> None:
        """Accept nothing more."""
        ports, self._ports = self._ports, []
        for port in ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped


async def start_the_metrics(house: House) -> None:
    """Show the samples of this host, if ``node.metrics`` says where."""
    endpoints = house.settings.node.metrics
    if endpoints:
        exposition = Exposition(house.samples)
        await house.run("the metrics", Metrics(endpoints, exposition.text, reactor=house.reactor))
