"""Roll-ups: what is kept of single requests by minute, hour and day, and the same made of raw rows.

Materialized views fill two tables from each block of rows, and these fill the coarser ones::

    requests -> traffic_minute -> traffic_hour -> traffic_day      all of a site
             -> facets_hour -> facets_day                          by one value of one dimension

Every figure is defined once, here: as it is made of rows (:attr:`Measure.raw`) and as it is put
together again (:attr:`Measure.merged`), so that roll-ups and raw rows cannot disagree on what a
figure means. Times are UTC; a row's time is the beginning of its minute, hour or day.

A block and its roll-ups are not one transaction: a server that dies between the two leaves rows
that no roll-up counts, and a second try may count some twice. So who cannot know whether an insert
took place notes its day (:mod:`watchducks.analytics.doubts`): questions take raw rows for it, until
:mod:`watchducks.analytics.upkeep` has found the roll-ups right or made them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from watchducks.analytics.plan import Plan, Version

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400

# Five years: a year beside the years before it. Days of one site are some kilobytes.
ROLLUP_DAYS: Final = 1830

# Only what is a response time: the visitor waited for it (not 499), it ended with the answer (not
# 101, whose connection may go on for hours), and it was measured: most old access logs have none.
MEASURED: Final = "kind = 'request' AND status NOT IN (101, 499) AND duration_us > 0"
# An answer may begin before its request is read to the end; then nothing of it is ours.
_OWN: Final = "toUInt64(duration_us - if(origin_us < duration_us, origin_us, duration_us))"
_VISITOR: Final = "kind = 'request' AND bot_reason = '' AND visitor != 0"

QUANTILES: Final = "0.5, 0.9, 0.95, 0.99"
_DIGEST: Final = f"quantilesTDigestIf({QUANTILES})"

# From this version on the rows that a view writes go on to the views over its table; before it, to
# those over the view itself.
_FEEDS_BY_TABLE: Final[Version] = (20, 1)


class Measure(NamedTuple):
    """A figure. :ivar kind: its column's type. :ivar raw: of rows. :ivar merged: of roll-ups."""

    kind: str
    raw: str
    merged: str


def _count(name: str, condition: str) -> tuple[str, Measure]:
    return name, Measure("UInt64", f"countIf({condition})", f"sum({name})")


def _sum(name: str, what: str, condition: str = "") -> tuple[str, Measure]:
    raw = f"sumIf({what}, {condition})" if condition else f"sum({what})"
    return name, Measure("UInt64", raw, f"sum({name})")


def _digest(name: str, what: str, condition: str) -> tuple[str, Measure]:
    return name, Measure(
        f"AggregateFunction({_DIGEST}, UInt64, UInt8)",
        f"quantilesTDigestIfState({QUANTILES})({what}, {condition})",
        f"quantilesTDigestIfMerge({QUANTILES})({name})",
    )


_VISITORS: Final = (
    "visitors",
    Measure(
        "AggregateFunction(uniqIf, UInt64, UInt8)",
        f"uniqIfState(visitor, {_VISITOR})",
        "uniqIfMerge(visitors)",
    ),
)

# Of a site as a whole. The columns' names differ from those of `requests`, or an alias would stand
# for a column inside of another figure.
TRAFFIC: Final[Mapping[str, Measure]] = dict(
    (
        _count("requests", "kind = 'request'"),
        _count("connections", "kind = 'connection'"),
        _sum("received", "request_bytes"),
        _sum("sent", "response_bytes"),
        _sum("page_views", "page_view"),
        _count("informational", "status >= 100 AND status < 200"),
        _count("success", "status >= 200 AND status < 300"),
        _count("redirection", "status >= 300 AND status < 400"),
        _count("client_error", "status >= 400 AND status < 500"),
        _count("server_error", "status >= 500 AND status < 600"),
        _count("measured", MEASURED),
        _sum("duration_sum", "duration_us", MEASURED),
        _count("origin_count", f"{MEASURED} AND origin_us > 0"),
        _sum("origin_sum", "origin_us", MEASURED),
        _sum("own_sum", _OWN, MEASURED),
        _VISITORS,
        _digest("duration_q", "duration_us", MEASURED),
        _digest("origin_q", "origin_us", f"{MEASURED} AND origin_us > 0"),
        _digest("own_q", _OWN, MEASURED),
    )
)

# Of one value of one dimension: of requests alone.
FACET: Final[Mapping[str, Measure]] = dict(
    (
        _count("requests", "kind = 'request'"),
        _count("people", "bot_reason = ''"),
        _sum("page_views", "page_view"),
        _count("errors", "status >= 500"),
        _sum("sent", "response_bytes"),
        _count("measured", MEASURED),
        _sum("duration_sum", "duration_us", MEASURED),
        _VISITORS,
        # Of paths alone: of what else would anybody ask how slow it is?
        _digest("duration_q", "duration_us", f"facet = 1 AND {MEASURED}"),
    )
)

# The host of another site's page: with and without "www." it is the same site.
_HOST: Final = "CAST(host AS String)"
_REFERRER: Final = (
    f"if(referrer_host = {_HOST} OR referrer_host = concat('www.', {_HOST})"
    f" OR concat('www.', referrer_host) = {_HOST}, '', referrer_host)"
)


def _word(column: str) -> str:
    # 18.16 mixes LowCardinality and String in no array.
    return f"CAST({column} AS String)"


# Dimension -> its number in the tables, which never changes, and its value for a row; a row
# without one ("") is not counted under it.
FACETS: Final[Mapping[str, tuple[int, str]]] = {
    "path": (1, "path"),
    "entry": (2, "if(page_view = 1 AND channel != 'internal', path, '')"),
    "referrer": (3, _REFERRER),
    "channel": (4, _word("channel")),
    "utm_source": (5, _word("utm_source")),
    "utm_medium": (6, _word("utm_medium")),
    "utm_campaign": (7, "utm_campaign"),
    "country": (8, _word("country")),
    "browser": (9, _word("browser")),
    "system": (10, _word("system")),
    "device": (11, _word("device")),
    "bot": (12, _word("bot")),
    "bot_reason": (13, _word("bot_reason")),
    "status": (14, "toString(status)"),
}

TRAFFIC_TABLES: Final[Mapping[str, int]] = {
    "traffic_minute": MINUTE,
    "traffic_hour": HOUR,
    "traffic_day": DAY,
}
FACET_TABLES: Final[Mapping[str, int]] = {"facets_hour": HOUR, "facets_day": DAY}


def floor_of(seconds: int) -> str:
    """Return the beginning of a row's minute, hour or day (UTC), whatever the server's zone is."""
    return f"toDateTime(intDiv(toUInt32(time), {seconds}) * {seconds})"


def traffic_of_rows(where: str = "") -> str:
    """Return the SELECT that makes rows of ``traffic_minute`` of requests."""
    return (
        f"SELECT site, {floor_of(MINUTE)} AS time, CAST(bot_reason = '' AS UInt8) AS human,"
        f" {_all(TRAFFIC)} FROM requests{where} GROUP BY site, time, human"
    )


def facets_of_rows(where: str = "") -> str:
    """Return the SELECT that makes rows of ``facets_hour`` of requests.

    :param where: " AND ..." with further conditions.
    """
    return (
        f"SELECT site, {floor_of(HOUR)} AS time, facet, value, {_all(FACET)}"
        f" FROM requests {rows_of(FACETS)}{where} GROUP BY site, time, facet, value"
    )


def rows_of(facets: Iterable[str]) -> str:
    """Return what makes of each request a row for each of these dimensions of which it has a value;
    it stands behind ``FROM requests``."""
    numbers = ", ".join(str(FACETS[name][0]) for name in facets)
    values = ", ".join(FACETS[name][1] for name in facets)
    return (
        f"ARRAY JOIN [{numbers}] AS facet, [{values}] AS value"
        " WHERE kind = 'request' AND value != ''"
    )


def _all(measures: Mapping[str, Measure]) -> str:
    return ", ".join(f"{measure.raw} AS {name}" for name, measure in measures.items())


def _coarser(source: str, seconds: int, keys: str, measures: Mapping[str, Measure]) -> str:
    """Return the SELECT that makes coarser roll-ups of finer ones."""
    merged = ", ".join(
        f"{measure.merged.replace('Merge(', 'MergeState(')} AS {name}"
        for name, measure in measures.items()
    )
    return (
        f"SELECT site, {floor_of(seconds)} AS time, {keys}, {merged}"
        f" FROM {source} GROUP BY site, time, {keys}"
    )


def feed_of(table: str, version: Version) -> str:
    """Return what to insert into, so that rows reach ``table`` and the views that follow it."""
    return table if version >= _FEEDS_BY_TABLE else f"{table}_view"


def statements(plan: Plan) -> list[str]:
    """Return what makes the roll-ups' tables and views."""
    hour, day = "human", "facet, value"
    selects = {
        "traffic_minute": traffic_of_rows(),
        "traffic_hour": _coarser(feed_of("traffic_minute", plan.version), HOUR, hour, TRAFFIC),
        "traffic_day": _coarser(feed_of("traffic_hour", plan.version), DAY, hour, TRAFFIC),
        "facets_hour": facets_of_rows(),
        "facets_day": _coarser(feed_of("facets_hour", plan.version), DAY, day, FACET),
    }
    made = [
        _table(plan, name, "human UInt8", TRAFFIC, "site, time, human") for name in TRAFFIC_TABLES
    ]
    made += [
        _table(plan, name, "facet UInt8, value String", FACET, "site, facet, time, value")
        for name in FACET_TABLES
    ]
    views = [
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_view TO {name} AS {select}"
        for name, select in selects.items()
    ]
    return made + views


def _table(plan: Plan, name: str, keys: str, measures: Mapping[str, Measure], order: str) -> str:
    columns = ", ".join(f"{column} {measure.kind}" for column, measure in measures.items())
    # Minutes are for the charts of some hours; they are a thousand times as many as days.
    days, by = (
        (plan.raw_days, "toYYYYMMDD") if name == "traffic_minute" else (ROLLUP_DAYS, "toYYYYMM")
    )
    # No deduplication window: two segments may well have the same figures.
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (site UInt32, time DateTime('UTC'), {keys}, {columns})"
        f" ENGINE = SummingMergeTree PARTITION BY {by}(time) ORDER BY ({order})"
        f"{plan.end(days, deduplicates=False)}"
    )


def columns_of(measures: Mapping[str, Measure], names: Sequence[str]) -> str:
    """Return figures as columns made of raw rows, under the names that they have in roll-ups."""
    return ", ".join(f"{measures[name].raw} AS {name}" for name in names)
