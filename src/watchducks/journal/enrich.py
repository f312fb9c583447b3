"""From rows to the columns of the log store: what may leave the machine, and nothing else.

The visitor's address and user agent end here, in the visitor's id; of the referrer only the host
goes on, of the path no query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from watchducks.journal.visitors import NO_VISITOR, day_of, visitor_id
from watchducks.model.rows import Row

# The columns of the table ``requests`` that a row fills, in the order of Batch.data.
COLUMNS = (
    "segment",
    "time",
    "time_us",
    "site",
    "kind",
    "scheme",
    "protocol",
    "method",
    "host",
    "path",
    "status",
    "reason",
    "visitor",
    "referrer_host",
    "request_bytes",
    "response_bytes",
    "duration_us",
    "origin_us",
)

_U32 = 0xFFFF_FFFF

# scheme "//" [userinfo "@"] host [":" port], then path, query or fragment (RFC 3986, 3).
_AUTHORITY = re.compile(
    r"(?:https?|android-app)://(?:[^/?#@]*@)?(\[[0-9a-f:.]{2,45}\]|[^/?#@:\[\]\s]{1,255})"
    r"(?::\d{0,5})?(?:[/?#]|$)",
    re.IGNORECASE,
)


class Batch(NamedTuple):
    """Rows of one UTC day, hence of one partition, ready to be inserted as one block.

    :ivar token: names the block, the same each time it is made from the same segment.
    :ivar data: one sequence a column of :data:`COLUMNS`.
    :ivar first: the earliest ``time``, POSIX seconds.
    :ivar last: the latest ``time``, POSIX seconds.
    """

    token: str
    rows: int
    first: int
    last: int
    data: tuple[Sequence[int | str], ...]


def enrich(rows: Sequence[Row], segment: str, keys: Mapping[int, bytes]) -> list[Batch]:
    """Return the batches of a segment, in the order of their days. Pure.

    :param keys: day -> key of visitor ids (:meth:`VisitorKeys.keys_of`); rows of a day that is not
        there count without visitor.
    """
    days: dict[int, list[Row]] = {}
    for row in rows:
        days.setdefault(day_of(_time_us(row)), []).append(row)
    return [
        _batch(days[day], f"{segment}/{day}", keys.get(day)) for day in sorted(days) if days[day]
    ]


def days_of(rows: Iterable[Row]) -> set[int]:
    """Return the UTC days of the rows, as :func:`enrich` will see them."""
    return {day_of(_time_us(row)) for row in rows}


def _time_us(row: Row) -> int:
    """Return the row's time, made to fit a DateTime (1970 to 2106)."""
    return min(max(row.time_us, 0), _U32 * 1_000_000)


def _batch(rows: Sequence[Row], token: str, key: bytes | None) -> Batch:
    (
        _,
        site,
        kind,
        scheme,
        protocol,
        method,
        host,
        path,
        status,
        reason,
        client,
        user_agent,
        referrer,
        request_bytes,
        response_bytes,
        duration_us,
        origin_us,
    ) = zip(*rows, strict=True)
    times_us = [_time_us(row) for row in rows]
    times = [time_us // 1_000_000 for time_us in times_us]
    # A batch repeats few visitors, referrers and paths often: each is worked out once.
    who = {} if key is None else _visitors(key, zip(kind, site, client, user_agent, strict=True))
    hosts = {text: referrer_host(text) for text in set(referrer)}
    paths = {text: _without_query(text) for text in set(path)}
    data: tuple[Sequence[int | str], ...] = (
        [token] * len(rows),
        times,
        times_us,
        site,
        _storable(kind),
        _storable(scheme),
        _storable(protocol),
        _storable(method),
        _storable(host),
        _storable([paths[text] for text in path]),
        status,
        _storable(reason),
        [
            who.get(visitor, NO_VISITOR)
            for visitor in zip(kind, site, client, user_agent, strict=True)
        ],
        _storable([hosts[text] for text in referrer]),
        request_bytes,
        response_bytes,
        duration_us,
        origin_us,
    )
    return Batch(token, len(rows), min(times), max(times), data)


Who = tuple[str, int, str, str]  # kind, site, client, user agent


def _visitors(key: bytes, who: Iterable[Who]) -> dict[Who, int]:
    """Return the ids of those who made requests; a connection shows too little of its maker."""
    return {
        (kind, site, client, user_agent): visitor_id(key, site, client, user_agent)
        for kind, site, client, user_agent in set(who)
        if kind == "request"
    }


def referrer_host(referrer: str) -> str:
    """Return the host of a Referer header in lower case, or "" if there is none to be seen."""
    match = _AUTHORITY.match(referrer)
    return match[1].lower() if match else ""


def _without_query(path: str) -> str:
    for mark in "?#":
        path = path.partition(mark)[0]
    return path


def _storable(texts: Sequence[str]) -> Sequence[str]:
    """Return the texts as valid Unicode: what was no UTF-8 becomes "?"."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [text.encode("utf-8", "replace").decode() for text in texts]
    return texts
