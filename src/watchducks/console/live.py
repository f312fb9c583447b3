"""Live: what happens on a site at this moment, as server-sent events."""

from __future__ import annotations

import json
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from watchducks.console.access import Access
from watchducks.console.answers import Refusal
from watchducks.console.endpoints import endpoint
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import SiteFigures
from watchducks.console.languages import mark
from watchducks.console.shapes import TEXT
from watchducks.model.live import MOST_VISITS, WATCH, Visit, channel_of, unpack
from watchducks.model.problems import Problem
from watchducks.stores.interfaces import Cache, StoreRefused, StoreUnavailable

INTERVAL_SECONDS: Final = 1.0
# Said again well before proxies forget it (model.live.WATCH_SECONDS).
WATCH_EVERY: Final = 4
# Visitors of the last five minutes change slowly, and cost a question of the log store.
VISITORS_EVERY: Final = 5
# Pages that are open at the same time; each is a connection, of which the console has 600.
MAX_STREAMS: Final = 200
# Then the browser connects again by itself: nothing is open for ever.
LONGEST_SECONDS: Final = 3600


@implementer(IPushProducer)
class _Stream:
    """One open page: collects what proxies tell, within a bound, and is silent while it is slow."""

    def __init__(self) -> None:
        self.paused = False
        self.requests = 0
        self.visits: list[Visit] = []
        self.waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.paused = True

    def heard(self, message: bytes) -> None:
        """Take what a proxy tells."""
        try:
            requests, visits = unpack(message)
        except ValueError:
            return
        self.requests += requests
        self.visits = [*self.visits, *visits][-MOST_VISITS:]

    def take(self, visitors: int | None, seconds: float) -> bytes:
        """Return the next event, and begin anew."""
        moment = {
            "visitors": visitors,
            "requests": self.requests,
            "seconds": seconds,
            "rows": [visit._asdict() for visit in sorted(self.visits)],
        }
        self.requests, self.visits = 0, []
        data = json.dumps(moment, separators=(",", ":"))
        return f"event: moment\ndata: {data}\n\n".encode()


class LiveApi:
    """The stream of a site's requests. Keeps running ones, so that a stop ends them."""

    def __init__(
        self, access: Access, analytics: SiteFigures, cache: Cache, *, clock: IReactorTime
    ) -> None:
        self._access = access
        self._analytics = analytics
        self._cache = cache
        self._clock = clock
        self._streams: set[_Stream] = set()
        self._stopping = False

    def stop(self) -> None:
        """End all streams; none begins any more."""
        self._stopping = True
        for stream in list(self._streams):
            if stream.waiting is not None:
                stream.waiting.cancel()

    @endpoint("GET", "/api/v1/sites/{name}/live", TEXT, media=("text/event-stream",))
    async def live(self, request: ConsoleRequest, name: str) -> bytes:
        """Tell what happens at this moment, once a second: events called ``moment`` with visitors
        of five minutes, requests since the last event, and the latest of them."""
        site = await self._access.seen(request, name)
        if self._stopping or len(self._streams) >= MAX_STREAMS:
            problem = Problem("busy", mark("Too many pages are open; try again soon."))
            raise Refusal(503, problem, headers={"Retry-After": "30"})
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        for header, value in headers.items():
            request.setHeader(header, value)  # type: ignore[no-untyped-call]
        stream = _Stream()
        self._streams.add(stream)
        unsubscribe = self._cache.subscribe(channel_of(site.id), stream.heard)
        request.registerProducer(stream, True)  # type: ignore[no-untyped-call]
        try:
            await self._follow(request, stream, site.id)
        finally:
            if request.channel is not None:  # he is still there
                request.unregisterProducer()  # type: ignore[no-untyped-call]
            unsubscribe()
            self._streams.discard(stream)
        return b""

    async def _follow(self, request: ConsoleRequest, stream: _Stream, site_id: int) -> None:
        began = last = self._clock.seconds()
        visitors: int | None = None
        turn = 0
        while last - began < LONGEST_SECONDS and not self._stopping:
            if turn % WATCH_EVERY == 0:
                await self._watch(site_id)
            if turn % VISITORS_EVERY == 0:
                visitors = await self._visitors(site_id)
            now = self._clock.seconds()
            if not stream.paused:
                event = stream.take(visitors, round(now - last, 3))
                request.write(event)  # type: ignore[no-untyped-call]
                last = now
            turn += 1
            stream.waiting = deferLater(self._clock, INTERVAL_SECONDS)
            try:
                await stream.waiting
            except CancelledError:
                if not self._stopping:
                    raise  # who asked has left

    async def _watch(self, site_id: int) -> None:
        try:
            await self._cache.publish(WATCH, str(site_id).encode())
        except StoreUnavailable:
            return  # the log store alone has to do

    async def _visitors(self, site_id: int) -> int | None:
        try:
            return (await self._analytics.live(site_id)).visitors
        except (StoreUnavailable, StoreRefused):
            return None
