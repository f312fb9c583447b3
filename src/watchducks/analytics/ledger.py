"""The ledger of roll-ups: which of their rows count. Pure.

Roll-ups are made in *batches*: some hours of one UTC day, or that day as a whole. Each row carries
the number of its making (``made`` = the batch's + its unit's, :data:`WHOLE_DAY` or the hour of the
day), and counts unless the ledger says otherwise. A batch's entries, in their order::

    begun, makes, replaces, settles, covers     one block, before the first of its rows
    published                                   one row, when the last of them is there
    abandoned                                   instead: its maker is gone, or failed

A batch is *valid* when it was published on top of the last valid one of its day: of two that were
made at the same time by different hosts, the one with the lower number. Only what a valid batch
says is true: the rows of all others do not count, and the rows that it replaces no longer do. So
the one row ``published`` changes everything at once.

A *doubt* says that rows of an hour may come, or may have come, that its roll-ups lack. It is noted
before the rows are inserted, and lasts until a valid batch settles it.

Entries of days about which nothing is open are closed: they say what is true anyway by then.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from watchducks.analytics.rollups import DAY, HOUR
from watchducks.analytics.tiles import Known

TABLE: Final = "rollup_ledger"
# Of an entry as it is inserted; its age is the server's business.
COLUMNS: Final = ("kind", "day", "made", "unit", "other", "token")

ASKED: Final = "asked"  # no entry; other: the server's time when the ledger was asked
BEGUN: Final = "begun"  # other: the last valid batch of the day when it was planned
MAKES: Final = "makes"  # unit
REPLACES: Final = "replaces"  # other: the number of a making
SETTLES: Final = "settles"  # unit; other: a doubt; token: its block's
COVERS: Final = "covers"  # unit: first hour since 1970; other: POSIX seconds up to which
PUBLISHED: Final = "published"
ABANDONED: Final = "abandoned"
DOUBT: Final = "doubt"  # unit; token: of a block; other: 1 if rows of the hour may be gone already
CLOSED: Final = "closed"  # made: what other entries are about that no longer count
ROLLED: Final = "rolled"  # other: POSIX seconds up to which there are roll-ups
HAD: Final = "had"  # unit; token: of a block whose rows were rolled up after a doubt

# All but those of blocks that were once rolled up, which grow with what is imported.
SELECT: Final = (
    f"SELECT {', '.join(COLUMNS)}, toUInt32(now()) - toUInt32(at) FROM {TABLE}"
    f" WHERE kind != '{HAD}' UNION ALL SELECT '{ASKED}', toUInt32(0), toUInt64(0), toUInt32(0),"
    " toUInt64(toUInt32(now())), '', toInt64(0)"
)

# The unit of a day as a whole; its hours are 0 to 23.
WHOLE_DAY: Final = 24
# Numbers of batches are multiples of it.
UNITS: Final = 32
# Of two numbers that are made within one second: less than one in a hundred million is the same.
# With the second, and the units, these are 63 bits.
_CHANCE_BITS: Final = 27


class Entry(NamedTuple):
    """:ivar day: UTC days since 1970. :ivar age: seconds, by the server's clock."""

    kind: str
    day: int
    made: int
    unit: int = 0
    other: int = 0
    token: str = ""
    age: int = 0


class Doubt(NamedTuple):
    """One hour of one block. :ivar is_old: rows of the hour may be gone, as they are so old."""

    number: int
    day: int
    unit: int
    token: str
    is_old: bool
    age: int

    @property
    def hour(self) -> int:
        """Its beginning, POSIX seconds."""
        return self.day * DAY + self.unit * HOUR


@dataclass(slots=True)
class Batch:
    """What the ledger says of one. :ivar prev: the batch that it was made on top of; 0: none.

    :ivar covers: from when to when there is nothing to be rolled up but what it makes.
    :ivar age: since it was begun. :ivar ended: since it was published or abandoned.
    """

    number: int
    day: int
    prev: int = 0
    units: set[int] = field(default_factory=set)
    replaces: set[int] = field(default_factory=set)
    settles: set[tuple[int, int, str]] = field(default_factory=set)
    covers: tuple[int, int] | None = None
    is_published: bool = False
    is_abandoned: bool = False
    age: int = 0
    ended: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody may still be making it."""
        return not (self.is_published or self.is_abandoned)

    @property
    def made(self) -> set[int]:
        """The numbers that its rows have."""
        return {self.number + unit for unit in self.units}

    def entries(self) -> list[Entry]:
        """What is noted before it is made."""

        def entry(kind: str, unit: int = 0, other: int = 0, token: str = "") -> Entry:
            return Entry(kind, self.day, self.number, unit, other, token)

        found = [entry(BEGUN, other=self.prev)]
        found += [entry(MAKES, unit) for unit in sorted(self.units)]
        found += [entry(REPLACES, other=made) for made in sorted(self.replaces)]
        found += [entry(SETTLES, *settled) for settled in sorted(self.settles)]
        if self.covers is not None:
            start, end = self.covers
            found.append(entry(COVERS, start // HOUR, end))
        return found


@dataclass(frozen=True, slots=True)
class Day:
    """What the ledger says of a UTC day.

    :ivar batches: the valid ones, in the order in which they were made.
    :ivar open: those that may still be made.
    :ivar dead: numbers of makings whose rows do not count.
    :ivar is_whole: whether the day's roll-ups have all that those of its hours have.
    :ivar numbers: all that entries are about. :ivar youngest: the age of the newest entry.
    """

    number: int
    batches: tuple[Batch, ...]
    open: tuple[Batch, ...]
    dead: frozenset[int]
    doubts: tuple[Doubt, ...]
    is_whole: bool
    numbers: frozenset[int]
    youngest: int

    @property
    def head(self) -> int:
        """The last valid batch; 0: none is known."""
        return self.batches[-1].number if self.batches else 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """:ivar rolled_until: before it every hour has its roll-ups, POSIX seconds.

    :ivar marks: the numbers of the entries that say so.
    :ivar closed: numbers that do not count, each with whether something about it is left.
    :ivar asked: the server's time just before it said all this, POSIX seconds.
    """

    days: dict[int, Day]
    rolled_until: int
    marks: frozenset[int]
    closed: dict[int, bool]
    asked: int

    @property
    def dead(self) -> frozenset[int]:
        """Numbers of makings whose rows do not count."""
        return frozenset[int]().union(*(day.dead for day in self.days.values()))

    @property
    def doubts(self) -> list[Doubt]:
        """What is not settled."""
        return [doubt for day in self.days.values() for doubt in day.doubts]

    def known(self) -> Known:
        """Return what questions need to know."""
        doubts = self.doubts
        current = frozenset(doubt.hour for doubt in doubts if not doubt.is_old)
        return Known(
            self.rolled_until,
            frozenset(day.number for day in self.days.values() if not day.is_whole)
            | {hour // DAY for hour in current},
            current,
            frozenset(doubt.hour for doubt in doubts),
            self.dead,
        )


def new_number(now: float, known: Iterable[int] = ()) -> int:
    """Return a number for a batch or a doubt that nobody else has, above those of ``known``.

    :param now: POSIX seconds.
    """
    above = max((number - number % UNITS + UNITS for number in known), default=0)
    chance = random.getrandbits(_CHANCE_BITS)
    return max(int(now) * (UNITS << _CHANCE_BITS), above) + chance * UNITS


def read(entries: Iterable[Entry]) -> Ledger:
    """Return what the entries say, in whatever order they come; each may be there twice."""
    closed: dict[int, bool] = {}
    others: list[Entry] = []
    for entry in entries:
        if entry.kind == CLOSED:
            closed[entry.made] = False
        else:
            others.append(entry)
    marks: set[int] = set()
    asked = rolled_until = 0
    by_day: dict[int, list[Entry]] = {}
    for entry in others:
        if entry.kind == ASKED:
            asked = entry.other
        elif entry.made in closed:
            closed[entry.made] = True
        elif entry.kind == ROLLED:
            marks.add(entry.made)
            rolled_until = max(rolled_until, entry.other)
        elif entry.kind != HAD:
            by_day.setdefault(entry.day, []).append(entry)
    days = {number: _day(number, of_day) for number, of_day in by_day.items()}
    covered = sorted(
        batch.covers for day in days.values() for batch in day.batches if batch.covers is not None
    )
    for start, end in covered:
        if start <= rolled_until:
            rolled_until = max(rolled_until, end)
    return Ledger(days, rolled_until, frozenset(marks), closed, asked)


def _day(number: int, entries: Sequence[Entry]) -> Day:
    batches: dict[int, Batch] = {}
    doubts: list[Doubt] = []
    for entry in entries:
        if entry.kind == DOUBT:
            doubts.append(
                Doubt(entry.made, number, entry.unit, entry.token, bool(entry.other), entry.age)
            )
        else:
            _note(batches.setdefault(entry.made, Batch(entry.made, number)), entry)
    valid = _valid(batches.values())
    dead = set[int]().union(*(batch.made for batch in batches.values() if batch not in valid))
    settled: set[tuple[int, int]] = set()
    is_whole = True
    for batch in valid:
        dead |= batch.replaces
        settled |= {(unit, doubt) for unit, doubt, _ in batch.settles}
        if batch.units:
            is_whole = WHOLE_DAY in batch.units
    return Day(
        number,
        tuple(valid),
        tuple(batch for batch in batches.values() if batch.is_open),
        frozenset(dead),
        tuple({one for one in doubts if (one.unit, one.number) not in settled}),
        is_whole,
        frozenset(entry.made for entry in entries),
        min(entry.age for entry in entries),
    )


def _note(batch: Batch, entry: Entry) -> None:
    if entry.kind == BEGUN:
        batch.prev, batch.age = entry.other, entry.age
    elif entry.kind == MAKES:
        batch.units.add(entry.unit)
    elif entry.kind == REPLACES:
        batch.replaces.add(entry.other)
    elif entry.kind == SETTLES:
        batch.settles.add((entry.unit, entry.other, entry.token))
    elif entry.kind == COVERS:
        batch.covers = entry.unit * HOUR, entry.other
    elif entry.kind == PUBLISHED:
        batch.is_published, batch.ended = True, entry.age
    elif entry.kind == ABANDONED:
        batch.is_abandoned, batch.ended = True, entry.age


def _valid(batches: Iterable[Batch]) -> list[Batch]:
    """Return the valid batches of one day, in their order."""
    found: list[Batch] = []
    for batch in sorted(batches, key=lambda one: one.number):
        is_next = not found or batch.prev == found[-1].number
        if batch.is_published and not batch.is_abandoned and is_next:
            found.append(batch)
    return found
