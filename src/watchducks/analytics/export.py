"""Export: a site's rows of single requests, as CSV or JSON lines, a page at a time.

As little is in memory as one page, however long the period: rows are asked for by stretches of time
that hold about a page, and by pages where a minute alone has more.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.reading import Reader, Row
from watchducks.analytics.rollups import DAY

# Rows of one page: some megabytes of JSON, and a fraction of a second of the store.
PAGE_ROWS: Final = 20_000

# Column of the export -> SQL. No visitor's id: it would join what the key's destruction parts.
COLUMNS: Final = {
    "time": "time_us / 1000000",
    "kind": "toString(kind)",
    "scheme": "toString(scheme)",
    "protocol": "toString(protocol)",
    "method": "toString(method)",
    "host": "toString(host)",
    "path": "toString(path)",
    "query": "toString(query)",
    "status": "status",
    "reason": "toString(reason)",
    "referrer_host": "toString(referrer_host)",
    "channel": "toString(channel)",
    "utm_source": "toString(utm_source)",
    "utm_medium": "toString(utm_medium)",
    "utm_campaign": "toString(utm_campaign)",
    "country": "toString(country)",
    "network": "toString(network)",
    "browser": "toString(browser)",
    "browser_version": "toString(browser_version)",
    "system": "toString(system)",
    "device": "toString(device)",
    "bot": "toString(bot)",
    "bot_reason": "toString(bot_reason)",
    "page_view": "page_view",
    "request_bytes": "request_bytes",
    "response_bytes": "response_bytes",
    "duration_us": "duration_us",
    "origin_us": "origin_us",
}
# The last column, worked out here: when, by the clock of whoever asks.
LOCAL_TIME: Final = "local_time"
# Two rows that are equal in it are equal in all that matters for the order of pages.
_TIES: Final = "cityHash64(segment, path, status, visitor, duration_us, response_bytes)"


async def pages(
    reader: Reader,
    site_id: int,
    period: Period,
    filters: Filters = NONE,
    page_rows: int = PAGE_ROWS,
) -> AsyncIterator[list[Row]]:
    """Yield all rows of a site in a period, in their order, in pages of at most ``page_rows``.

    What comes in meanwhile may be among them. Rows are kept for ``logs.raw_days``.

    :raises StoreUnavailable, StoreRefused: on the way, too: then what came is not all.
    """
    end = min(period.data_end, int(reader.now()) + 1)
    for day in range(period.start, end, DAY):
        for start, until in await _stretches(reader, site_id, day, min(day + DAY, end), page_rows):
            offset = 0
            while page := await _page(reader, site_id, start, until, filters, offset, page_rows):
                yield page
                offset += len(page)
                if len(page) < page_rows:
                    break


async def _stretches(
    reader: Reader, site_id: int, start: int, end: int, page_rows: int
) -> list[tuple[int, int]]:
    """Return stretches of time with at most a page's rows, or of one minute."""
    rows = await reader.store.query(
        "SELECT intDiv(toUInt32(time), 60) * 60 AS minute, count() FROM requests"
        " WHERE site = %(site)s AND time >= toDateTime(%(start)s) AND time < toDateTime(%(end)s)"
        " GROUP BY minute ORDER BY minute",
        {"site": site_id, "start": start, "end": end},
    )
    found: list[tuple[int, int]] = []
    begin, held = start, 0
    for minute, count in rows:
        at = max(start, int(minute))
        if held and held + int(count) > page_rows:
            found.append((begin, at))
            begin, held = at, 0
        held += int(count)
    if held:
        found.append((begin, end))
    return found


async def _page(
    reader: Reader,
    site_id: int,
    start: int,
    end: int,
    filters: Filters,
    offset: int,
    page_rows: int,
) -> list[Row]:
    places: dict[str, str] = {}
    condition = filters.of_rows(places)
    return await reader.store.query(
        f"SELECT {', '.join(COLUMNS.values())} FROM requests WHERE site = {site_id:d}"
        f" AND time >= toDateTime({start:d}) AND time < toDateTime({end:d}){condition}"
        f" ORDER BY time_us, {_TIES} LIMIT {offset:d}, {page_rows:d}",
        dict(places),
    )


def csv_lines(rows: Sequence[Row], zone: tzinfo = UTC, *, header: bool) -> bytes:
    """Return rows as CSV (RFC 4180), UTF-8. :param header: with the columns' names before them."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow([*COLUMNS, LOCAL_TIME])
    writer.writerows([*map(_safe, row), _local(row[0], zone)] for row in rows)
    return out.getvalue().encode()


def json_lines(rows: Sequence[Row], zone: tzinfo = UTC) -> bytes:
    """Return rows as JSON, an object a line."""
    return "".join(_objects(rows, zone)).encode()


def _objects(rows: Sequence[Row], zone: tzinfo) -> Iterator[str]:
    for row in rows:
        named = {**dict(zip(COLUMNS, row, strict=True)), LOCAL_TIME: _local(row[0], zone)}
        yield json.dumps(named, ensure_ascii=False) + "\n"


def _local(posix_seconds: float | str, zone: tzinfo) -> str:
    """Return a moment as a spreadsheet reads it: 2026-11-22T09:00:00.123+09:00."""
    return datetime.fromtimestamp(float(posix_seconds), zone).isoformat(timespec="milliseconds")


def _safe(value: float | str) -> float | str:
    """Return what no spreadsheet takes for a formula: visitors choose paths and campaigns."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
