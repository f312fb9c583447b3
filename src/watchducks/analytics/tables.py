"""The tables of the log store: what makes them, on every version of the server. Pure.

One schema for every version from ClickHouse 18.16 to the newest chDB; what a version has beyond
that (codecs, TTL, the deduplication window) is added where it is known.

``requests`` is partitioned by UTC day: a segment's existence check and most queries read one or a
few days, and old days go as a whole. Texts have a dictionary in each part, which is how the shipper
sends them: an insert takes half as long, and where a part has more texts than a dictionary holds it
goes on without one. Rows are ordered by site and time, because every question is
about one site over some time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from watchducks.analytics import ledger, rollups
from watchducks.analytics.plan import Plan

# A year and a month: a month can be compared with the same month of the year before.
DNS_DAYS: Final = 400

# What is known of a request beyond what the proxy saw: words of which there are few.
ENRICHED_WORDS: Final = (
    "browser",
    "browser_version",
    "system",
    "device",  # desktop, mobile, tablet, other
    "bot",  # its name
    "bot_reason",  # why it is taken for one; "": a person
    "channel",  # direct, search, social, ai, mail, paid, referral, internal
    "utm_source",
    "utm_medium",
    "country",  # ISO 3166-1 alpha-2
)


class Migration(NamedTuple):
    """One step. Its statements may run twice, and at the same time on several hosts.

    :ivar oldest_program: the newest migration of the oldest program that can work on the tables
        beside this step: a low one as long as steps only add.
    """

    number: int
    oldest_program: int
    statements: Callable[[Plan], list[str]]


def _requests(plan: Plan) -> list[str]:
    return plan.table(
        "requests",
        "segment LowCardinality(String),"
        f" time DateTime('UTC'){plan.codec('DoubleDelta, LZ4')},"
        f" time_us UInt64{plan.codec('Delta, ZSTD')},"
        " site UInt32,"
        " kind LowCardinality(String),"
        " scheme LowCardinality(String),"
        " protocol LowCardinality(String),"
        " method LowCardinality(String),"
        " host LowCardinality(String),"
        " path LowCardinality(String),"
        " status UInt16,"
        " reason LowCardinality(String),"
        " visitor UInt64,"
        " referrer_host LowCardinality(String),"
        " request_bytes UInt64,"
        " response_bytes UInt64,"
        f" duration_us UInt64{plan.codec('T64, LZ4')},"
        f" origin_us UInt64{plan.codec('T64, LZ4')},"
        + "".join(f" {name} LowCardinality(String)," for name in ENRICHED_WORDS)
        + " utm_campaign LowCardinality(String),"
        " query LowCardinality(String),"  # only the parameters that the owner lists
        " network LowCardinality(String),"  # the address, truncated, if the owner wants it
        # 1: a person's navigation: an HTML document, answered to a GET with 2xx or 304.
         + " page_view UInt8,"
        f" {rollups.AGES_BY['requests']} DateTime('UTC') DEFAULT now()",
        "PARTITION BY toYYYYMMDD(time) ORDER BY (site, time)",
        days=plan.raw_days,
        ages_by=rollups.AGES_BY["requests"],
        # A segment is in one shard, so that it is there as a whole or not at all.
        shard_by="cityHash64(CAST(segment AS String))",
    )


def _dns_questions(plan: Plan) -> list[str]:
    """Counts of DNS questions: as large as a zone is popular, and a month of them is one part."""
    return plan.table(
        "dns_questions",
        "time DateTime('UTC'),"
        " zone String,"
        " type LowCardinality(String),"
        " rcode LowCardinality(String),"
        " network String,"
        " questions UInt64",
        "PARTITION BY toYYYYMM(time) ORDER BY (zone, time)",
        days=DNS_DAYS,
        # Two name servers may well have been asked the same.
        deduplicates=plan.tells_blocks_apart,
    )


def _verdicts(plan: Plan) -> list[str]:
    """Changes of a verdict on a proxy, each as one name server saw it: a few a year, or a flood in
    a bad hour, and kept for as long as the charts that they explain."""
    return plan.table(
        "verdicts",
        "time DateTime('UTC'),"
        " observer LowCardinality(String),"
        " address LowCardinality(String),"
        " healthy UInt8,"
        " healthy_proxies UInt16,"
        " reason String",
        "PARTITION BY toYYYYMM(time) ORDER BY (observer, time)",
    )


def _ledger(plan: Plan) -> list[str]:
    """What is known of the roll-ups; see ledger. Some hundred rows, as what is done with goes."""
    return plan.table(
        ledger.TABLE,
        "kind String,"
        " day UInt32,"  # since 1970
        " made UInt64,"
        " unit UInt32,"
        " other UInt64,"
        " token String,"
        " at DateTime('UTC') DEFAULT now()",
        "PARTITION BY tuple() ORDER BY (kind, day)",
        deduplicates=False,
    )


def _annotations(plan: Plan) -> list[str]:
    """What happened to a site, to be shown with its charts."""
    return plan.table(
        "annotations",
        "time DateTime('UTC'),"
        " site UInt32,"  # 0: all of them
        " kind LowCardinality(String),"
        " detail String",
        "PARTITION BY toYYYYMM(time) ORDER BY (site, time)",
        days=rollups.ROLLUP_DAYS,
    )


def _losses(plan: Plan) -> list[str]:
    """Requests that were observed but not kept: none, or some rows an hour, site and node. A batch
    may be there twice."""
    return plan.table(
        "losses",
        "time DateTime('UTC'),"  # of the first
        " until DateTime('UTC'),"  # of the last
        " site UInt32,"
        " node LowCardinality(String),"
        " batch String,"
        " rows UInt64",
        "PARTITION BY toYYYYMM(time) ORDER BY (site, time)",
        days=rollups.ROLLUP_DAYS,
    )


# Forward only: a number that was released never changes and never goes.
MIGRATIONS: Final = (
    Migration(1, 1, _requests),
    Migration(2, 1, _dns_questions),
    Migration(3, 1, _verdicts),
    Migration(4, 1, rollups.statements),
    Migration(5, 1, _ledger),
    Migration(6, 1, _annotations),
    Migration(7, 1, _losses),
)


def applied(plan: Plan) -> list[str]:
    """Return what makes the table of the migrations that were made."""
    return plan.table(
        "schema_migrations",
        "version UInt32, oldest_program UInt32, applied DateTime('UTC')",
        "PARTITION BY tuple() ORDER BY version",
        deduplicates=False,
    )
