"""From rows to the columns of the log store: what may leave the machine, and nothing else.

The visitor's address and user agent end here, in the visitor's id and in what is known of them; of
the referrer only the host goes on, of a query only what the site's owner lists.

A segment has each text once, so what a text means is found out once, and a column is made of places
without a look at single rows; where several texts decide together (the channel: who was asked, the
referrer, the campaign) once for each combination that there is.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from watchducks.journal.assets import AssetWatch, Seen
from watchducks.journal.channels import campaign_of, parameters, referrer_host
from watchducks.journal.pages import ASSET, PAGE, is_done, kinds_of
from watchducks.journal.records import (
    QUERY_MARK,
    REFERRER,
    ROW,
    SECONDS,
    SOURCE,
    STATUS,
    TARGET,
    TRAITS,
    Code,
    Decoded,
    column,
)
from watchducks.journal.sources import NOBODY, About, Knowledge
from watchducks.journal.visitors import DAY_SECONDS
from watchducks.model.rows import ASKS, NO_TRACKING
from watchducks.stores.blocks import Block, Numbers, Texts, pick

# What an owner lets be kept of one query, in characters: enough for a search.
KEPT_QUERY_CHARACTERS: Final = 200

_U32: Final = Struct("<I")
_NONE: Final = b"\0\0\0\0"


class Batch(NamedTuple):
    """Rows of one UTC day, hence of one partition, ready to be inserted as one block.

    :ivar token: names the block, the same each time it is made from the same segment.
    :ivar first: the earliest ``time``, POSIX seconds.
    :ivar last: the latest ``time``, POSIX seconds.
    """

    token: str
    first: int
    last: int
    block: Block

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.block.rows


def enrich(
    decoded: Decoded,
    segment: str,
    keys: Mapping[int, bytes],
    knowledge: Knowledge,
    watch: AssetWatch | None = None,
) -> list[Batch]:
    """Return the batches of a segment, in the order of their days.

    :param keys: day -> key of visitor ids (:meth:`VisitorKeys.keys_of`); rows of a day that is not
        there count without visitor.
    :param watch: of those who load no parts of pages; None: nobody is found out by that.
    """
    days = sorted(days_of(decoded))
    return [
        _Maker(
            decoded if len(days) == 1 else _of_day(decoded, day),
            f"{segment}/{day}",
            knowledge,
            keys.get(day),
        ).batch(day, watch)
        for day in days
    ]


def days_of(decoded: Decoded) -> set[int]:
    """Return the UTC days of the rows."""
    seconds = column(decoded.rows, *SECONDS).tolist()
    if not seconds:
        return set()
    first, last = min(seconds) // DAY_SECONDS, max(seconds) // DAY_SECONDS
    if first == last:
        return {first}
    return {second // DAY_SECONDS for second in seconds}


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
        self, decoded: Decoded, token: str, knowledge: Knowledge, key: bytes | None
    ) -> None:
        self._rows = decoded.rows
        self._count = decoded.row_count
        self._sources = decoded.sources
        self._targets = decoded.targets
        self._referrers = decoded.referrers
        self._token = token
        self._knowledge = knowledge
        self._about = [knowledge.about(source, key) for source in decoded.sources]
        self._by_source = column(self._rows, *SOURCE).tolist()
        self._by_target = column(self._rows, *TARGET).tolist()
        self._kinds = kinds_of(self._rows, self._targets)

    def batch(self, day: int, watch: AssetWatch | None) -> Batch:
        rows = self._rows
        seconds = column(rows, *SECONDS)
        if watch is not None:
            self._watch(day, watch)
        about, by_about = self._with_wishes()
        _, kinds, schemes, protocols, methods, hosts, reasons, _, _ = zip(
            *self._sources, strict=True
        )
        by_source = array("I", self._by_source).tobytes()
        by_target = column(rows, *TARGET).tobytes()

        def numbers(code: Code, place: int) -> Numbers:
            view = column(rows, code, place)
            return Numbers(8 * view.itemsize, view.tobytes())

        def of_source(texts: Iterable[str]) -> Texts:
            return Texts(_storable(texts), by_source)

        sites = [_U32.pack(source.site_id) for source in self._sources]
        referrers = list(map(referrer_host, self._referrers))
        columns: dict[str, Numbers | Texts] = {
            "segment": Texts([self._token.encode()], bytes(_U32.size * self._count)),
            "time": Numbers(32, seconds.tobytes()),
            "time_us": numbers("Q", 0),
            "site": Numbers(32, b"".join(pick(sites, self._by_source))),
            "kind": of_source(kinds),
            "scheme": of_source(schemes),
            "protocol": of_source(protocols),
            "method": of_source(methods),
            "host": of_source(hosts),
            "path": Texts(_storable(map(_without_query, self._targets)), by_target),
            "status": numbers(*STATUS),
            "reason": of_source(reasons),
            "visitor": Numbers(64, b"".join(pick([one.visitor for one in about], by_about))),
            "referrer_host": Texts(_storable(referrers), column(rows, *REFERRER).tobytes()),
            "request_bytes": numbers("Q", 3),
            "response_bytes": numbers("Q", 4),
            "duration_us": numbers("Q", 1),
            "origin_us": numbers("Q", 2),
            **_of_about(about, array("I", by_about).tobytes()),
            **self._of_links(referrers, by_target),
            "query": self._queries(),
            "page_view": Numbers(8, self._page_views(about, by_about)),
        }
        return Batch(self._token, min(seconds), max(seconds), Block(self._count, columns))

    def _watch(self, day: int, watch: AssetWatch) -> None:
        """Let ``watch`` see the rows, and take over of whom it thinks that he is no person."""
        done = map(is_done, column(self._rows, *STATUS))
        asks = [trait & ASKS for trait in column(self._rows, *TRAITS)]
        seen = Counter(zip(self._by_source, self._kinds, done, asks, strict=True))
        watch.see(day, self._token, list(self._seen(seen)))
        sources, about = self._sources, self._about
        for number, one in enumerate(about):
            if one.is_person and watch.is_bare(day, sources[number].site_id, one.visitor):
                about[number] = one.without_assets()

    def _seen(self, rows: Mapping[tuple[int, int, bool, int], int]) -> Iterable[Seen]:
        for (source, kind, done, asks), count in rows.items():
            one = self._about[source]
            if one.visitor != NOBODY and one.is_person:
                pages = count if kind == PAGE and done else 0
                site = self._sources[source].site_id
                yield Seen(site, one.visitor, pages, browses=asks != 0, loads=kind == ASSET)

    def _with_wishes(self) -> tuple[list[About], Sequence[int]]:
        """Return what is known of sources, once more without id for those who do not want one where
        that counts; and for each row which of these it is."""
        about, by_source = self._about, self._by_source
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

    def _of_links(self, referrers: Sequence[str], by_target: bytes) -> dict[str, Texts]:
        """Return the columns that say where visitors came from."""
        campaigns = list(map(campaign_of, self._targets))
        known = {campaign: place for place, campaign in enumerate(dict.fromkeys(campaigns))}
        hosts = [source.host if source.kind == "request" else "" for source in self._sources]
        own = {host: place for place, host in enumerate(dict.fromkeys(hosts))}
        rows = list(
            zip(
                pick([own[host] for host in hosts], self._by_source),
                column(self._rows, *REFERRER).tolist(),
                pick([known[campaign] for campaign in campaigns], self._by_target),
                strict=True,
            )
        )
        channels: dict[str, int] = {}
        places: dict[tuple[int, int, int], int] = {}
        all_own, all_campaigns = list(own), list(known)
        for link in set(rows):
            host, referrer, campaign = link
            channel = ""
            if all_own[host]:
                channel = self._knowledge.channels.of(
                    referrers[referrer], all_own[host], all_campaigns[campaign]
                )
            places[link] = channels.setdefault(channel, len(channels))
        return {
            "channel": Texts(
                _storable(channels), array("I", map(places.__getitem__, rows)).tobytes()
            ),
            "utm_source": Texts(_storable(one.source for one in campaigns), by_target),
            "utm_medium": Texts(_storable(one.medium for one in campaigns), by_target),
            "utm_campaign": Texts(_storable(one.name for one in campaigns), by_target),
        }

    def _queries(self) -> Texts:
        """Return what is kept of queries, by the wishes of each site's owner."""
        choices = self._knowledge.choices
        wanted = [choices(source.site_id).query_parameters for source in self._sources]
        if not any(wanted):
            return Texts([b""], _NONE * self._count)
        rows = list(zip(pick(wanted, self._by_source), self._by_target, strict=True))
        texts: dict[str, int] = {}
        places = {
            pair: texts.setdefault(kept_query(self._targets[pair[1]], pair[0]), len(texts))
            for pair in set(rows)
        }
        return Texts(_storable(texts), array("I", map(places.__getitem__, rows)).tobytes())

    def _page_views(self, about: Sequence[About], by_about: Sequence[int]) -> bytes:
        """Return for each row whether a person was shown a page: 1, or 0."""
        gets = [source.method == "GET" and source.kind == "request" for source in self._sources]
        # Those without id stand behind all others, in the same order.
        people = [one.is_person and gets[number % len(gets)] for number, one in enumerate(about)]
        return bytes(
            [
                kind == PAGE and person and is_done(status)
                for kind, person, status in zip(
                    self._kinds, pick(people, by_about), column(self._rows, *STATUS), strict=True
                )
            ]
        )


def _of_about(about: Sequence[About], places: bytes) -> dict[str, Texts]:
    """Return the columns that say who asked."""
    _, *texts = zip(*about, strict=True)
    names = About._fields[1:]
    return {
        name: Texts(_storable(values), places) for name, values in zip(names, texts, strict=True)
    }


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


def _storable(texts: Iterable[str]) -> list[bytes]:
    """Return the texts as UTF-8: what was none becomes "?"."""
    return [text.encode("utf-8", "replace") for text in texts]
