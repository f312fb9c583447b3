"""Questions about what happened: failovers, annotations, who is there now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from watchducks.analytics.periods import Period
from watchducks.analytics.reading import Reader
from watchducks.analytics.results import Annotation, Failover, Live, Lost, SiteAnnotation
from watchducks.stores.interfaces import LogStore

# A failover that began earlier than this before a chart's period is not shown in it.
LONGEST_FAILOVER_SECONDS: Final = 7 * 86_400

# Changes of verdicts read for one chart: years of them, or a very bad hour.
MOST_VERDICTS: Final = 10_000

# Losses of a site read for one chart: a week of them on ten hosts, by the hour.
MOST_LOSSES: Final = 2_000

# A chart's bucket is some twenty pixels wide: of less than a twelfth of it, it can show no gap.
_STRIPES: Final = 12

# More notes than these in a chart hide each other.
MOST_ANNOTATIONS: Final = 200
# What happened lately to many sites: what one reads beside them.
MOST_LATELY: Final = 10
# Of all sites.
EVERY_SITE: Final = 0
MAX_DETAIL_CHARACTERS: Final = 200

# Who asked for something in this time is there.
LIVE_SECONDS: Final = 300

# A burst of errors: every tenth answer is one of 500 and above, of so many that it is no accident.
BURST_SHARE: Final = 0.1
BURST_REQUESTS: Final = 20
# Of many sites, so many with the most errors are looked at by the bucket; a list of what happened
# lately has no room for more.
MOST_FAILING: Final = 20
_ANSWERS: Final = ("requests", "server_error")


class EventQuestions:
    """Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """Return when, within ``period`` or reaching into it, some name server of ours led visitors
        to the origins because it held every proxy for down; oldest first."""
        rows = await self.reader.store.query(
            "SELECT observer, toUInt32(time) AS at, healthy_proxies FROM verdicts"
            " WHERE time >= toDateTime(%(since)s) AND time < toDateTime(%(end)s)"
            f" ORDER BY observer, at, healthy_proxies LIMIT {MOST_VERDICTS}",
            {"since": period.start - LONGEST_FAILOVER_SECONDS, "end": period.until},
        )
        changes = [(str(observer), int(at), int(healthy)) for observer, at, healthy in rows]
        return find_failovers(changes, period.start)

    async def lost(self, site_id: int, period: Period) -> tuple[Lost, ...]:
        """Return the requests of ``period`` that could not be kept, together where a chart could
        not show what lies between them; oldest first. What reaches into the period counts in
        full."""
        rows = await self.reader.store.query(
            # The same batch may have been stored twice.
            "SELECT DISTINCT toUInt32(time) AS first, toUInt32(until) AS last, rows, batch"
            " FROM losses WHERE site = %(site)s AND time < toDateTime(%(end)s)"
            f" AND until >= toDateTime(%(start)s) ORDER BY first, last LIMIT {MOST_LOSSES}",
            {"site": site_id, "start": period.start, "end": period.data_end},
        )
        return join_losses(
            [Lost(int(first), int(last), int(count)) for first, last, count, _ in rows],
            period.bucket // _STRIPES,
        )

    async def annotations(self, site_id: int, period: Period) -> tuple[Annotation, ...]:
        """Return what was noted of a site, or of all, within ``period``, and where bursts of server
        errors begin; oldest first."""
        rows = await self.reader.store.query(
            "SELECT DISTINCT toUInt32(time) AS at, toString(kind) AS what, detail FROM annotations"
            " WHERE site IN %(sites)s AND time >= toDateTime(%(start)s)"
            " AND time < toDateTime(%(end)s)"
            f" ORDER BY at, what, detail LIMIT {MOST_ANNOTATIONS}",
            {"sites": (EVERY_SITE, site_id), "start": period.start, "end": period.data_end},
        )
        noted = [Annotation(int(at), str(kind), str(detail)) for at, kind, detail in rows]
        counts = await self.reader.traffic([site_id], period, _ANSWERS, by_bucket=True)
        answers = sorted((int(time), int(total), int(errors)) for time, total, errors in counts)
        return tuple(sorted([*noted, *find_error_bursts(answers, period.bucket)], key=_time_of))

    async def lately(self, site_ids: Sequence[int], period: Period) -> tuple[SiteAnnotation, ...]:
        """Return what happened last to some sites, or to all, within ``period``: what was noted,
        and where bursts of server errors begin; the latest first."""
        rows = await self.reader.store.query(
            "SELECT DISTINCT site, toUInt32(time) AS at, toString(kind) AS what, detail"
            " FROM annotations WHERE site IN %(sites)s AND time >= toDateTime(%(start)s)"
            " AND time < toDateTime(%(end)s)"
            f" ORDER BY at DESC, site, what, detail LIMIT {MOST_LATELY}",
            {
                "sites": (EVERY_SITE, *site_ids),
                "start": period.start,
                "end": period.data_end,
            },
        )
        noted = [
            SiteAnnotation(int(site), int(at), str(kind), str(detail))
            for site, at, kind, detail in rows
        ]
        found = [*noted, *await self._bursts(site_ids, period)]
        return tuple(sorted(found, key=lambda each: -each.time)[:MOST_LATELY])

    async def _bursts(self, site_ids: Sequence[int], period: Period) -> list[SiteAnnotation]:
        """Return where bursts of server errors begin, of the sites that had the most errors."""
        if not site_ids:
            return []
        whole = await self.reader.traffic(site_ids, period, _ANSWERS, by_site=True)
        failing = [
            (int(errors), int(site))
            for site, _, errors in whole
            if int(errors) >= BURST_SHARE * BURST_REQUESTS
        ]
        worst = [site for _, site in sorted(failing, reverse=True)[:MOST_FAILING]]
        if not worst:
            return []
        answers: dict[int, list[tuple[int, int, int]]] = {}
        for site, *rest in await self.reader.traffic(
            worst, period, _ANSWERS, by_site=True, by_bucket=True
        ):
            time, requests, errors = (int(value) for value in rest)
            answers.setdefault(int(site), []).append((time, requests, errors))
        return [
            SiteAnnotation(site, burst.time, burst.kind, burst.detail)
            for site, of_site in answers.items()
            for burst in find_error_bursts(sorted(of_site), period.bucket)
        ]

    async def live(self, site_id: int) -> Live:
        """Return who was there within the last :data:`LIVE_SECONDS`."""
        now = int(self.reader.now())
        rows = await self.reader.store.query(
            "SELECT count(), sum(page_view), uniqIf(visitor, bot_reason = '' AND visitor != 0),"
            " countIf(bot_reason != '') FROM requests WHERE site = %(site)s"
            " AND kind = 'request' AND time > toDateTime(%(since)s)",
            {"site": site_id, "since": now - LIVE_SECONDS},
        )
        return Live(LIVE_SECONDS, *(int(value) for value in rows[0]))


async def annotate(
    store: LogStore, time: float, kind: str, detail: str, site_id: int = EVERY_SITE
) -> None:
    """Note that something happened. The same note again is the same note, where tokens are known.

    :param time: POSIX seconds.
    :param kind: a word: ``certificate``, ``certificate-failed``, ``name-servers`` ...
    :raises StoreUnavailable, StoreRefused: it was not noted.
    """
    await store.insert(
        "annotations",
        ("time", "site", "kind", "detail"),
        ([int(time)], [site_id], [kind], [detail[:MAX_DETAIL_CHARACTERS]]),
        f"annotation-{int(time)}-{site_id}-{kind}",
    )


def find_error_bursts(
    answers: Sequence[tuple[int, int, int]], bucket: int
) -> tuple[Annotation, ...]:
    """Return where bursts of server errors begin.

    :param answers: beginning of the bucket, requests, and how many got 500 and above; by time.
    :param bucket: seconds of one.
    """
    found: list[Annotation] = []
    last = -math.inf
    for time, requests, errors in answers:
        if requests < BURST_REQUESTS or errors < BURST_SHARE * requests:
            continue
        if time - last > bucket:
            found.append(Annotation(time, "error-burst", f"{errors / requests:.0%}"))
        last = time
    return tuple(found)


def _time_of(annotation: Annotation) -> int:
    return annotation.time


def join_losses(losses: Sequence[Lost], gap: int) -> tuple[Lost, ...]:
    """Return the losses with those made one that lie within ``gap`` seconds of each other.

    :param losses: by their beginning.
    """
    joined: list[Lost] = []
    for loss in losses:
        if joined and loss.began <= joined[-1].ended + gap:
            last = joined[-1]
            joined[-1] = Lost(
                last.began, max(last.ended, loss.ended), last.requests + loss.requests
            )
        else:
            joined.append(loss)
    return tuple(joined)


def find_failovers(changes: Sequence[tuple[str, int, int]], start: int = 0) -> tuple[Failover, ...]:
    """Return the times in which an observer had no healthy proxy, joined where they overlap.

    :param changes: observer, time, and how many proxies were healthy from then on; by observer and
        time.
    :param start: what ended before is left out.
    """
    spans: list[tuple[int, float]] = []
    for index, (observer, time, healthy) in enumerate(changes):
        if healthy:
            continue
        following = changes[index + 1] if index + 1 < len(changes) else None
        lasts = following is None or following[0] != observer
        spans.append((time, math.inf if following is None or lasts else following[1]))
    joined: list[tuple[int, float]] = []
    for began, ended in sorted(spans):
        if joined and began <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], ended)
        else:
            joined.append((began, ended))
    return tuple(
        Failover(began, None if ended == math.inf else int(ended))
        for began, ended in joined
        if ended > start
    )
