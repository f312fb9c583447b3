"""What a page shows of a scan of the present DNS: what is there, and what could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.model.scans import Note, Scan, hindrance
from watchducks.registry.records import document_of, in_order

# Records that are listed: what a person reads. All of them are on the records page.
MAX_LISTED: Final = 40


@dataclass(frozen=True, slots=True)
class ShownDns:
    """A scan as a page shows it.

    :ivar counts: type -> how many records. :ivar lines: the first of them, (name, type, value).
    :ivar more: how many are not listed. :ivar mail: where mail goes.
    :ivar blocked: why the name servers must not be changed yet.
    """

    whole: bool
    servers: Sequence[str]
    counts: Mapping[str, int]
    lines: Sequence[tuple[str, str, str]]
    more: int
    mail: Sequence[str]
    blocked: Note | None
    notes: Sequence[Note]


def shown_dns(scan: Scan, zone: str) -> ShownDns:
    """Return what a page shows of a scan, which may have thousands of records: for a thread."""
    documents = [document_of(record) for record in in_order(scan.records)]
    rows = [(str(one["name"]), str(one["type"]), str(one["value"])) for one in documents]
    return ShownDns(
        scan.whole,
        [server.name for server in scan.servers],
        Counter(type_ for _, type_, _ in rows),
        rows[:MAX_LISTED],
        max(0, len(rows) - MAX_LISTED),
        [
            value.split()[-1].rstrip(".")
            for name, type_, value in rows
            if (name, type_) == ("@", "MX")
        ],
        hindrance(zone, scan.ds, ()),
        scan.notes,
    )
