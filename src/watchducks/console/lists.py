"""Lists: what a site's requests have in common, as cards with bars; each line is a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from babel import Locale

from watchducks.analytics.filters import Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.results import FacetRow
from watchducks.console.asked import Asked
from watchducks.console.interfaces import SiteFigures
from watchducks.console.languages import Language, mark

# Lines of a card; its table in the API has the rest.
LINES: Final = 9


@dataclass(frozen=True, slots=True)
class Tab:
    """One list of a card.

    :ivar name: in the page's address.
    :ivar dimension: what the lines are values of, and what a click on one filters by.
    :ivar order: which come first.
    :ivar measure: what the bars show and the first column says: requests, mean (time) or errors.
    """

    name: str
    title: str
    dimension: str
    order: str = "requests"
    measure: str = "requests"


CARDS: Final[Mapping[str, tuple[Tab, ...]]] = {
    "pages": (
        Tab("paths", mark("Pages"), "path"),
        Tab("entries", mark("Entry pages"), "entry"),
        Tab("slowest", mark("Slowest"), "path", "slowness", "mean"),
        Tab("fastest", mark("Fastest"), "path", "speed", "mean"),
        Tab("failing", mark("Failing"), "path", "errors", "errors"),
    ),
    "sources": (
        Tab("referrers", mark("Referrers"), "referrer"),
        Tab("channels", mark("Channels"), "channel"),
        Tab("campaigns", mark("Campaigns"), "utm_campaign"),
    ),
    "clients": (
        Tab("browsers", mark("Browsers"), "browser"),
        Tab("systems", mark("Systems"), "system"),
        Tab("devices", mark("Devices"), "device"),
    ),
    "places": (Tab("countries", mark("Countries"), "country"),),
    "crawlers": (
        Tab("crawlers", mark("Crawlers"), "bot"),
        Tab("reasons", mark("Why they are told apart"), "bot_reason"),
    ),
    "answers": (Tab("status", mark("Status codes"), "status"),),
}

# What each card is about, for who is no engineer.
EXPLAINED: Final[Mapping[str, str]] = {
    "pages": mark(
        "What was asked for. Entry pages: where visits began. Failing: answers of 500 and above."
        " Click on a line to see only these requests."
    ),
    "sources": mark(
        "Where visitors came from, as far as their browsers say. Campaigns: links that carry the"
        " word utm_campaign."
    ),
    "clients": mark("What your visitors use, as their programs say of themselves."),
    "places": mark(
        "Where the addresses of your visitors are registered; the addresses are not kept."
    ),
    "crawlers": mark(
        "Programs that read your site: search engines, AI, tools. They are no visitors."
    ),
    "answers": mark(
        "200: everything was fine. 301, 302: go elsewhere. 404: there is no such page. 500 and"
        " above: your server failed."
    ),
}

DIMENSIONS: Final[Mapping[str, str]] = {
    "path": mark("Page"),
    "entry": mark("Entry page"),
    "referrer": mark("Referrer"),
    "channel": mark("Channel"),
    "utm_source": mark("Campaign source"),
    "utm_medium": mark("Campaign medium"),
    "utm_campaign": mark("Campaign"),
    "browser": mark("Browser"),
    "system": mark("System"),
    "device": mark("Device"),
    "country": mark("Country"),
    "bot": mark("Crawler"),
    "bot_reason": mark("Reason"),
    "status": mark("Status"),
    "host": mark("Host"),
    "method": mark("Method"),
    "protocol": mark("Protocol"),
}

# Values that are words of ours, and not what somebody sent.
VALUES: Final[Mapping[str, str]] = {
    "direct": mark("Direct"),
    "search": mark("Search engines"),
    "social": mark("Social networks"),
    "ai": mark("AI assistants"),
    "mail": mark("Mail"),
    "paid": mark("Paid"),
    "referral": mark("Other sites"),
    "internal": mark("The site itself"),
    "desktop": mark("Desktop"),
    "mobile": mark("Phone"),
    "tablet": mark("Tablet"),
    "other": mark("Other"),
    "declared-crawler": mark("says that it is a crawler"),
    "declared-ai-crawler": mark("says that it is an AI crawler"),
    "verified-crawler": mark("a crawler, proven by its address"),
    "tool": mark("a program, not a browser"),
    "headless": mark("a browser without a screen"),
    "data-centre": mark("comes from a data centre"),
    "no-assets": mark("reads pages without their images and styles"),
    "no-user-agent": mark("does not say what it is"),
}
_WORDS_OF: Final = ("channel", "device", "bot_reason")


@dataclass(frozen=True, slots=True)
class Line:
    """:ivar share: of the longest bar, from 0 to 1. :ivar url: the page with this as a filter."""

    label: str
    share: float
    main: str
    more: str
    url: str


@dataclass(frozen=True, slots=True)
class ListCard:
    """:ivar tabs: (title, address, whether it is the one that is shown)."""

    kind: str
    title: str
    tabs: Sequence[tuple[str, str, bool]]
    lines: Sequence[Line]
    dimension: str
    main_title: str
    more_title: str
    explained: str


def chosen_tab(kind: str, asked: Asked) -> Tab:
    """Return the tab of a card that the page's address names, or the first."""
    name = asked.get(kind)
    return next((tab for tab in CARDS[kind] if tab.name == name), CARDS[kind][0])


async def list_cards(
    analytics: SiteFigures,
    site_id: int,
    period: Period,
    filters: Filters,
    asked: Asked,
    language: Language,
) -> list[ListCard]:
    """Return the cards that the page shows; those of one list that is empty are left out."""
    cards = []
    # One after the other: the log store's threads are few, and the proxy's rows go first.
    for kind in CARDS:
        tab = chosen_tab(kind, asked)
        found = await analytics.facet(
            site_id, period, tab.dimension, order=tab.order, limit=LINES, filters=filters
        )
        if found or len(CARDS[kind]) > 1:
            cards.append(_card(kind, tab, found, asked, language))
    return cards


def _card(
    kind: str, tab: Tab, shares: Sequence[FacetRow], asked: Asked, language: Language
) -> ListCard:
    word = language.gettext
    sizes = [_size(share, tab.measure) for share in shares]
    longest = max(sizes, default=0.0) or 1.0
    titles = {
        "requests": (word(mark("Requests")), word(mark("Visitors"))),
        "mean": (word(mark("Mean time")), word(mark("Requests"))),
        "errors": (word(mark("Errors")), word(mark("Requests"))),
    }
    main_title, more_title = titles[tab.measure]
    return ListCard(
        kind,
        word(tab.title),
        [
            (word(each.title), f"{asked.replaced(**{kind: each.name}).url}#{kind}", each == tab)
            for each in CARDS[kind]
        ],
        [
            Line(
                value_name(tab.dimension, share.value, language),
                size / longest,
                *_texts(share, tab.measure, language),
                asked.added(tab.dimension, share.value).url,
            )
            for share, size in zip(shares, sizes, strict=True)
        ],
        word(DIMENSIONS[tab.dimension]),
        main_title,
        more_title,
        word(EXPLAINED[kind]),
    )


def _size(share: FacetRow, measure: str) -> float:
    if measure == "mean":
        return share.mean_ms or 0.0
    return float(share.errors if measure == "errors" else share.requests)


def _texts(share: FacetRow, measure: str, language: Language) -> tuple[str, str]:
    if measure == "mean":
        return language.milliseconds(share.mean_ms or 0.0), language.compact(share.requests)
    if measure == "errors":
        return language.compact(share.errors), language.compact(share.requests)
    return language.compact(share.requests), language.compact(share.visitors)


def value_name(dimension: str, value: str, language: Language) -> str:
    """Return a value as people call it."""
    if dimension == "country":
        return str(Locale.parse(language.code).territories.get(value, value))
    if dimension in _WORDS_OF and value in VALUES:
        return language.gettext(VALUES[value])
    return value


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on. :ivar url: the page without it."""

    label: str
    value: str
    url: str


def chips(asked: Asked, language: Language) -> list[Chip]:
    """Return the filters of a page's address."""
    return [
        Chip(
            language.gettext(DIMENSIONS[name]),
            value_name(name, value, language),
            asked.removed(name, value).url,
        )
        for name, value in asked.parameters
        if name in DIMENSIONS
    ]
