"""What is worth a letter: pure rules over figures.

A letter's topic names the site and the day, the week or the failover, so that whoever looks, and
however often, one letter is posted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.results import Failover, PathTraffic, SiteTotals, Traffic
from watchducks.model.letters import Letter, LetterKind, site_letter
from watchducks.model.sites import Site, SiteState

WEEK: Final = 7 * DAY
# A failover that is over by then was a proxy's restart, and nobody needs to do anything.
FAILOVER_SECONDS: Final = 60
# How long after its end it is still news.
FAILOVER_NEWS_SECONDS: Final = 6 * HOUR
# Sites that one letter names.
MAX_SITES_NAMED: Final = 50

# An hour is compared with the same hour of so many days before; with fewer that have any traffic
# there is no "usual".
USUAL_DAYS: Final = 7
LEAST_USUAL_DAYS: Final = 3
# Five times as much, and so many more that no single visitor makes them by leafing through.
SPIKE_FACTOR: Final = 5
SPIKE_LEAST_MORE: Final = 1000
# A tenth of what is usual, where that is enough not to be chance.
DROP_SHARE: Final = 0.1
DROP_LEAST_USUAL: Final = 200
# One answer of five an error of the server, of enough that it is no single page.
ERROR_SHARE: Final = 0.2
ERROR_LEAST_REQUESTS: Final = 100
# Paths in a report.
REPORTED_PATHS: Final = 5

# The epoch was a Thursday: weeks begin on Monday, 00:00 UTC.
_MONDAY: Final = 4 * DAY


@dataclass(frozen=True, slots=True)
class Hour:
    """A site's requests in the hour that has just ended, and in the same hour of days before.

    :ivar errors: answers of 500 and above; None: nobody has looked.
    """

    start: int
    requests: int
    before: Sequence[int]
    errors: int | None = None

    @property
    def usual(self) -> float | None:
        """The middle of the days before that have traffic; None: there are too few."""
        seen = sorted(count for count in self.before if count)
        return seen[len(seen) // 2] if len(seen) >= LEAST_USUAL_DAYS else None


def last_hour(now: float) -> Period:
    """Return the hour that has ended last."""
    end = int(now) // HOUR * HOUR
    return Period(end - HOUR, end, HOUR, end)


def shifted(period: Period, seconds: int) -> Period:
    """Return a period so much earlier."""
    return Period(
        period.start - seconds, period.end - seconds, period.bucket, period.until - seconds
    )


def last_week(now: float) -> Period:
    """Return the week, Monday to Sunday in UTC, that has ended last."""
    end = (int(now) - _MONDAY) // WEEK * WEEK + _MONDAY
    return Period(end - WEEK, end, DAY, end)


def worth_errors(totals: SiteTotals) -> bool:
    """Return whether a site's errors of an hour are worth a look."""
    rate = totals.success_rate
    return totals.requests >= ERROR_LEAST_REQUESTS and rate is not None and rate <= 1 - ERROR_SHARE


def alerts(site: Site, hour: Hour, *, observed: bool) -> Iterator[Letter]:
    """Return what an owner is told of an hour; of each kind one letter a day.

    :param observed: all of the hour; else that little was seen means nothing.
    """
    topic = f"{hour.start // DAY}"
    usual = hour.usual
    if usual is not None:
        facts: dict[str, Any] = {
            "requests": hour.requests,
            "usual": round(usual),
            "hour": hour.start,
        }
        more = hour.requests - usual
        if hour.requests >= SPIKE_FACTOR * usual and more >= SPIKE_LEAST_MORE:
            yield site_letter(LetterKind.SPIKE, site, facts, topic=topic)
        if observed and usual >= DROP_LEAST_USUAL and hour.requests <= DROP_SHARE * usual:
            yield site_letter(LetterKind.DROP, site, facts, topic=topic)
    errors = hour.errors or 0
    if hour.requests >= ERROR_LEAST_REQUESTS and errors >= ERROR_SHARE * hour.requests:
        facts = {
            "requests": hour.requests,
            "count": errors,
            "share": errors / hour.requests,
            "hour": hour.start,
        }
        yield site_letter(LetterKind.ERRORS, site, facts, topic=topic)


def report(
    site: Site,
    week: Period,
    traffic: Traffic,
    totals: SiteTotals,
    before: SiteTotals,
    errors: int,
    paths: Iterable[PathTraffic],
    failovers: Iterable[Failover],
) -> Letter | None:
    """Return a site's report of a week; None: there is nothing to tell.

    :param totals: of the week; visitors of its days added up. :param before: of the week before.
    :param errors: answers of 500 and above.
    """
    if totals.requests == 0:
        return None
    facts: dict[str, Any] = {
        "first": week.start,
        "last": week.end - DAY,
        "requests": totals.requests,
        "requests_change": _change(totals.requests, before.requests),
        "visitors": totals.visitors / 7,
        "visitors_change": _change(totals.visitors, before.visitors),
        "success": 1 - errors / totals.requests,
        "p95": totals.p95_ms,
        "days": [_day(point.time) for point in traffic.points],
        "charts": {
            "requests": [
                None if _is_covered(point.time, failovers) else point.requests
                for point in traffic.points
            ]
        },
        "paths": [[path.path[:100], path.requests, ""] for path in paths],
    }
    return site_letter(LetterKind.REPORT, site, facts, topic=f"{week.start // DAY}")


def failover_letters(
    failovers: Iterable[Failover],
    sites: Mapping[str, Sequence[Site]],
    now: float,
    *,
    brief: float = FAILOVER_SECONDS,
) -> Iterator[Letter]:
    """Return what owners are told of failovers: that one began, and that it ended.

    :param sites: owner's address -> his sites that were carried.
    :param brief: one that lasts no longer is told to nobody.
    """
    for failover in failovers:
        ended = failover.ended
        if (ended or now) - failover.began < brief:
            continue
        if ended is not None and now - ended > FAILOVER_NEWS_SECONDS:
            continue
        for email, his in sites.items():
            named = [site.domain for site in his[:MAX_SITES_NAMED]]
            facts: dict[str, Any] = {"began": failover.began, "sites": named}
            topic = f"failover:{failover.began}:{his[0].id}"
            # Also of one that is over already: the letter of its end follows, and says so.
            yield Letter(LetterKind.FAILOVER_BEGAN, email, facts=facts, topic=f"{topic}:began")
            if ended is not None:
                facts = {**facts, "ended": ended}
                yield Letter(LetterKind.FAILOVER_ENDED, email, facts=facts, topic=f"{topic}:ended")


def carried(sites: Iterable[Site]) -> dict[str, list[Site]]:
    """Return the sites whose visitors come through us, by their owner's address."""
    found: dict[str, list[Site]] = {}
    for site in sites:
        if site.state is SiteState.ACTIVE:
            found.setdefault(site.email, []).append(site)
    return found


def overlaps(failovers: Iterable[Failover], period: Period) -> bool:
    """Return whether some of a period was not observed."""
    return any(
        failover.began < period.end and (failover.ended is None or failover.ended > period.start)
        for failover in failovers
    )


def _is_covered(day: int, failovers: Iterable[Failover]) -> bool:
    return any(
        failover.began <= day and (failover.ended is None or failover.ended >= day + DAY)
        for failover in failovers
    )


def _change(now: float, before: float) -> float | None:
    return now / before - 1 if before else None


def _day(time: int) -> str:
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment.month}/{moment.day}"
