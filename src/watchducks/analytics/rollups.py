"""Roll-ups: what is kept of single requests by minute, hour and day, and the same made of raw rows.

Requests are inserted into ``requests`` alone. :mod:`watchducks.analytics.upkeep` makes the
roll-ups of an hour when it is over, and those of a day of its hours'::

    requests -> traffic_minute, traffic_hour; traffic_hour -> traffic_day     all of a site
             -> facets_hour -> facets_day                 by one value of one dimension

Every figure is defined once, here: as it is made of rows (:attr:`Measure.raw`), as it is put
together again (:attr:`Measure.merged`), and as a day has it, so that roll-ups and raw rows cannot
disagree on what a figure means. Times are UTC; a row's time is the beginning of its minute, hour or
day. ``made`` says in which making a row came to be; which of them count is in the ledger
(:mod:`watchducks.analytics.ledger`). A key may have several rows in one making: they add up.

Visitors' ids change with the site and with the UTC day, whose key is destroyed, and imported rows
have keys of their own for each day: no id is one of two days, or of two sites. So a day has the
number of its visitors, and numbers of days are added up; what is less than a day has states, which
are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from watchducks.analytics import histograms
from watchducks.analytics.plan import Plan

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


def _histogram(name: str, what: str, condition: str) -> tuple[str, Measure]:
    return name, Measure(
        histograms.KIND, histograms.made_of(what, condition), histograms.merged(name)
    )


# Of a day it is a number, in a column of this name.
DAY_VISITORS: Final = "visitors_of_days"
MERGED_VISITORS: Final = f"uniqIfMerge(visitors) + sum({DAY_VISITORS})"
# No constant, which 18.16 cannot put beside a column where tables are distributed.
_NO_DAYS: Final = "materialize(toUInt64(0))"
# The state of nobody.
NO_VISITORS: Final = "arrayReduce('uniqIfState', [toUInt64(0)], [toUInt8(0)])"
_VISITORS: Final = (
    "visitors",
    Measure(
        "AggregateFunction(uniqIf, UInt64, UInt8)",
        f"uniqIfState(visitor, {_VISITOR})",
        MERGED_VISITORS,
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
        _histogram("durations", "duration_us", MEASURED),
        _histogram("origins", "origin_us", f"{MEASURED} AND origin_us > 0"),
        _histogram("owns", _OWN, MEASURED),
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
        _histogram("durations", "duration_us", f"facet = 1 AND {MEASURED}"),
    )
)


def word(column: str) -> str:
    """Return a text without its dictionary: 18.16 mixes the two in no array."""
    return f"CAST({column} AS String)"


# The host of another site's page: with and without "www." it is the same site.
_HOST: Final = word("host")
_FROM: Final = word("referrer_host")
_REFERRER: Final = (
    f"if({_FROM} = {_HOST} OR {_FROM} = concat('www.', {_HOST})"
    f" OR concat('www.', {_FROM}) = {_HOST}, '', {_FROM})"
)


# Dimension -> its number in the tables, which never changes, and its value for a row; a row
# without one ("") is not counted under it.
FACETS: Final[Mapping[str, tuple[int, str]]] = {
    "path": (1, word("path")),
    "entry": (2, f"if(page_view = 1 AND channel != 'internal', {word('path')}, '')"),
    "referrer": (3, _REFERRER),
    "channel": (4, word("channel")),
    "utm_source": (5, word("utm_source")),
    "utm_medium": (6, word("utm_medium")),
    "utm_campaign": (7, word("utm_campaign")),
    "country": (8, word("country")),
    "browser": (9, word("browser")),
    "system": (10, word("system")),
    "device": (11, word("device")),
    "bot": (12, word("bot")),
    "bot_reason": (13, word("bot_reason")),
    "status": (14, "toString(status)"),
}

TRAFFIC_TABLES: Final[Mapping[str, int]] = {
    "traffic_minute": MINUTE,
    "traffic_hour": HOUR,
    "traffic_day": DAY,
}
FACET_TABLES: Final[Mapping[str, int]] = {"facets_hour": HOUR, "facets_day": DAY}
MINUTES: Final = "traffic_minute"
# The tables that are kept for as long as the settings say, and by which column: from when on they
# were here, as an old access log that is imported has to stay until it is rolled up.
AGES_BY: Final[Mapping[str, str]] = {"requests": "shipped", MINUTES: "rolled"}

# Rows of a table that are read together. A month of a site is 60 rows of days, each with states
# that take longer to read than a hundred numbers: with the server's own 8192, a question about one
# site read those of a hundred others. Of tables with more rows they are more, or the marks that
# lead to them would take the memory.
_TOGETHER: Final = {"traffic_hour": 128, "traffic_day": 128}
_MANY_TOGETHER: Final = 1024

# Nobody waits for roll-ups: they take no more than one core from those who are waited for.
GENTLY: Final = "SETTINGS max_threads = 1"


def floor_of(seconds: int) -> str:
    """Return the beginning of a row's minute, hour or day (UTC), whatever the server's zone is."""
    return f"toDateTime(intDiv(toUInt32(time), {seconds}) * {seconds})"


def rows_of(facets: Iterable[str]) -> str:
    """Return what makes of each request a row for each of these dimensions of which it has a value;
    it stands behind ``FROM requests``."""
    numbers = ", ".join(str(FACETS[name][0]) for name in facets)
    values = ", ".join(FACETS[name][1] for name in facets)
    return (
        f"ARRAY JOIN [{numbers}] AS facet, [{values}] AS value"
        " WHERE kind = 'request' AND value != ''"
    )


# The keys of each kind of roll-up besides site and time, and what a row of `requests` has for them.
_KEYS: Final = {"traffic": ("human",), "facets": ("facet", "value")}
_RAW_KEYS: Final = {
    "human": "CAST(bot_reason = '' AS UInt8)",
    "facet": "toUInt8(facet)",
    "value": "value",
}


def _of(table: str) -> tuple[str, Mapping[str, Measure]]:
    """Return whether a table is of traffic or of facets, and its figures."""
    kind = table.partition("_")[0]
    return kind, TRAFFIC if kind == "traffic" else FACET


def roll_rows(table: str, batch: int, where: str) -> str:
    """Return the statement that makes rows of a table of minutes or hours of requests.

    :param batch: its rows' ``made`` is this and the hour of the day.
    :param where: which requests; within one UTC day.
    """
    kind, measures = _of(table)
    seconds = {**TRAFFIC_TABLES, **FACET_TABLES}[table]
    keys = _KEYS[kind]
    source = f"requests {rows_of(FACETS)} AND" if kind == "facets" else "requests WHERE"
    raw_keys = ", ".join(f"{_RAW_KEYS[key]} AS k_{key}" for key in keys)
    grouped = ", ".join(f"k_{key}" for key in keys)
    # Another name than the column's, or conditions on the time would not lead to its index.
    return (
        f"INSERT INTO {table} (site, time, {', '.join(keys)}, made, {', '.join(measures)})"
        f" SELECT site, {floor_of(seconds)} AS begin, {raw_keys},"
        f" toUInt64({batch} + intDiv(toUInt32(begin) % {DAY}, {HOUR})) AS number,"
        f" {', '.join(measure.raw for measure in measures.values())}"
        f" FROM {source} {where} GROUP BY site, begin, {grouped} {GENTLY}"
    )


def roll_hours(table: str, made: int, day: int, where: str) -> str:
    """Return the statement that makes rows of a table of days of those of its hours.

    :param day: UTC days since 1970. :param where: which rows; of this day.
    """
    kind, measures = _of(table)
    keys = ", ".join(_KEYS[kind])
    columns = [name if name != "visitors" else DAY_VISITORS for name in measures]
    merged = [
        "uniqIfMerge(visitors)" if name == "visitors" else _state(measure.merged)
        for name, measure in measures.items()
    ]
    return (
        f"INSERT INTO {table} (site, time, {keys}, made, {', '.join(columns)})"
        f" SELECT site, toDateTime({day * DAY}), {keys}, toUInt64({made}), {', '.join(merged)}"
        f" FROM {kind}_hour WHERE {where} GROUP BY site, {keys} {GENTLY}"
    )


def _state(merged: str) -> str:
    return merged.replace("Merge(", "MergeState(")


def columns_of_rollups(table: str, names: Sequence[str]) -> str:
    """Return the columns of a table of roll-ups that the merged figures are made of."""
    if "visitors" not in names:
        return ", ".join(names)
    if not table.endswith("_day"):
        return ", ".join((*names, f"{_NO_DAYS} AS {DAY_VISITORS}"))
    columns = [f"{NO_VISITORS} AS visitors" if name == "visitors" else name for name in names]
    return ", ".join((*columns, DAY_VISITORS))


def columns_of_rows(measures: Mapping[str, Measure], names: Sequence[str]) -> str:
    """Return the same made of raw rows, under the names that they have in roll-ups."""
    columns = [f"{measures[name].raw} AS {name}" for name in names]
    if "visitors" in names:
        columns.append(f"{_NO_DAYS} AS {DAY_VISITORS}")
    return ", ".join(columns)


def statements(plan: Plan) -> list[str]:
    """Return what makes the roll-ups' tables."""
    return [
        statement
        for tables, keys, order in (
            (TRAFFIC_TABLES, "human UInt8", "site, time, human"),
            (FACET_TABLES, "facet UInt8, value String", "site, facet, time, value"),
        )
        for name in tables
        for statement in _table(plan, name, keys, order)
    ]


def _table(plan: Plan, name: str, keys: str, order: str) -> list[str]:
    _, measures = _of(name)
    is_day = name.endswith("_day")
    columns = ", ".join(
        f"{DAY_VISITORS} UInt64" if is_day and column == "visitors" else f"{column} {measure.kind}"
        for column, measure in measures.items()
    )
    by, days, ages_by = "toYYYYMM", ROLLUP_DAYS, "time"
    if name == MINUTES:
        # Minutes are for the charts of some hours; they are a thousand times as many as days. They
        # go with the rows that they were made of.
        by, days, ages_by = "toYYYYMMDD", plan.raw_days, AGES_BY[name]
        columns = f"{ages_by} DateTime('UTC') DEFAULT now(), {columns}"
    return plan.table(
        name,
        f"site UInt32, time DateTime('UTC'), {keys}, made UInt64, {columns}",
        f"PARTITION BY {by}(time) ORDER BY ({order})",
        days=days,
        ages_by=ages_by,
        shard_by="site",
        # Two parts of one making may have the same figures.
        deduplicates=False,
        together=_TOGETHER.get(name, _MANY_TOGETHER),
    )
