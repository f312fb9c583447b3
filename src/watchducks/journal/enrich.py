"""From rows to the columns of the log store: what may leave the machine, and nothing else.

The visitor's address and user agent end here, in the visitor's id and in what is known of them; of
the referrer only the host goes on, of a query only what the site's owner lists.

What a text means is found out once (:mod:`watchducks.journal.merging`), and a column is made of
places without a look at single rows; where several texts decide together (the channel: who was
asked, the referrer, the campaign) once for each combination that there is. What is said of each row
is said in masks, bytes of 0 and 1, which are cut and joined as a whole.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from operator import add
from struct import Struct
from typing import Final, NamedTuple

from watchducks.journal.assets import AssetWatch, Seen
from watchducks.journal.channels import campaign_of, parameters, referrer_host
from watchducks.journal.merging import Merged, merge
from watchducks.journal.pages import asks_mask, asset_mask, done_mask, kinds_of, page_mask
from watchducks.journal.records import (
    QUERY_MARK,
    ROW,
    SECONDS,
    STATUS,
    TRAITS,
    Code,
    Decoded,
    column,
)
from watchducks.journal.sources import NOBODY, About, Knowledge
from watchducks.journal.visitors import DAY_SECONDS
from watchducks.model.rows import NO_TRACKING
from watchducks.stores.blocks import Block, Numbers, Texts, pick, places_of

# What an owner lets be kept of one query, in characters: enough for a search.
KEPT_QUERY_CHARACTERS: Final = 200

HOUR_SECONDS: Final = 3600
_U32: Final = Struct("<I")


class Batch(NamedTuple):
    """Rows of one UTC day, hence of one partition, ready to be inserted as one block.

    :ivar segments: what the rows of each segment are known by in the store: its name and the day.
    :ivar first: the earliest ``time``, POSIX seconds.
    :ivar last: the latest ``time``, POSIX seconds.
    :ivar hours: the beginnings of the UTC hours that the rows lie in, POSIX seconds.
    """

    day: int
    segments: tuple[str, ...]
    first: int
    last: int
    hours: tuple[int, ...]
    block: Block

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.block.rows


def enrich(
    segments: Iterable[tuple[str, Decoded]],
    keys: Mapping[int, bytes],
    knowledge: Knowledge,
    watch: AssetWatch | None = None,
) -> list[Batch]:
    """Return the batches of some segments, one a UTC day, in the order of the days.

    :param segments: names and contents.
    :param keys: day -> key of visitor ids (:meth:`VisitorKeys.keys_of`); rows of a day that is not
        there count without visitor.
    :param watch: of those who load no parts of pages; None: nobody is found out by that.
    """
    by_day: dict[int, list[tuple[str, Decoded]]] = {}
    for name, decoded in segments:
        days = days_of(decoded)
        for day in days:
            part = decoded if len(days) == 1 else _of_day(decoded, day)
            by_day.setdefault(day, []).append((f"{name}/{day}", part))
    return [
        _Maker(day, parts, knowledge, keys.get(day)).batch(watch)
        for day, parts in sorted(by_day.items())
    ]


def days_of(decoded: Decoded) -> set[int]:
    """Return the UTC days of the rows."""
    return {second // DAY_SECONDS for second in set(column(decoded.rows, *SECONDS))}


def _of_day(decoded: Decoded, day: int) -> Decoded:
    """Return the rows of one day."""
    rows, size = decoded.rows, ROW.size
    return decoded._replace(
        rows=b"".join(
            rows[number * size : (number + 1) * size]
            for number, second in enumerate(column(rows, *SECONDS))
            if second // DAY_SECONDS == day
        )
    )


class _Maker:
    """Makes one batch."""

    def __init__(
        self,
        day: int,
        parts: Sequence[tuple[str, Decoded]],
        knowledge: Knowledge,
        key: bytes | None,
    ) -> None:
        self._day = day
        self._segments = [name for name, _ in parts]
        self._counts = [decoded.row_count for _, decoded in parts]
        self._merged: Merged = merge([decoded for _, decoded in parts])
        self._rows = self._merged.rows
        self._count = sum(self._counts)
        self._sources = self._merged.sources
        self._targets = self._merged.targets
        self._knowledge = knowledge
        self._about = [knowledge.about(source, key) for source in self._sources]
        self._done = done_mask(column(self._rows, *STATUS))
        kinds = kinds_of(self._rows, self._targets, self._merged.by_target)
        self._pages = both(page_mask(kinds), self._done)
        self._assets = asset_mask(kinds)

    def batch(self, watch: AssetWatch | None) -> Batch:
        merged, rows = self._merged, self._rows
        if watch is not None:
            self._watch(watch)
        about, by_about = self._with_wishes()
        _, kinds, schemes, protocols, methods, hosts, reasons, _, _ = zip(
            *self._sources, strict=True
        )
        by_source = places_of(merged.by_source, len(self._sources))
        by_target = places_of(merged.by_target, len(self._targets))

        def numbers(code: Code, place: int) -> Numbers:
            view = column(rows, code, place)
            return Numbers(8 * view.itemsize, view.tobytes())

        def of_source(texts: Iterable[str]) -> Texts:
            return _texts(texts, by_source)

        sites = [_U32.pack(source.site_id) for source in self._sources]
        referrers = list(map(referrer_host, merged.referrers))
        seconds = numbers(*SECONDS)
        columns: dict[str, Numbers | Texts] = {
            "segment": self._names(),
            "time": seconds,
            "time_us": numbers("Q", 0),
            "site": Numbers(32, b"".join(pick(sites, merged.by_source))),
            "kind": of_source(kinds),
            "scheme": of_source(schemes),
            "protocol": of_source(protocols),
            "method": of_source(methods),
            "host": of_source(hosts),
            "path": _texts(map(_without_query, self._targets), by_target),
            "status": numbers(*STATUS),
            "reason": of_source(reasons),
            "visitor": Numbers(64, b"".join(pick([one.visitor for one in about], by_about))),
            "referrer_host": _texts(referrers, places_of(merged.by_referrer, len(referrers))),
            "request_bytes": numbers("Q", 3),
            "response_bytes": numbers("Q", 4),
            "duration_us": numbers("Q", 1),
            "origin_us": numbers("Q", 2),
            **_of_about(about, places_of(by_about, len(about))),
            **self._of_links(referrers, by_target),
            "query": self._queries(),
            "page_view": Numbers(8, self._page_views(about, by_about)),
        }
        times = set(seconds.values())
        hours = sorted({time // HOUR_SECONDS * HOUR_SECONDS for time in times})
        return Batch(
            self._day,
            tuple(self._segments),
            min(times),
            max(times),
            tuple(hours),
            Block(self._count, columns),
        )

    def _names(self) -> Texts:
        """Return the column that says of each row in which segment it came."""
        places = array("H")
        for place, rows in enumerate(self._counts):
            places += array("H", [place]) * rows
        return Texts([name.encode() for name in self._segments], Numbers(16, places.tobytes()))

    def _watch(self, watch: AssetWatch) -> None:
        """Let ``watch`` see the rows, and take over of whom it thinks that he is no person."""
        new = watch.new_ones(self._day, self._segments)
        if any(new):
            is_new = b"".join(
                (b"\1" if one else b"\0") * rows
                for one, rows in zip(new, self._counts, strict=True)
            )
            watch.see(self._day, self._seen(is_new))
        sources, about = self._sources, self._about
        for number, one in enumerate(about):
            if one.is_person and watch.is_bare(self._day, sources[number].site_id, one.visitor):
                about[number] = one.without_assets()

    def _seen(self, is_new: bytes) -> Iterable[Seen]:
        by_source = self._merged.by_source
        pages = Counter(compress(by_source, both(self._pages, is_new)))
        browsing = set(compress(by_source, both(asks_mask(self._rows), is_new)))
        loading = set(compress(by_source, both(self._assets, is_new)))
        for source in pages.keys() | browsing | loading:
            one = self._about[source]
            if one.visitor != NOBODY and one.is_person:
                site = self._sources[source].site_id
                yield Seen(site, one.visitor, pages[source], source in browsing, source in loading)

    def _with_wishes(self) -> tuple[list[About], Sequence[int]]:
        """Return what is known of sources, once more without id for those who do not want one where
        that counts; and for each row which of these it is."""
        about, by_source = self._about, self._merged.by_source
        choices = self._knowledge.choices
        heard = [choices(source.site_id).honour_gpc for source in self._sources]
        if not any(heard):
            return about, by_source
        count = len(about)
        places = [
            source + count if trait & NO_TRACKING and heard[source] else source
            for source, trait in zip(by_source, column(self._rows, *TRAITS), strict=True)
        ]
        return about + [one.without_id() for one in about], places

    def _of_links(self, referrers: Sequence[str], by_target: Numbers) -> dict[str, Texts]:
        """Return the columns that say where visitors came from."""
        merged = self._merged
        campaigns = list(map(campaign_of, self._targets))
        known = {campaign: place for place, campaign in enumerate(dict.fromkeys(campaigns))}
        hosts = [source.host if source.kind == "request" else "" for source in self._sources]
        own = {host: place for place, host in enumerate(dict.fromkeys(hosts))}
        # A link is one number: (host * campaigns + campaign) * referrers + referrer.
        count = len(referrers)
        by_host = [own[host] * len(known) * count for host in hosts]
        links: Iterable[int] = map(add, pick(by_host, merged.by_source), merged.by_referrer)
        if len(known) > 1:
            by_campaign = [known[campaign] * count for campaign in campaigns]
            links = map(add, links, pick(by_campaign, merged.by_target))
        rows = array("Q", links)
        channels: dict[str, int] = {}
        places: dict[int, int] = {}
        all_own, all_campaigns = list(own), list(known)
        for link in set(rows):
            asked, referrer = divmod(link, count)
            host, campaign = divmod(asked, len(known))
            channel = ""
            if all_own[host]:
                channel = self._knowledge.channels.of(
                    referrers[referrer], all_own[host], all_campaigns[campaign]
                )
            places[link] = channels.setdefault(channel, len(channels))
        return {
            "channel": _texts(channels, places_of(pick(places, rows), len(channels))),
            "utm_source": _texts((one.source for one in campaigns), by_target),
            "utm_medium": _texts((one.medium for one in campaigns), by_target),
            "utm_campaign": _texts((one.name for one in campaigns), by_target),
        }

    def _queries(self) -> Texts:
        """Return what is kept of queries, by the wishes of each site's owner."""
        choices = self._knowledge.choices
        wanted = [choices(source.site_id).query_parameters for source in self._sources]
        if not any(wanted):
            return Texts([b""], Numbers(8, bytes(self._count)))
        merged = self._merged
        rows = list(zip(pick(wanted, merged.by_source), merged.by_target, strict=True))
        texts: dict[str, int] = {}
        places = {
            pair: texts.setdefault(kept_query(self._targets[pair[1]], pair[0]), len(texts))
            for pair in set(rows)
        }
        return _texts(texts, places_of(list(map(places.__getitem__, rows)), len(texts)))

    def _page_views(self, about: Sequence[About], by_about: Sequence[int]) -> bytes:
        """Return for each row whether a person was shown a page: 1, or 0."""
        gets = [source.method == "GET" and source.kind == "request" for source in self._sources]
        # Those without id stand behind all others, in the same order.
        people = [one.is_person and gets[number % len(gets)] for number, one in enumerate(about)]
        return both(self._pages, bytes(pick(people, by_about)))


def both(one: bytes, other: bytes) -> bytes:
    """Return for each row whether both masks say so."""
    return (int.from_bytes(one, "little") & int.from_bytes(other, "little")).to_bytes(
        len(one), "little"
    )


def _texts(texts: Iterable[str], places: Numbers) -> Texts:
    """Return a column of texts as UTF-8: what was none becomes "?"."""
    distinct = list(texts)
    # Most columns say the same of all rows: then nobody has to look anything up.
    if len(set(distinct)) == 1:
        distinct, places = distinct[:1], Numbers(8, bytes(len(places.view())))
    return Texts([text.encode("utf-8", "replace") for text in distinct], places)


def _of_about(about: Sequence[About], places: Numbers) -> dict[str, Texts]:
    """Return the columns that say who asked."""
    _, *texts = zip(*about, strict=True)
    names = About._fields[1:]
    return {name: _texts(values, places) for name, values in zip(names, texts, strict=True)}


def kept_query(target: str, names: str) -> str:
    """Return the parameters of a target's query that are among ``names``, in their order.

    :param names: with a space between them; "": nothing is kept.
    """
    query = target.partition(QUERY_MARK)[2]
    if not names or not query:
        return ""
    wanted = frozenset(names.split())
    kept = [f"{name}={value}" for name, value in parameters(query) if name in wanted]
    return "&".join(kept)[:KEPT_QUERY_CHARACTERS]


def _without_query(path: str) -> str:
    for mark in "?#":
        path = path.partition(mark)[0]
    return path
