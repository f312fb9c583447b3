"""Boards: what is seen of many sites beside each other: overview, ranking, comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from markupsafe import Markup

from watchducks.analytics.cohorts import MOST_COMPARED
from watchducks.analytics.periods import RANGES, Period
from watchducks.analytics.results import SiteSeries, SiteTotals
from watchducks.background import Turns
from watchducks.console.access import Access
from watchducks.console.answers import Answers, Refusal
from watchducks.console.asked import Asked
from watchducks.console.clocks import clock_of
from watchducks.console.drawing import lines, spark
from watchducks.console.figures import DEFAULT_RANGE, Figures
from watchducks.console.frame import Frame
from watchducks.console.happenings import Happening, of_sites
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import SiteFigures, Sites
from watchducks.console.languages import Language, Languages, mark
from watchducks.console.lists import Chip
from watchducks.console.ranks import (
    METRICS,
    compared,
    left_out_of,
    milliseconds,
    ranked_by,
    ranking_rows,
    unranked,
    values_of,
)
from watchducks.console.routing import Routes, router
from watchducks.console.states import state_names
from watchducks.console.tiles import Tile, tiles
from watchducks.console.together import sites_together
from watchducks.console.views import NOTHING
from watchducks.model.accounts import Viewer
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

PATHS: Final = (b"/", b"/ranking", b"/compare")

# Sites on one page: what a person scrolls through.
PAGE_SITES: Final = 60
# Sites whose requests are drawn on the overview: three questions more.
MOST_DRAWN: Final = 30
# Cards that are made in one turn of the reactor: less than a millisecond.
CARDS_A_TURN: Final = 20
# Columns that fit on a screen, and colours that can be told apart.
MOST_COLUMNS: Final = 6
# Offered while one types the name of a site to compare.
OFFERED_SITES: Final = 200

RANGE_NAMES: Final = {"day": mark("Day"), "week": mark("Week"), "month": mark("Month")}


@dataclass(frozen=True, slots=True)
class Entry:
    """A site in a short list. :ivar share: of the longest bar, from 0 to 1."""

    name: str
    text: str
    more: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Board:
    """The upper part of the overview."""

    tiles: Sequence[Tile]
    top: Sequence[Entry]
    drawing: Markup
    fastest: Sequence[Entry]
    happened: Sequence[Happening]


@dataclass(frozen=True, slots=True)
class SiteCard:
    """One site of the overview."""

    site: Site
    requests: str
    visitors: str
    drawing: Markup


class Boards(Routes):
    """The pages of :data:`PATHS`."""

    app = router()

    def __init__(
        self,
        *,
        access: Access,
        sites: Sites,
        figures: Figures,
        analytics: SiteFigures,
        frame: Frame,
        languages: Languages,
        answers: Answers,
        turns: Turns,
    ) -> None:
        self._turns = turns
        self._access = access
        self._sites = sites
        self._figures = figures
        self._analytics = analytics
        self._frame = frame
        self._languages = languages
        super().__init__(answers)

    # --- overview -------------------------------------------------------------------------------

    @app.route("/", methods=["GET"])
    async def overview(self, request: ConsoleRequest) -> bytes:
        """Show how the sites are doing, all or those of one cohort."""
        asked = Asked.of(request, ("range", "cohort", "after"))
        language = self._languages.of(request)
        cohort = asked.get("cohort")
        viewer = await self._access.viewer(request)
        chosen = self._figures.period(asked.get("range"), zone=clock_of(request).name)
        counts = dict(await self._sites.cohorts(viewer=viewer))
        shown = await self._sites.sites(cohort, asked.get("after"), PAGE_SITES, viewer=viewer)
        board, cards = None, [SiteCard(site, NOTHING, NOTHING, Markup("")) for site in shown]
        try:
            board = await self._board(language, cohort, chosen, counts, viewer)
            cards = await self._cards(language, shown, chosen)
        except (StoreUnavailable, StoreRefused):
            pass  # the page says so, and the sites are there all the same
        cards.sort(key=lambda card: card.site.cohort)
        return await self._frame.long_page(
            request,
            "overview.html",
            page="overview",
            stale=board is not None and self._analytics.is_stale,
            cohort=cohort,
            cohorts=counts,
            cohort_links=_cohort_links(asked, counts, cohort, language),
            ranges=range_links(asked, language),
            site_count=counts.get(cohort, 0) if cohort else sum(counts.values()),
            board=board,
            groups=[
                (name, counts.get(name, 0), list(members))
                for name, members in groupby(cards, key=lambda card: card.site.cohort)
            ],
            next_page=asked.replaced(after=shown[-1].name).url
            if len(shown) == PAGE_SITES
            else None,
            state_names=state_names(language),
        )

    async def _board(
        self,
        language: Language,
        cohort: str | None,
        chosen: Period,
        counts: Mapping[str, int],
        viewer: Viewer,
    ) -> Board:
        sites = await sites_together(self._sites, cohort, viewer)
        names = {site.id: site.name for site in sites}
        found = await self._analytics.overview(list(names), chosen, unranked=unranked(sites))
        slowest = max((each.totals.p50_ms or 0.0 for each in found.quickest), default=0.0) or 1.0
        count = counts.get(cohort, 0) if cohort else sum(counts.values())
        registered = Tile("sites", language.gettext(mark("Registered sites")), str(count))
        return Board(
            [registered, *tiles(language, found.totals, found.before)],
            [
                Entry(names[each.site_id], language.compact(each.totals.requests))
                for each in found.busiest
            ],
            lines(chosen.times, [values_of(each) for each in found.busiest]),
            [
                Entry(
                    names[each.site_id],
                    milliseconds(language, each.totals.p50_ms),
                    milliseconds(language, each.totals.p95_ms),
                    (each.totals.p50_ms or 0.0) / slowest,
                )
                for each in found.quickest
            ],
            of_sites(
                language,
                await self._analytics.lately(list(names), chosen),
                await self._analytics.failovers(chosen),
                names,
            ),
        )

    async def _cards(
        self, language: Language, sites: Sequence[Site], chosen: Period
    ) -> list[SiteCard]:
        totals = await self._analytics.totals([site.id for site in sites], chosen)
        drawn: dict[int, SiteSeries] = {}
        busy = [site.id for site in sites if site.id in totals][:MOST_DRAWN]
        for start in range(0, len(busy), MOST_COMPARED):
            some = busy[start : start + MOST_COMPARED]
            drawn |= {each.site_id: each for each in await self._analytics.compare(some, chosen)}
        cards = []
        for number, site in enumerate(sites):
            if number % CARDS_A_TURN == 0:
                await self._turns.next()
            of_site = totals.get(site.id, SiteTotals.nothing())
            drawing = spark(values_of(drawn[site.id])) if site.id in drawn else Markup("")
            cards.append(
                SiteCard(
                    site,
                    language.compact(of_site.requests),
                    language.compact(of_site.visitors),
                    drawing,
                )
            )
        return cards

    # --- ranking --------------------------------------------------------------------------------

    @app.route("/ranking", methods=["GET"])
    async def ranking(self, request: ConsoleRequest) -> bytes:
        """Show the sites in their order by one of the metrics."""
        asked = Asked.of(request, ("by", "range", "cohort"))
        language = self._languages.of(request)
        by = ranked_by(asked.get("by"))
        cohort = asked.get("cohort")
        viewer = await self._access.viewer(request)
        chosen = self._figures.period(asked.get("range"), zone=clock_of(request).name)
        counts = dict(await self._sites.cohorts(viewer=viewer))
        sites = await sites_together(self._sites, cohort, viewer)
        names = {site.id: site for site in sites if site.choices.ranked}
        rows, left_out = None, ""
        try:
            found = await self._analytics.ranking(list(names), chosen, by)
            rows = ranking_rows(language, found, names)
            left_out = left_out_of(language, found)
        except (StoreUnavailable, StoreRefused):
            pass  # the page says so
        return await self._frame.long_page(
            request,
            "ranking.html",
            page="ranking",
            stale=rows is not None and self._analytics.is_stale,
            explained=language.gettext(METRICS[by].explained),
            ranges=range_links(asked, language),
            metrics=[
                (language.gettext(each.title), asked.replaced(by=name).url, name == by)
                for name, each in METRICS.items()
            ],
            cohort_links=_cohort_links(asked, counts, cohort, language),
            headings=[(language.gettext(each.title), name == by) for name, each in METRICS.items()],
            places=rows,
            left_out=left_out,
        )

    async def _seen(self, request: ConsoleRequest, name: str) -> Site | None:
        """Return the site of this name; None: there is none for who asks."""
        try:
            return await self._access.seen(request, name)
        except Refusal:
            return None

    # --- comparison -----------------------------------------------------------------------------

    @app.route("/compare", methods=["GET"])
    async def compare(self, request: ConsoleRequest) -> bytes:
        """Show some sites side by side."""
        asked = Asked.of(request, ("range", "site"))
        language = self._languages.of(request)
        viewer = await self._access.viewer(request)
        chosen = self._figures.period(asked.get("range"), zone=clock_of(request).name)
        names = asked.all("site")[:MOST_COLUMNS]
        found = [await self._seen(request, name) for name in names]
        sites = [site for site in found if site is not None]
        missing = [name for name, site in zip(names, found, strict=True) if site is None]
        offered = await self._sites.sites(None, None, OFFERED_SITES, viewer=viewer)
        columns: list[tuple[Site, SiteTotals]] | None = []
        drawing = Markup("")
        try:
            ids = [site.id for site in sites]
            found_series = {
                each.site_id: each for each in await self._analytics.compare(ids, chosen)
            }
            nothing = SiteSeries(0, SiteTotals.nothing(), tuple((t, 0) for t in chosen.times))
            series = [found_series.get(site.id, nothing) for site in sites]
            columns = [(site, each.totals) for site, each in zip(sites, series, strict=True)]
            drawing = lines(chosen.times, [values_of(each) for each in series])
        except (StoreUnavailable, StoreRefused):
            columns = None
        return await self._frame.long_page(
            request,
            "compare.html",
            page="compare",
            stale=self._analytics.is_stale,
            most=MOST_COLUMNS,
            ranges=range_links(asked, language),
            chips=[
                Chip("", site.name, asked.removed("site", name).url)
                for name, site in zip(names, found, strict=True)
                if site is not None
            ],
            kept=asked.parameters,
            offered=[site.name for site in offered if site not in sites],
            missing=missing,
            columns=None if columns is None else [site for site, _ in columns],
            rows=compared(language, [totals for _, totals in columns or ()]),
            drawing=drawing,
        )


def range_links(asked: Asked, language: Language) -> list[tuple[str, str, bool]]:
    """Return the periods that a page offers: title, address, whether it is this one."""
    current = asked.get("range") or DEFAULT_RANGE
    return [
        (
            language.gettext(RANGE_NAMES[name]),
            asked.replaced(range=name, from_=None, to=None).url,
            name == current,
        )
        for name in RANGES
    ]


def _cohort_links(
    asked: Asked, counts: Mapping[str, int], cohort: str | None, language: Language
) -> list[tuple[str, str, bool]]:
    everything = language.gettext(mark("All"))
    links = [(everything, asked.replaced(cohort=None, after=None).url, not cohort)]
    return links + [
        (name, asked.replaced(cohort=name, after=None).url, name == cohort) for name in counts
    ]
