"""Counts of DNS questions: from the name server into the log store, and what they tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from watchducks.analytics.facets import MOST_ROWS
from watchducks.analytics.periods import Period
from watchducks.analytics.reading import Reader, bucket_of
from watchducks.analytics.results import Dns, DnsNetwork, DnsPoint
from watchducks.analytics.schema import Schema
from watchducks.stores.interfaces import LogStore, StoreUnavailable, Value

_COLUMNS: Final = ("time", "zone", "type", "rcode", "network", "questions")

# Zone, type, rcode and network in words, and how many questions had them in common.
Count = tuple[str, str, str, str, int]


class DnsCounts:
    """Keeps counts: what the name server knows as its CountSink."""

    def __init__(self, store: LogStore, schema: Schema) -> None:
        self._store = store
        self._schema = schema

    async def store(self, time: int, rows: Sequence[Count], token: str) -> None:
        """Insert ``rows`` (at least one) as one block of this ``time`` (POSIX seconds).

        :raises StoreUnavailable: not now. With the same token the rows may come again, and are kept
            once where the server knows tokens.
        :raises StoreRefused: the table is not right.
        """
        if not self._schema.ready:
            raise StoreUnavailable("the log store's tables are not ready yet")
        columns: list[Sequence[Value]] = [[time] * len(rows), *zip(*rows, strict=True)]
        await self._store.insert("dns_questions", _COLUMNS, columns, token)


class DnsQuestions:
    """Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def dns(self, zone: str, period: Period, networks: int = 10) -> Dns:
        """Return the DNS questions about a zone over time, and where the most came from.

        :param zone: its registrable name, as the site has it.
        """
        places: dict[str, Value] = {
            "zone": zone,
            "start": period.start,
            "end": period.data_end,
        }
        where = "zone = %(zone)s AND time >= toDateTime(%(start)s) AND time < toDateTime(%(end)s)"
        rows = await self.reader.store.query(
            f"SELECT {bucket_of(period)} AS b, type, rcode, sum(questions) FROM dns_questions"
            f" WHERE {where} GROUP BY b, type, rcode",
            places,
        )
        types = {time: Counter[str]() for time in period.times}
        rcodes = {time: Counter[str]() for time in period.times}
        for time, type_, rcode, count in rows:
            types[int(time)][str(type_)] += int(count)
            rcodes[int(time)][str(rcode)] += int(count)
        found = await self.reader.store.query(
            f"SELECT network, sum(questions) AS n FROM dns_questions WHERE {where}"
            f" GROUP BY network ORDER BY n DESC, network LIMIT {min(networks, MOST_ROWS)}",
            places,
        )
        of_types = sum(types.values(), Counter[str]())
        of_rcodes = sum(rcodes.values(), Counter[str]())
        return Dns(
            tuple(
                DnsPoint(time, sum(types[time].values()), dict(types[time]), dict(rcodes[time]))
                for time in period.times
            ),
            sum(of_types.values()),
            dict(of_types.most_common()),
            dict(of_rcodes.most_common()),
            tuple(DnsNetwork(str(network), int(count)) for network, count in found),
        )
