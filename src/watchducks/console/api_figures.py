"""The JSON API of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from watchducks.analytics.periods import CUSTOM, RANGES
from watchducks.analytics.results import (
    Dns,
    Failover,
    Latency,
    PathTraffic,
    ReferrerTraffic,
    Status,
    Traffic,
    TrafficPoint,
    VisitorsPoint,
)
from watchducks.console.access import Access
from watchducks.console.answers import Answers
from watchducks.console.endpoints import Query, endpoint
from watchducks.console.figures import DEFAULT_RANGE, Figures
from watchducks.console.http import ConsoleRequest, argument
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

PERIOD: Final[Sequence[Query]] = (
    Query(
        "range",
        f"The last 24 hours, 7 or 30 days, or from `from` to `to`; {DEFAULT_RANGE} if left out.",
        one_of(*RANGES, CUSTOM),
    ),
    Query("from", "Where a custom range begins.", MOMENT),
    Query("to", "Where a custom range ends.", MOMENT),
)

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


class FigureApi:
    """The figures of sites, one method each."""

    def __init__(self, *, access: Access, figures: Figures, answers: Answers) -> None:
        self._access = access
        self._figures = figures
        self._answers = answers

    async def _send(self, request: ConsoleRequest, kind: str, name: str) -> bytes:
        chosen = self._figures.period(
            argument(request, b"range"), argument(request, b"from"), argument(request, b"to")
        )
        site = await self._access.seen(request, name)
        document: dict[str, Any] = await self._figures.document(kind, site.id, chosen)
        return self._answers.json(request, {"site": site.name, **document})

    @endpoint("GET", "/api/v1/sites/{name}/traffic", _TRAFFIC, query=PERIOD, problems=(422,))
    async def traffic(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's requests, bytes and passed-through connections over time."""
        return await self._send(request, "traffic", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/latency",
        joined(_HEAD, of(Latency)),
        query=PERIOD,
        problems=(422,),
    )
    async def latency(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's response times over time, ours and the origin's apart."""
        return await self._send(request, "latency", name)

    @endpoint("GET", "/api/v1/sites/{name}/status", _STATUS, query=PERIOD, problems=(422,))
    async def status(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's answers by class over time, and by status."""
        return await self._send(request, "status", name)

    @endpoint("GET", "/api/v1/sites/{name}/visitors", _VISITORS, query=PERIOD, problems=(422,))
    async def visitors(self, request: ConsoleRequest, name: str) -> bytes:
        """Show a site's different visitors over time."""
        return await self._send(request, "visitors", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/paths",
        joined(_HEAD, record({"paths": listing(of(PathTraffic))})),
        query=PERIOD,
        problems=(422,),
    )
    async def paths(self, request: ConsoleRequest, name: str) -> bytes:
        """List a site's paths, the most requested first."""
        return await self._send(request, "paths", name)

    @endpoint(
        "GET",
        "/api/v1/sites/{name}/referrers",
        joined(_HEAD, record({"referrers": listing(of(ReferrerTraffic))})),
        query=PERIOD,
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
        chosen = self._figures.period(
            argument(request, b"range"), argument(request, b"from"), argument(request, b"to")
        )
        site = await self._access.seen(request, name)
        document = await self._figures.dns_document(site.zone, chosen)
        return self._answers.json(request, {"site": site.name, "zone": site.zone, **document})
