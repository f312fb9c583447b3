"""What is to be rolled up next: by the clock, by the ledger, and by what rows there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from watchducks.analytics.ledger import (
    HAD,
    TABLE,
    WHOLE_DAY,
    Batch,
    Day,
    Doubt,
    Ledger,
    new_number,
)
from watchducks.analytics.rolling import Work, alive, horizon_of, hours_of, within
from watchducks.analytics.rollups import DAY, HOUR
from watchducks.stores.interfaces import LogStore

# An hour is rolled up so long after its end. A block is doubted when it has rows of an hour that
# ended a minute before; an insert takes a minute at most, and hosts' clocks differ by less than
# four: that is six of these minutes.
ROLL_AFTER: Final = 600.0
# What came late once may come late again: a block's hours are not made anew while there are more.
QUIET_SECONDS: Final = 30
# A block that was announced so long ago and is not there will not come any more: its inserts take a
# minute at most, and each is announced.
GIVE_UP_SECONDS: Final = HOUR
# Days of one step, hence batches; and rows of one batch, but for an hour that alone has more: it is
# not to take longer than others wait for its maker.
MOST_DAYS: Final = 8
BATCH_ROWS: Final = 20_000_000

_HOUR_OF_DAY: Final = f"intDiv(toUInt32(time) % {DAY}, {HOUR})"


class Planner:
    """Asks the store what there is. Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, store: LogStore, raw_days: int, *, now: Callable[[], float]) -> None:
        self._store = store
        self._raw_days = raw_days
        self._now = now

    async def works(self, ledger: Ledger) -> list[Work]:
        """Return what can be made now, at most one batch of each day.

        A day of which somebody else makes something is left to him.
        """
        found = await self._new_hours(ledger)
        busy = {day.number for day in ledger.days.values() if day.open}
        busy |= {work.batch.day for work in found}
        for number, day in sorted(ledger.days.items()):
            if len(found) >= MOST_DAYS:
                break
            if number in busy:
                continue
            doubts = [doubt for doubt in day.doubts if doubt.hour < ledger.rolled_until]
            work: Work | None = None
            if doubts:
                work = await self._made_anew(ledger, day, doubts)
            elif not day.is_whole and (number + 1) * DAY <= ledger.rolled_until:
                work = await self._whole_day(day)
            if work is not None:
                found.append(work)
        return found

    async def _new_hours(self, ledger: Ledger) -> list[Work]:
        start, end = ledger.rolled_until, self.rolls_until()
        if start >= end:
            return []
        rows = await self._store.query(
            f"SELECT intDiv(toUInt32(time), {HOUR}) AS hour, count() FROM requests"
            f" WHERE {within(start, end)} GROUP BY hour ORDER BY hour LIMIT {MOST_DAYS * 24}"
        )
        counts = [(int(hour) * HOUR, int(count)) for hour, count in rows]
        if len(counts) == MOST_DAYS * 24:
            end = counts[-1][0] + HOUR
        found: list[Work] = []
        for hours, until in stretches(counts, end):
            number = hours[0] // DAY if hours else start // DAY
            day = ledger.days.get(number, _nothing(number))
            if day.open or len(found) >= MOST_DAYS:
                break
            units = [hour % DAY // HOUR for hour in hours]
            replaces = await self._made(day, "traffic_hour", units) if units else set()
            doubts = [doubt for doubt in day.doubts if doubt.unit in units]
            there = await self._there(ledger, doubts)
            batch = self._batch(day, units, replaces, there)
            batch.covers = start, until
            waiting = _tokens(doubts, there)
            found.append(Work(batch, units, {}, ledger.asked, waiting))
            start = until
        return found

    def rolls_until(self) -> int:
        """Return up to when hours are to be rolled up by now, POSIX seconds."""
        return int(self._now() - ROLL_AFTER) // HOUR * HOUR

    async def _whole_day(self, day: Day) -> Work:
        replaces = await self._made(day, "traffic_day", range(24))
        return Work(self._batch(day, [WHOLE_DAY], replaces, ()), dead=day.dead)

    async def _made_anew(self, ledger: Ledger, day: Day, doubts: Sequence[Doubt]) -> Work | None:
        if min(doubt.age for doubt in doubts) < QUIET_SECONDS:
            return None
        there = await self._there(ledger, doubts)
        if day.number * DAY < horizon_of(self._now(), self._raw_days):
            return await self._made_of_what_is_left(ledger, day, there) if there else None
        # A question takes the rows of an hour as long as one doubt is left.
        unready = {doubt.unit for doubt in doubts if doubt not in there}
        ready = sorted({doubt.unit for doubt in doubts} - unready)
        units = await self._as_many_as_fit(day.number, ready) if ready else []
        if not units:
            return None
        replaces = await self._made(day, "traffic_hour", units)
        settled = [doubt for doubt in there if doubt.unit in units]
        return Work(self._batch(day, units, replaces, settled), units, {}, ledger.asked)

    async def _made_of_what_is_left(
        self, ledger: Ledger, day: Day, there: Collection[Doubt]
    ) -> Work:
        """Plan for a day of which rows may be gone: where they are, only what is new is added.

        Rows of a block are new if it was not rolled up after a doubt before, and came when the hour
        had its first roll-ups already.
        """
        units = sorted({doubt.unit for doubt in there})
        had = await self._had(day)
        settled = {(doubt.unit, doubt.token) for doubt in there}
        doubted = {(doubt.unit, doubt.token) for doubt in day.doubts} - had
        published = await self._published(day, units)
        rows = await self._store.query(
            f"SELECT {_HOUR_OF_DAY} AS hour, toString(segment) AS token, count(),"
            " max(toUInt32(shipped))"
            f" FROM requests WHERE {hours_of(day.number, units)}"
            f" AND shipped < toDateTime({ledger.asked}) GROUP BY hour, token"
        )
        kept = dict.fromkeys(units, 0)
        new: dict[int, list[str]] = {}
        for hour, segment, count, shipped in rows:
            unit, token = int(hour), str(segment)
            rolled_at = day.number * DAY + (unit + 1) * HOUR + ROLL_AFTER
            if (unit, token) not in doubted or int(shipped) < rolled_at:
                kept[unit] += int(count)
            elif (unit, token) in settled:
                new.setdefault(unit, []).append(token)
        whole = [unit for unit in units if kept[unit] >= published.get(unit, 0)]
        added = {unit: tokens for unit, tokens in new.items() if unit not in whole}
        replaces = await self._made(day, "traffic_hour", whole) if whole else set()
        return Work(
            self._batch(day, {*whole, *added}, replaces, there),
            whole,
            added,
            ledger.asked,
            _tokens(day.doubts, there),
        )

    async def _published(self, day: Day, units: Sequence[int]) -> dict[int, int]:
        """Return hour of the day -> how many rows its roll-ups have."""
        rows = await self._store.query(
            f"SELECT {_HOUR_OF_DAY} AS hour, sum(requests) + sum(connections) FROM traffic_hour"
            f" WHERE {hours_of(day.number, units)}{alive(day.dead)} GROUP BY hour"
        )
        return {int(unit): int(count) for unit, count in rows}

    async def _had(self, day: Day) -> set[tuple[int, str]]:
        """Return the hours and tokens of blocks that were rolled up after a doubt."""
        rows = await self._store.query(
            f"SELECT unit, token FROM {TABLE} WHERE kind = '{HAD}' AND day = {day.number}"
        )
        found = {(int(unit), str(token)) for unit, token in rows}
        for batch in day.batches:
            found |= {(unit, token) for unit, _, token in batch.settles}
        return found

    async def _there(self, ledger: Ledger, doubts: Sequence[Doubt]) -> set[Doubt]:
        """Return those doubts, all of one day, whose rows are in the store, or will not come any
        more."""
        if not doubts:
            return set()
        start = doubts[0].day * DAY
        rows = await self._store.query(
            "SELECT toString(segment) AS token FROM requests"
            f" WHERE {within(start, start + DAY)} AND segment IN %(tokens)s"
            f" GROUP BY token HAVING max(toUInt32(shipped)) < {ledger.asked}",
            {"tokens": sorted({doubt.token for doubt in doubts})},
        )
        known = {str(row[0]) for row in rows}
        return {one for one in doubts if one.token in known or one.age >= GIVE_UP_SECONDS}

    async def _as_many_as_fit(self, day: int, units: Sequence[int]) -> list[int]:
        """Return the first of the hours, which have rows for one batch."""
        rows = await self._store.query(
            f"SELECT {_HOUR_OF_DAY} AS hour, count() FROM requests WHERE {hours_of(day, units)}"
            " GROUP BY hour"
        )
        counts = {int(unit): int(count) for unit, count in rows}
        found: list[int] = []
        total = 0
        for unit in units:
            total += counts.get(unit, 0)
            if found and total > BATCH_ROWS:
                break
            found.append(unit)
        return found

    async def _made(self, day: Day, table: str, units: Sequence[int]) -> set[int]:
        """Return the numbers of makings whose rows count in these hours of a day."""
        rows = await self._store.query(
            f"SELECT DISTINCT made FROM {table} WHERE {hours_of(day.number, units)}"
        )
        return {int(row[0]) for row in rows} - day.dead

    def _batch(
        self, day: Day, units: Iterable[int], replaces: set[int], settled: Iterable[Doubt]
    ) -> Batch:
        return Batch(
            new_number(self._now(), day.numbers),
            day.number,
            day.head,
            set(units),
            replaces,
            {(doubt.unit, doubt.number, doubt.token) for doubt in settled},
        )


def _tokens(doubts: Iterable[Doubt], but: Collection[Doubt]) -> list[str]:
    """Return the tokens of doubts that are not among ``but``."""
    return sorted({doubt.token for doubt in doubts if doubt not in but})


def _nothing(day: int) -> Day:
    return Day(day, (), (), frozenset(), (), True, frozenset(), 0)


def stretches(counts: Sequence[tuple[int, int]], end: int) -> Iterator[tuple[list[int], int]]:
    """Yield hours that are rolled up together, with up to when that is all there is. Pure.

    They are of one UTC day. It ends where a part of a day is left for another time.

    :param counts: beginnings of hours, POSIX seconds, and how many rows they have.
    :param end: up to when no other hour has any.
    """
    hours: list[int] = []
    total = 0
    for hour, count in counts:
        if hours and hour // DAY == hours[0] // DAY and total + count > BATCH_ROWS:
            yield hours, hour
            return
        if hours and hour // DAY != hours[0] // DAY:
            yield hours, hour
            hours, total = [], 0
        hours.append(hour)
        total += count
    yield hours, end
