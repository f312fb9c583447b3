"""Exports: a site's single requests for its owner, streamed, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import tzinfo
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from watchducks.analytics.export import csv_lines, json_lines
from watchducks.analytics.filters import Filters
from watchducks.analytics.periods import Period, time_zone
from watchducks.background import Threads
from watchducks.console.access import Access
from watchducks.console.answers import Refusal
from watchducks.console.api_figures import FILTERS, PERIOD, asked_filters, asked_period
from watchducks.console.endpoints import Query, Token, endpoint
from watchducks.console.figures import Figures
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.languages import mark
from watchducks.console.shapes import TEXT, one_of
from watchducks.model.problems import InvalidFields, Problem
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable, Value

# Each holds a page of rows, some megabytes, and asks the log store as fast as it is read.
MAX_EXPORTS: Final = 4

TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}

Page = Sequence[tuple[Value, ...]]
# Site, period and filters -> its rows, a page at a time (analytics.export.pages).
Pages = Callable[[int, Period, Filters], AsyncIterator[Page]]


@implementer(IPushProducer)
class _Flow:
    """Whether who reads is keeping up."""

    def __init__(self) -> None:
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def stopProducing(self) -> None:
        self._paused = True

    async def ready(self) -> None:
        """Wait until more may be written."""
        if self._paused:
            self._waiting = Deferred()
            await self._waiting


class ExportApi:
    """
    :param pages: gives the rows. :param threads: for writing them down, some ms a page.
    """

    def __init__(self, access: Access, figures: Figures, pages: Pages, threads: Threads) -> None:
        self._access = access
        self._figures = figures
        self._pages = pages
        self._threads = threads
        self._running = 0

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/export",
        TEXT,
        media=tuple(TYPES.values()),
        query=(Query("format", "csv if left out.", one_of(*TYPES)), *PERIOD, *FILTERS),
        problems=(422,),
        token=Token.NEEDED,
    )
    async def export(self, request: ConsoleRequest, name: str) -> bytes:
        """Give the owner the single requests of a period, as CSV or JSON lines."""
        chosen, filters = asked_period(request, self._figures), asked_filters(request)
        form = argument(request, b"format") or "csv"
        if form not in TYPES:
            problem = Problem("unknown-format", "{value} is not csv or jsonl", value=form[:50])
            raise InvalidFields({"format": problem})
        site = await self._access.seen(request, name)
        if not await self._access.owns(request, site):
            raise Refusal(403, Problem("forbidden", mark("Single requests are their owner's.")))
        if self._running >= MAX_EXPORTS:
            problem = Problem("busy", mark("Too many exports at once; try again in a minute."))
            raise Refusal(503, problem, headers={"Retry-After": "60"})
        self._running += 1
        try:
            zone = time_zone(argument(request, b"tz"))
            rows = self._pages(site.id, chosen, filters)
            await self._stream(request, form, site.name, rows, zone)
        finally:
            self._running -= 1
        return b""

    async def _stream(
        self,
        request: ConsoleRequest,
        form: str,
        name: str,
        pages: AsyncIterator[Page],
        zone: tzinfo,
    ) -> None:
        flow: _Flow | None = None
        try:
            async for page in pages:
                first = flow is None
                flow = flow or _begun(request, form, name)
                text = await self._threads.run(_written, form, page, zone, first=first)
                request.write(text)  # type: ignore[no-untyped-call]
                await flow.ready()
            if flow is None:
                flow = _begun(request, form, name)
                request.write(_written(form, (), zone, first=True))  # type: ignore[no-untyped-call]
        except (StoreUnavailable, StoreRefused):
            if flow is None:
                raise
            # What came is not all: a connection that breaks says so, a proper end would not.
            cast(Any, request.channel).transport.abortConnection()
            await Deferred[None]()  # ends with the connection
        finally:
            if flow is not None and request.channel is not None:
                request.unregisterProducer()  # type: ignore[no-untyped-call]


def _begun(request: ConsoleRequest, form: str, name: str) -> _Flow:
    """Begin the answer. Not before there is a page, so that an outage is told as such."""
    ascii_name = name.encode("ascii", "ignore").decode() or "site"
    for header, value in {
        "Content-Type": TYPES[form],
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{ascii_name}.{form}"',
    }.items():
        request.setHeader(header, value)  # type: ignore[no-untyped-call]
    flow = _Flow()
    request.registerProducer(flow, True)  # type: ignore[no-untyped-call]
    return flow


def _written(form: str, page: Page, zone: tzinfo, *, first: bool) -> bytes:
    return json_lines(page, zone) if form == "jsonl" else csv_lines(page, zone, header=first)
