"""What goes to the log store together: several segments in one insert, as an insert costs the store
8 to 20 ms before its first row.

The rows of a shipment that lie in one UTC day are one block, and a block is in the store as a whole
or not at all. So that it stays one, whatever dies: before the insert each of its segments is marked
with the shipment's mark (segments.py), and segments with the same mark are shipped together again.
A shipment of which not all are marked yet was not sent, so what is marked of it may go without the
others; one of which some are gone was acknowledged, and the others are found in the store. A block
is named by its segments and its day, so that it has the same name each time it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from watchducks.journal.enrich import HOUR_SECONDS, Batch
from watchducks.journal.segments import IMPORTED, Segment

# Segments are taken together up to this size: some 40,000 rows, which take 100 ms and 40 MB to be
# prepared. Larger ones gain nothing more, and the store would wait for longer for the first.
SHIPMENT_BYTES: Final = 4 * 1024 * 1024
# And at most so many: the store is asked for each of them by name after a lost acknowledgement.
MAX_SEGMENTS: Final = 100

# Rows of an hour that has ended for so long were not expected any more; roll-ups of hours are made
# some minutes after their ends.
LATE_SECONDS: Final = 60

_MARK_BYTES: Final = 8


class Shipment(NamedTuple):
    """Segments that are shipped together, at least one; oldest first."""

    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """What names it: the same for the same segments."""
        first, *others = [segment.name for segment in self.segments]
        return f"{first}+{self.mark}" if others else first

    @property
    def mark(self) -> str:
        """What its segments are marked with."""
        names = "\n".join(segment.name for segment in self.segments)
        return blake2b(names.encode(), digest_size=_MARK_BYTES).hexdigest()

    @property
    def doubtful(self) -> bool:
        """Whether it may be in the store already."""
        return any(segment.doubtful for segment in self.segments)

    @property
    def is_imported(self) -> bool:
        """Whether it is of imported access logs."""
        return self.segments[0].name.startswith(IMPORTED)

    def token(self, batch: Batch) -> str:
        """Return the name of one of its blocks."""
        return f"{self.name}/{batch.day}"


class Loaded(NamedTuple):
    """A shipment ready for the store.

    :ivar lost_bytes: how many bytes of each segment, by its name, could not be read.
    """

    shipment: Shipment
    batches: list[Batch]
    lost_bytes: dict[str, int]


def shipments_of(waiting: Iterable[Segment]) -> list[Shipment]:
    """Return what to ship, oldest first.

    :param waiting: the segments, oldest first.
    """
    marked: dict[str, list[Segment]] = {}
    found: list[list[Segment]] = []
    size = 0
    last: Segment | None = None  # that others may join
    for segment in waiting:
        if segment.doubtful:
            if segment.mark in marked:
                marked[segment.mark].append(segment)
                continue
            found.append([segment])
            if segment.mark:
                marked[segment.mark] = found[-1]
            last = None
            continue
        size += segment.size_bytes
        if last is not None and _may_join(last, segment, size, len(found[-1])):
            found[-1].append(segment)
        else:
            found.append([segment])
            size = segment.size_bytes
        last = segment
    return [Shipment(tuple(segments)) for segments in found]


def _may_join(last: Segment, segment: Segment, size: int, count: int) -> bool:
    """Whether a segment goes with those before it."""
    # Those of imports have visitor keys of their own.
    same_kind = last.name.startswith(IMPORTED) == segment.name.startswith(IMPORTED)
    return same_kind and size <= SHIPMENT_BYTES and count < MAX_SEGMENTS


def late_hours(hours: Sequence[int], now: float) -> list[int]:
    """Return which of these hours (their beginnings, POSIX seconds) ended long ago."""
    return [hour for hour in hours if hour + HOUR_SECONDS + LATE_SECONDS < now]
