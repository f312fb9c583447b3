"""From rows to the columns of the log store: what may leave the machine, and nothing else.

The visitor's address and user agent end here, in the visitor's id; of the referrer only the host
goes on, of the path no query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from watchducks.journal.records import (
    REFERRER,
    ROW,
    SECONDS,
    SOURCE,
    STATUS,
    TARGET,
    Code,
    Decoded,
    Source,
    column,
)
from watchducks.journal.visitors import DAY_SECONDS, NO_VISITOR, visitor_id
from watchducks.stores.blocks import Block, Numbers, Texts, pick

_U32: Final = Struct("<I")
_U64: Final = Struct("<Q")

# scheme "//" [userinfo "@"] host [":" port], then path, query or fragment (RFC 3986, 3).
_AUTHORITY = re.compile(
    r"(?:https?|android-app)://(?:[^/?#@]*@)?(\[[0-9a-f:.]{2,45}\]|[^/?#@:\[\]\s]{1,255})"
    r"(?::\d{0,5})?(?:[/?#]|$)",
    re.IGNORECASE,
)


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


def enrich(decoded: Decoded, segment: str, keys: Mapping[int, bytes]) -> list[Batch]:
    """Return the batches of a segment, in the order of their days. Pure.

    :param keys: day -> key of visitor ids (:meth:`VisitorKeys.keys_of`); rows of a day that is not
        there count without visitor.
    """
    days = sorted(days_of(decoded))
    return [
        _batch(
            decoded if len(days) == 1 else _of_day(decoded, day), f"{segment}/{day}", keys.get(day)
        )
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


def _batch(decoded: Decoded, token: str, key: bytes | None) -> Batch:
    rows = decoded.rows
    count = decoded.row_count
    seconds = column(rows, *SECONDS)
    sources = column(rows, *SOURCE)
    by_source = sources.tobytes()
    _, kinds, schemes, protocols, methods, hosts, reasons, _, _ = zip(*decoded.sources, strict=True)
    sites = [_U32.pack(source.site_id) for source in decoded.sources]

    def numbers(code: Code, place: int) -> Numbers:
        view = column(rows, code, place)
        return Numbers(8 * view.itemsize, view.tobytes())

    def of_source(texts: Iterable[str]) -> Texts:
        return Texts(_storable(texts), by_source)

    visitors = _visitors(decoded.sources, key)
    columns: dict[str, Numbers | Texts] = {
        "segment": Texts([token.encode()], bytes(_U32.size * count)),
        "time": Numbers(32, seconds.tobytes()),
        "time_us": numbers("Q", 0),
        "site": Numbers(32, b"".join(pick(sites, sources))),
        "kind": of_source(kinds),
        "scheme": of_source(schemes),
        "protocol": of_source(protocols),
        "method": of_source(methods),
        "host": of_source(hosts),
        "path": Texts(
            _storable(map(_without_query, decoded.targets)), column(rows, *TARGET).tobytes()
        ),
        "status": numbers(*STATUS),
        "reason": of_source(reasons),
        "visitor": Numbers(64, b"".join(pick(visitors, sources))),
        "referrer_host": Texts(
            _storable(map(referrer_host, decoded.referrers)), column(rows, *REFERRER).tobytes()
        ),
        "request_bytes": numbers("Q", 3),
        "response_bytes": numbers("Q", 4),
        "duration_us": numbers("Q", 1),
        "origin_us": numbers("Q", 2),
    }
    return Batch(token, min(seconds), max(seconds), Block(count, columns))


def _visitors(sources: Sequence[Source], key: bytes | None) -> list[bytes]:
    """Return each source's visitor id; a connection shows too little of its maker."""
    unknown = _U64.pack(NO_VISITOR)
    if key is None:
        return [unknown] * len(sources)
    return [
        _U64.pack(visitor_id(key, source.site_id, source.client, source.user_agent))
        if source.kind == "request"
        else unknown
        for source in sources
    ]


def referrer_host(referrer: str) -> str:
    """Return the host of a Referer header in lower case, or "" if there is none to be seen."""
    match = _AUTHORITY.match(referrer)
    return match[1].lower() if match else ""


def _without_query(path: str) -> str:
    for mark in "?#":
        path = path.partition(mark)[0]
    return path


def _storable(texts: Iterable[str]) -> list[bytes]:
    """Return the texts as UTF-8: what was none becomes "?"."""
    return [text.encode("utf-8", "replace") for text in texts]
