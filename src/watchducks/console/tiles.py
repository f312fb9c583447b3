"""Tiles: the numbers at the head of a page, each with how it differs from the period before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from watchducks.analytics.results import SiteTotals, change
from watchducks.console.languages import Language, mark
from watchducks.console.views import EXPLAINED, NOTHING

_EXPLAINED: Final = {
    "visitors": EXPLAINED["visitors"],
    "requests": EXPLAINED["traffic"],
    "success_rate": EXPLAINED["status"],
    "p50_ms": mark("How long an answer took: half of the answers came within this time."),
    "p95_ms": mark(
        "Of a hundred answers, 95 came within this time: what the slowest visitors still had."
    ),
    "sent": mark("What your visitors loaded, all answers together."),
}

# A change of less than this is no news: it is left out.
_SMALLEST_CHANGE: Final = 0.005


@dataclass(frozen=True, slots=True)
class Tile:
    """:ivar key: what the script finds it by.
    :ivar mood: "good", "bad" or "" for a change that is neither.
    :ivar explained: what the number means, for who is no engineer.
    """

    key: str
    label: str
    text: str
    change: str = ""
    mood: str = ""
    explained: str = ""


def tiles(language: Language, now: SiteTotals, before: SiteTotals) -> list[Tile]:
    """Return the tiles of a site or of many together.

    :param before: the period before.
    """
    word = language.gettext
    found = [
        _tile(language, "visitors", word(mark("Visitors")), now.visitors, before.visitors),
        _tile(language, "requests", word(mark("Requests")), now.requests, before.requests),
        Tile(
            "success_rate",
            word(mark("Success rate")),
            NOTHING if now.success_rate is None else language.percent(now.success_rate),
            *_of_rates(language, now.success_rate, before.success_rate),
        ),
        _times(language, "p50_ms", word(mark("Response time, median")), now.p50_ms, before.p50_ms),
        _times(language, "p95_ms", word(mark("95 of 100 faster than")), now.p95_ms, before.p95_ms),
        Tile("sent", word(mark("Sent")), language.size(now.response_bytes)),
    ]
    return [replace(tile, explained=word(_EXPLAINED[tile.key])) for tile in found]


def _tile(language: Language, key: str, label: str, now: int, before: int) -> Tile:
    differs = change(now, before)
    text = _change(language, differs)
    mood = "" if not text or differs is None else "good" if differs > 0 else "bad"
    return Tile(key, label, language.compact(now), text, mood)


def _times(
    language: Language, key: str, label: str, now: float | None, before: float | None
) -> Tile:
    text = NOTHING if now is None else language.milliseconds(now)
    differs = change(now, before)
    shown = _change(language, differs)
    mood = "" if not shown or differs is None else "bad" if differs > 0 else "good"
    return Tile(key, label, text, shown, mood)


def _of_rates(language: Language, now: float | None, before: float | None) -> Sequence[str]:
    """Return the change of a rate, in percentage points of its own share."""
    if now is None or before is None or abs(now - before) < _SMALLEST_CHANGE / 10:
        return ("", "")
    points = language.number(round((now - before) * 100, 2))
    sign = "+" if now > before else ""
    unit = language.gettext(mark("{points} points"))
    return (unit.format(points=f"{sign}{points}"), "good" if now > before else "bad")


def _change(language: Language, share: float | None) -> str:
    if share is None or abs(share) < _SMALLEST_CHANGE:
        return ""
    return language.change(share)
