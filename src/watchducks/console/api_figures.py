"""The JSON API of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from watchducks.analytics.facets import ORDERS
from watchducks.analytics.filters import AUDIENCES, DIMENSIONS, Filters, read_filters
from watchducks.analytics.periods import CUSTOM, RANGES, Period
from watchducks.analytics.results import (
    Annotation,
    Dns,
    FacetRow,
    Failover,
    Latency,
    Lost,
    PathTraffic,
    ReferrerTraffic,
    Status,
    Traffic,
    TrafficPoint,
    VisitorsPoint,
)
from watchducks.analytics.rollups import FACETS
from watchducks.console.access import Access
from watchducks.console.answers import Answers, not_found
from watchducks.console.api import PAGING, wanted_limit
from watchducks.console.endpoints import Query, endpoint
from watchducks.console.figures import DEFAULT_RANGE, Figures
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import SiteFigures
from watchducks.console.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    NUMBER,
    TEXT,
    Schema,
    joined,
    listing,
    nullable,
    of,
    one_of,
    record,
    table,
)
from watchducks.model.problems import InvalidFields, Problem

PERIOD: Final[Sequence[Query]] = (
    Query(
        "range",
        f"The last 24 hours, 7 or 30 days, or from `from` to `to`; {DEFAULT_RANGE} if left out.",
        one_of(*RANGES, CUSTOM),
    ),
    Query("from", "Where a custom range begins.", MOMENT),
    Query("to", "Where a custom range ends.", MOMENT),
    Query("tz", "The IANA name of the time zone whose days and hours are meant; UTC if left out."),
)

# Several values of one dimension: a request has one of them; several dimensions: it has all.
FILTERS: Final[Sequence[Query]] = (
    Query("audience", "Whose requests count; all if left out.", one_of(*AUDIENCES)),
    *(
        Query(name, f"Only requests with one of these values of {name}.", listing(TEXT))
        for name in DIMENSIONS
    ),
)

_ASKED: Final = (*PERIOD, *FILTERS)

# `stale`: the log store is away, and these are its last answers.
_HEAD: Final = record(
    {"site": TEXT, "from": MOMENT, "to": MOMENT, "bucket_seconds": COUNT, "stale": FLAG}
)


def _without(schema: Schema, *names: str) -> Schema:
    """Return an object's schema without some of its properties."""
    left = {name: value for name, value in schema["properties"].items() if name not in names}
    return record(left)


_TRAFFIC: Final = joined(
    _HEAD,
    record(
        {
            "points": listing(of(TrafficPoint)),
            "totals": _without(of(Traffic), "points"),
            "failovers": listing(of(Failover)),
            "lost": listing(of(Lost)),
        }
    ),
)
_STATUS: Final = joined(_HEAD, _without(of(Status), "codes"), record({"codes": table(COUNT)}))
_VISITORS: Final = joined(
    _HEAD,
    record(
        {
            "points": listing(of(VisitorsPoint)),
            "total": COUNT,
            "total_before": COUNT,
            "total_change": nullable(NUMBER),
        }
    ),
)


_CLIENTS: Final = {
    "browsers": "browser",
    "systems": "system",
    "devices": "device",
    "countries": "country",
    "bots": "bot",
    "bot_reasons": "bot_reason",
}


def asked_period(request: ConsoleRequest, figures: Figures) -> Period:
    """Return the period of a request. :raises InvalidFields: there is no such one."""
    return figures.period(*(argument(request, name) for name in (b"range", b"from", b"to", b"tz")))


def asked_filters(request: ConsoleRequest) -> Filters:
    """Return the filters of a request. :raises InvalidFields: they are wrong."""
    wanted = {
        name: [value.decode("utf-8") for value in request.args.get(name.encode(), ())]
        for name in DIMENSIONS
        if name.encode() in request.args
    }
    return read_filters(argument(request, b"audience"), wanted)


class FigureApi:
    """The figures of sites, one method each."""

    def __init__(
        self, access: Access, figures: Figures, analytics: SiteFigures, answers: Answers
    ) -> None:
        self._access = access
        self._figures = figures
        self._analytics = analytics
        self._answers = answers

    def _period(self, request: ConsoleRequest) -> Period:
        return asked_period(request, self._figures)

    async def _send(self, request: ConsoleRequest, kind: str, name: str) -> bytes:
        chosen, filters = self._period(request), asked_filters(request)
        site = await self._access.seen(request, name)
        document: dict[str, Any] = await self._figures.document(kind, site.id, chosen, filters)
        return self._answers.json(request, {"site": site.name, **document})

    @endpoint("GET", "/api/v1/sites/{name}/traffic", _TRAFFIC, query=_ASKED, problems=(422,))
    async def traffic(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's requests, bytes and passed-through connections over time."""
        return await self._send(request, "traffic", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/latency",
        joined(_HEAD, of(Latency)),
        query=_ASKED,
        problems=(422,),
    )
    async def latency(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's response times over time, ours and the origin's apart."""
        return await self._send(request, "latency", name)

    @endpoint("GET", "/api/v1/sites/{name}/status", _STATUS, query=_ASKED, problems=(422,))
    async def status(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's answers by class over time, and by status."""
        return await self._send(request, "status", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/visitors",
        _VISITORS,
        query=_ASKED,
        problems=(422,),
    )
    async def visitors(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's different visitors over time."""
        return await self._send(request, "visitors", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/paths",
        joined(_HEAD, record({"paths": listing(of(PathTraffic))})),
        query=_ASKED,
        problems=(422,),
    )
    async def paths(self, request: ConsoleRequest, name: str) -> bytes:
        """List a site's paths, the most requested first."""
        return await self._send(request, "paths", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/referrers",
        joined(_HEAD, record({"referrers": listing(of(ReferrerTraffic))})),
        query=_ASKED,
        problems=(422,),
    )
    async def referrers(self, request: ConsoleRequest, name: str) -> bytes:
        """List the hosts whose pages led to a site."""
        return await self._send(request, "referrers", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/dns",
        joined(_HEAD, record({"zone": TEXT}), of(Dns)),
        query=PERIOD,
        problems=(422,),
    )
    async def dns(self, request: ConsoleRequest, name: str) -> bytes:
        """Show the DNS questions about a site's zone over time."""
        chosen = self._period(request)
        site = await self._access.seen(request, name)
        document = await self._figures.dns_document(site.zone, chosen)
        return self._answers.json(request, {"site": site.name, "zone": site.zone, **document})

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/clients",
        joined(_HEAD, record(dict.fromkeys(_CLIENTS, listing(of(FacetRow))))),
        query=_ASKED,
        problems=(422,),
    )
    async def clients(self, request: ConsoleRequest, name: str) -> bytes:
        """List browsers, systems, devices, countries and bots, the most frequent first."""
        chosen, filters = self._period(request), asked_filters(request)
        site = await self._access.seen(request, name)
        document: dict[str, Any] = {"site": site.name, **self._figures.head(chosen)}
        for key, dimension in _CLIENTS.items():
            rows = await self._analytics.facet(site.id, chosen, dimension, filters=filters)
            document[key] = [asdict(row) for row in rows]
        return self._answers.json(request, document)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/facets/{dimension}",
        joined(_HEAD, record({"dimension": TEXT, "values": listing(of(FacetRow))})),
        query=(
            Query("order", "Which come first; requests if left out.", one_of(*ORDERS)),
            *PAGING[:1],
            *PERIOD,
            *FILTERS,
        ),
        problems=(422,),
    )
    async def facet(self, request: ConsoleRequest, name: str, dimension: str) -> bytes:
        """List the values of one dimension, such as entry pages or campaigns."""
        chosen, filters = self._period(request), asked_filters(request)
        order = argument(request, b"order") or "requests"
        if dimension not in FACETS:
            raise not_found()
        if order not in ORDERS:
            problem = Problem("unknown-order", "{value} is not an order", value=order[:50])
            raise InvalidFields({"order": problem})
        limit = wanted_limit(argument(request, b"limit"))
        site = await self._access.seen(request, name)
        rows = await self._analytics.facet(
            site.id, chosen, dimension, order=order, limit=limit, filters=filters
        )
        values = [asdict(row) for row in rows]
        document = {**self._figures.head(chosen), "dimension": dimension, "values": values}
        return self._answers.json(request, {"site": site.name, **document})

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/annotations",
        joined(_HEAD, record({"annotations": listing(of(Annotation))})),
        query=PERIOD,
        problems=(422,),
    )
    async def annotations(self, request: ConsoleRequest, name: str) -> bytes:
        """List what happened to a site, or to all, within a period."""
        chosen = self._period(request)
        site = await self._access.seen(request, name)
        found = await self._analytics.annotations(site.id, chosen)
        notes = [asdict(note) for note in found]
        return self._answers.json(
            request, {"site": site.name, **self._figures.head(chosen), "annotations": notes}
        )
