"""Counts of DNS questions: from the name server into the log store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from watchducks.analytics.schema import Schema
from watchducks.stores.interfaces import LogStore, StoreUnavailable, Value

_COLUMNS: Final = ("time", "zone", "type", "rcode", "network", "questions")

# Zone, type, rcode and network in words, and how many questions had them in common.
Count = tuple[str, str, str, str, int]


class DnsCounts:
    """Keeps counts: what the name server knows as its CountSink."""

    def __init__(self, store: LogStore, schema: Schema) -> None:
        self._store = store
        self._schema = schema

    async def store(self, time: int, rows: Sequence[Count], token: str) -> None:
        """Insert ``rows`` (at least one) as one block of this ``time`` (POSIX seconds).

        :raises StoreUnavailable: not now. With the same token the rows may come again, and are kept
            once where the server knows tokens.
        :raises StoreRefused: the table is not right.
        """
        if not self._schema.ready:
            raise StoreUnavailable("the log store's tables are not ready yet")
        columns: list[Sequence[Value]] = [[time] * len(rows), *zip(*rows, strict=True)]
        await self._store.insert("dns_questions", _COLUMNS, columns, token)
