"""Views: a site's figures as cards, with every number written out in the reader's language.

The page is complete without script; the script draws the charts and keeps the numbers fresh. It
finds what to refresh by the ``key`` of each fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from watchducks.analytics.results import Failover, Latency, Lost, Status, Traffic, Visitors
from watchducks.console.drawing import lines
from watchducks.console.figures import SitePage
from watchducks.console.languages import Language, mark

NOTHING: Final = "\N{EN DASH}"

# What each card shows, in the words of who reads it for the first time.
EXPLAINED: Final = {
    "traffic": mark(
        "Everything that was asked of your site: pages, pictures, scripts, by people and by"
        " crawlers."
    ),
    "latency": mark(
        "How long an answer took. The median: half of the answers came faster. Most of it is your"
        " server's own time; the rest is ours and the way to the visitor."
    ),
    "status": mark(
        "The share of answers without an error. 4xx: something was asked for that is not there or"
        " not allowed. 5xx: your server, or the way to it, failed."
    ),
    "visitors": mark(
        "Different people, as far as can be told without cookies; crawlers are left out. Who comes"
        " on two days counts on each of them."
    ),
}

# The words that the script writes into charts.
WORDS: Final = {
    "requests": mark("Requests"),
    "p50": mark("Median"),
    "p95": mark("95 of 100 are faster than"),
    "origin": mark("Your server, mean"),
    "own": mark("WatchDucks and network, mean"),
    "success": mark("Succeeded (2xx)"),
    "redirection": mark("Redirected (3xx)"),
    "client_error": mark("Wrong requests (4xx)"),
    "server_error": mark("Server errors (5xx)"),
    "visitors": mark("Visitors"),
    "before": mark("The period before"),
    "live": mark("Live"),
    "stale": mark("Cannot refresh the numbers; trying again"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A number with its label; ``key`` is its path in the API's document."""

    key: str
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """One kind of figures.

    :ivar main: the number that is written large; its label is the card's title.
    :ivar rows: (time, cells) of the table that stands in for the chart, the newest first.
    :ivar drawing: the chart as it is seen without script, and until it has run.
    :ivar explained: what the number means, for who is no engineer.
    :ivar legend: what its lines are.
    :ivar has_before: whether there was anything in the period before, which is drawn then, too.
    """

    kind: str
    title: str
    main: Fact
    facts: Sequence[Fact]
    headings: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]
    drawing: Markup
    explained: str
    legend: Sequence[str]
    has_before: bool = False


def cards(language: Language, figures: SitePage, marks: Sequence[int] = ()) -> list[Card]:
    """Return the cards of a site's page in their order.

    :param marks: when something happened, POSIX seconds.
    """
    return [
        _traffic(language, figures.traffic, [*figures.failovers, *figures.lost], marks),
        _latency(language, figures.latency),
        _status(language, figures.status),
        _visitors(language, figures.visitors),
    ]


def _traffic(
    language: Language, traffic: Traffic, gaps: Sequence[Failover | Lost], marks: Sequence[int]
) -> Card:
    word = language.gettext
    before = [point.requests_before for point in traffic.points]
    return Card(
        "traffic",
        word(mark("Requests")),
        Fact("totals.requests", "", language.compact(traffic.requests)),
        [
            Fact(
                "totals.requests_change",
                word(mark("against the period before")),
                _change(language, traffic.requests_change),
            ),
            Fact(
                "totals.response_bytes", word(mark("sent")), language.size(traffic.response_bytes)
            ),
            Fact(
                "totals.connections",
                word(mark("HTTPS connections passed through")),
                language.compact(traffic.connections),
            ),
        ],
        [word(mark("Requests")), word(WORDS["before"]), word(mark("Sent"))],
        [
            (
                point.time,
                [
                    language.number(point.requests),
                    language.number(point.requests_before),
                    language.size(point.response_bytes),
                ],
            )
            for point in reversed(traffic.points)
        ],
        lines(
            [point.time for point in traffic.points],
            [[point.requests for point in traffic.points]],
            [(gap.began, gap.ended) for gap in gaps],
            before=before if any(before) else (),
            marks=marks,
            filled=True,
        ),
        word(EXPLAINED["traffic"]),
        [word(mark("Requests"))],
        any(before),
    )


def _latency(language: Language, latency: Latency) -> Card:
    word, total = language.gettext, latency.total
    names = ("p50_ms", "p95_ms", "origin_mean_ms", "own_mean_ms")
    titles = [word(WORDS[key]) for key in ("p50", "p95", "origin", "own")]
    before = [point.p50_before_ms for point in latency.points]
    return Card(
        "latency",
        word(mark("Response time, median")),
        Fact("total.p50_ms", "", _milliseconds(language, total.p50_ms)),
        [
            Fact(f"total.{name}", title, _milliseconds(language, getattr(total, name)))
            for name, title in zip(names[1:], titles[1:], strict=True)
        ],
        [*titles, word(WORDS["before"])],
        [
            (
                point.time,
                [
                    _milliseconds(language, getattr(point, name))
                    for name in (*names, "p50_before_ms")
                ],
            )
            for point in reversed(latency.points)
        ],
        lines(
            [point.time for point in latency.points],
            [[getattr(point, name) for point in latency.points] for name in names],
            before=before if any(before) else (),
        ),
        word(EXPLAINED["latency"]),
        titles,
        any(before),
    )


def _status(language: Language, status: Status) -> Card:
    word = language.gettext
    names = ("success", "redirection", "client_error", "server_error")
    totals = {name: sum(getattr(point, name) for point in status.points) for name in names}
    rate = NOTHING if status.success_rate is None else language.percent(status.success_rate)
    titles = [word(WORDS[name]) for name in names]
    return Card(
        "status",
        word(mark("Success rate")),
        Fact("success_rate", "", rate),
        [
            Fact(f"sum.{name}", word(WORDS[name]), language.compact(totals[name]))
            for name in ("client_error", "server_error")
        ],
        titles,
        [
            (point.time, [language.number(getattr(point, name)) for name in names])
            for point in reversed(status.points)
        ],
        lines(
            [point.time for point in status.points],
            [[getattr(point, name) for point in status.points] for name in names],
            stacked=True,
        ),
        word(EXPLAINED["status"]),
        titles,
    )


def _visitors(language: Language, visitors: Visitors) -> Card:
    word = language.gettext
    before = [point.visitors_before for point in visitors.points]
    return Card(
        "visitors",
        word(mark("Visitors")),
        Fact("total", "", language.compact(visitors.visitors)),
        [
            Fact(
                "total_change",
                word(mark("against the period before")),
                _change(language, visitors.visitors_change),
            )
        ],
        [word(mark("Visitors")), word(WORDS["before"])],
        [
            (
                point.time,
                [language.number(point.visitors), language.number(point.visitors_before)],
            )
            for point in reversed(visitors.points)
        ],
        lines(
            [point.time for point in visitors.points],
            [[point.visitors for point in visitors.points]],
            before=before if any(before) else (),
            filled=True,
        ),
        word(EXPLAINED["visitors"]),
        [word(mark("Visitors"))],
        any(before),
    )


def _milliseconds(language: Language, value: float | None) -> str:
    return NOTHING if value is None else language.milliseconds(value)


def _change(language: Language, share: float | None) -> str:
    return NOTHING if share is None else language.change(share)
