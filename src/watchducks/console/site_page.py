"""The page of one site: everything that was measured of it over a period, perhaps filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from watchducks.analytics.filters import Filters, read_filters
from watchducks.analytics.periods import CUSTOM, DAY, Period
from watchducks.analytics.results import Dns, SiteTotals
from watchducks.background import Turns
from watchducks.console.asked import Asked
from watchducks.console.backlog import Backlog
from watchducks.console.boards import range_links
from watchducks.console.calendar import calendar
from watchducks.console.clocks import Clock
from watchducks.console.drawing import lines
from watchducks.console.figures import DEFAULT_RANGE, Figures
from watchducks.console.happenings import of_site
from watchducks.console.interfaces import SiteFigures
from watchducks.console.languages import Language, mark
from watchducks.console.lists import CARDS, DIMENSIONS, chips, list_cards
from watchducks.console.tiles import tiles
from watchducks.console.views import WORDS, cards
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

# What of the address is the reader's choice.
PARAMETERS: Final = ("range", "from", "to", *DIMENSIONS, *CARDS)
_PERIOD: Final = ("range", "from", "to")
# Response codes of DNS, for who is no engineer.
_RCODES: Final = {
    "NOERROR": mark("answered"),
    "NXDOMAIN": mark("no such name"),
    "SERVFAIL": mark("could not be answered"),
    "REFUSED": mark("refused"),
}
# Types and response codes of DNS that are told apart on the page.
_DNS_KINDS: Final = 4


@dataclass(frozen=True, slots=True)
class DnsCard:
    """DNS questions about the site's zone."""

    questions: int
    types: Sequence[tuple[str, int]]
    rcodes: Sequence[tuple[str, int]]
    drawing: Markup


class SitePage:
    """Puts together what the page shows of a site's figures."""

    def __init__(
        self, figures: Figures, analytics: SiteFigures, backlog: Backlog, turns: Turns
    ) -> None:
        self._figures = figures
        self._backlog = backlog
        self._turns = turns
        self._analytics = analytics

    def period(self, asked: Asked, clock: Clock) -> Period:
        """Return the period that the address names; days stand for their beginning and end.

        :raises InvalidFields: there is no such one.
        """
        if asked.get("range") != CUSTOM:
            return self._figures.period(asked.get("range"), zone=clock.name)
        first = _moment(asked, "from", clock.zone)
        last = _moment(asked, "to", clock.zone, days=1)
        return self._figures.period(CUSTOM, first, last, clock.name)

    async def values(
        self, site: Site, asked: Asked, language: Language, clock: Clock
    ) -> dict[str, Any]:
        """Return what the template needs. :raises InvalidFields: the address is wrong."""
        chosen = self.period(asked, clock)
        filters = read_filters(
            None, {name: asked.all(name) for name in DIMENSIONS if asked.all(name)}
        )
        head = {
            "ranges": range_links(asked, language),
            "chosen_range": asked.get("range") or DEFAULT_RANGE,
            "custom": asked.get("range") == CUSTOM,
            "kept": [pair for pair in asked.parameters if pair[0] not in _PERIOD],
            "first_day": _day(chosen.start, clock.zone),
            "last_day": _day(chosen.end - 1, clock.zone),
            "daily": chosen.bucket >= DAY,
            "rcodes": {code: language.gettext(word) for code, word in _RCODES.items()},
            "words": {key: language.gettext(word) for key, word in WORDS.items()},
            "chips": chips(asked, language),
            "behind": await self._backlog.minutes(),
            "question": _question(asked, chosen, clock),
        }
        try:
            return {**head, **await self._measured(site, chosen, filters, asked, language, clock)}
        except (StoreUnavailable, StoreRefused):
            # The page says so, and how to get here is worth showing all the same.
            return {**head, "figures": None, "silent": False, "stale": False}

    async def _measured(
        self,
        site: Site,
        chosen: Period,
        filters: Filters,
        asked: Asked,
        language: Language,
        clock: Clock,
    ) -> dict[str, Any]:
        figures = await self._figures.site_page(site.id, chosen, filters)
        await self._turns.next()
        nothing = SiteTotals.nothing()
        now = await self._analytics.totals([site.id], chosen, filters)
        before = await self._analytics.totals([site.id], chosen.before, filters)
        noted = await self._analytics.annotations(site.id, chosen)
        month = self._figures.period("month", zone=clock.name)
        daily = await self._figures.visitors(site.id, month)
        await self._turns.next()
        drawn = cards(language, figures, [each.time for each in noted])
        await self._turns.next()
        return {
            "figures": figures,
            "cards": drawn,
            "happened": of_site(language, noted, figures.failovers),
            "silent": not (figures.traffic.requests or figures.traffic.connections),
            "tiles": tiles(language, now.get(site.id, nothing), before.get(site.id, nothing)),
            "lists": await list_cards(self._analytics, site.id, chosen, filters, asked, language),
            "calendar": calendar(daily.points, clock.zone, language),
            "stale": self._analytics.is_stale,
            "dns": _dns(await self._figures.dns(site.zone, chosen), chosen),
        }


def _dns(found: Dns, chosen: Period) -> DnsCard | None:
    if not found.questions:
        return None
    return DnsCard(
        found.questions,
        list(found.types.items())[:_DNS_KINDS],
        list(found.rcodes.items())[:_DNS_KINDS],
        lines(chosen.times, [[point.questions for point in found.points]], filled=True),
    )


def _question(asked: Asked, chosen: Period, clock: Clock) -> str:
    """Return the query with which the API shows the same."""
    pairs = [pair for pair in asked.parameters if pair[0] in DIMENSIONS]
    pairs.append(("tz", clock.name))
    if asked.get("range") == CUSTOM:
        period = [("range", CUSTOM), ("from", _iso(chosen.start)), ("to", _iso(chosen.end))]
    else:
        period = [("range", asked.get("range") or DEFAULT_RANGE)]
    return urlencode([*period, *pairs])


def _iso(posix_seconds: int) -> str:
    return datetime.fromtimestamp(posix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(posix_seconds: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(posix_seconds, zone).date().isoformat()


def _moment(asked: Asked, name: str, zone: tzinfo, *, days: int = 0) -> str | None:
    """Return a time as the API takes it. :param days: added to what is a day alone, of ``zone``."""
    text = asked.get(name)
    if text is None or len(text) != len("2026-11-22"):
        return text
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError):
        problem = Problem("not-a-day", "{value} is not a day, such as 2026-11-22", value=text)
        raise InvalidFields({name: problem}) from None
    midnight = datetime.combine(day, time(), zone).timestamp()
    return _iso(int(midnight))
