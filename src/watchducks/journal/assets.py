"""Who reads page after page and never loads what they consist of: no browser does that.

Such a visitor is noticed by his rows of one UTC day, as they are shipped. Rows cannot be changed
afterwards: those that are shipped before he is noticed, at most :data:`BARE_PAGES` pages, count as
a person's.

It is said of nobody who may have had reason: on a site whose parts come from elsewhere nobody loads
them from us, so some other visitors must have done so that day; and who says what he wants pages
for, as browsers do over https (Fetch Metadata), is taken for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final, NamedTuple

# More pages than a person reads whose browser has everything from the days before in its cache, and
# who comes by plain http. Crawlers that hide read hundreds.
BARE_PAGES: Final = 20
# As many visitors of a site must have loaded parts of its pages from us.
WITNESSES: Final = 5
# Visitors of one day who are watched, 100 bytes each; those who come when all places are taken are
# not.
MAX_WATCHED: Final = 100_000
# A day's late rows come while the next has begun.
_DAYS: Final = 2
# Segments that may be prepared a second time: those that the store did not take, and the next.
_KEPT_SEGMENTS: Final = 256

# A visitor's pages so far; or one of these.
_BROWSES: Final = -1
_LOADS: Final = -2


class Seen(NamedTuple):
    """What some rows of a visitor say.

    :ivar pages: answers that were pages.
    :ivar browses: he has said what he wants something for.
    :ivar loads: he has asked for a part of a page.
    """

    site: int
    visitor: bytes
    pages: int
    browses: bool
    loads: bool


class AssetWatch:
    """The visitors of today and yesterday. For one thread at a time."""

    def __init__(self) -> None:
        self._days: dict[int, tuple[dict[bytes, int], dict[int, int]]] = {}
        self._segments: deque[str] = deque(maxlen=_KEPT_SEGMENTS)

    def new_ones(self, day: int, segments: Sequence[str]) -> list[bool]:
        """Return which of these say something new: none of a day that is forgotten, and none a
        second time, as after an outage."""
        if self._days and day <= max(self._days) - _DAYS:
            return [False] * len(segments)
        new = [segment not in self._segments for segment in segments]
        self._segments.extend(compress(segments, new))
        return new

    def see(self, day: int, rows: Iterable[Seen]) -> None:
        """Take what the rows of new segments say."""
        visitors, witnesses = self._days.setdefault(day, ({}, {}))
        for old in [known for known in self._days if known <= max(self._days) - _DAYS]:
            del self._days[old]
        for site, visitor, pages, browses, loads in rows:
            before = visitors.get(visitor)
            if before is None:
                if len(visitors) >= MAX_WATCHED:
                    continue
                before = 0
            if before == _LOADS:
                continue
            if loads:
                witnesses[site] = witnesses.get(site, 0) + 1
                visitors[visitor] = _LOADS
            elif browses:
                visitors[visitor] = _BROWSES
            elif before != _BROWSES:
                visitors[visitor] = before + pages

    def is_bare(self, day: int, site: int, visitor: bytes) -> bool:
        """Whether this visitor is no person."""
        visitors, witnesses = self._days.get(day, ({}, {}))
        return visitors.get(visitor, 0) > BARE_PAGES and witnesses.get(site, 0) >= WITNESSES
