"""One shipment into the log store: its rows once, and its segments gone, or put aside.

::

    mark as .shipping -> insert, one block a UTC day
      acknowledged      -> delete
      StoreUnavailable  -> the shipper waits, and begins again with the same shipment
      StoreRefused      -> make the tables right and try again; refused again: each segment by
                           itself; and one that is refused by itself is put aside

A segment found as ``.shipping`` may be in the store already: its acknowledgement was lost, or this
process died before the deletion. Then the store is asked for its rows first. As one block is one
partition it is there as a whole or not at all. That holds for every version; where the server
knows ``insert_deduplication_token`` it refuses a block's second coming by itself, too.

Roll-ups are made of hours that are over, so whoever makes them is told before rows of such an hour
come after all, and before any block comes a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import StartupError, Threads
from watchducks.journal.enrich import Batch
from watchducks.journal.loading import Loader
from watchducks.journal.records import MAX_FRAME_BYTES
from watchducks.journal.segments import mark_shipping
from watchducks.journal.shipments import Loaded, Shipment, late_hours
from watchducks.stores.blocks import Block, Numbers
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

TABLE: Final = "requests"
# Its column for when a row came, by the server's clock.
SHIPPED: Final = "shipped"

# An insert whose connection broke may still be under way inside the server. It gets this long,
# counted from the server's next sign of life, before it is asked for the rows.
SETTLE_SECONDS: Final = 1.0


class Tables(Protocol):
    """What the shipper asks of whoever owns the log store's tables."""

    @property
    def ready(self) -> bool:
        """Whether the tables were made or found right since the start."""

    async def apply(self) -> None:
        """Make the tables right.

        :raises StoreUnavailable, StoreRefused: it was not possible.
        :raises StartupError: they are a newer version's, and not for this one.
        """

    async def doubt(self, tokens: Collection[str], hours: Collection[int]) -> None:
        """Note that what is made of rows may lack some of these, or have some twice.

        :param tokens: what the rows are known by in the store (their column ``segment``).
        :param hours: the beginnings of the UTC hours that its rows lie in, POSIX seconds.
        :raises StoreUnavailable, StoreRefused: it was not possible.
        """


class _MixedBlock(Exception):
    """Some segments of a block are in the store, and others are not."""


class Delivery:
    """Delivers what the loader prepared.

    :ivar shipped: rows that the log store acknowledged.
    :ivar lost_bytes: bytes of segments that could not be read (torn or damaged).
    """

    _log = Logger()

    def __init__(
        self,
        loader: Loader,
        store: LogStore,
        tables: Tables,
        *,
        pool: Threads,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param pool: the loader's thread. :param now: POSIX seconds."""
        self._loader = loader
        self._store = store
        self._tables = tables
        self._pool = pool
        self._clock = clock
        self._now = now
        self.shipped = 0
        self.lost_bytes = 0

    async def mark(self, loaded: Loaded) -> Loaded | None:
        """Note on disk that the insert begins; None: a segment was dropped meanwhile.

        To be called just before :meth:`deliver`: what never came near the store is not doubtful.
        """
        if not loaded.batches:
            return loaded
        try:
            shipment = await self._pool.run(_mark, loaded.shipment)
        except FileNotFoundError:
            self._log.info("a segment is gone, the others are looked at again")
            return None
        return loaded._replace(shipment=shipment)

    async def deliver(self, loaded: Loaded, *, settles: bool = True) -> None:
        """Bring a shipment into the store and delete its segments, or put them aside.

        :param settles: False: nothing of it can be under way inside the store.
        :raises StoreUnavailable: not now; it stays first in line.
        :raises OSError: a file could not be deleted or put aside; the same holds.
        """
        doubtful = loaded.shipment.doubtful
        done: set[int] = set()
        try:
            if doubtful and settles and loaded.batches:
                await self._store.query("SELECT 1")
                await deferLater(self._clock, SETTLE_SECONDS)
                await self._store.settled()
            try:
                await self._insert_all(loaded, done, doubtful=doubtful)
            except StoreRefused:
                # Perhaps not these rows are wrong but the tables: somebody dropped or changed them.
                await self._make_tables_right()
                # What was refused may have been a part of the block's way.
                await self._insert_all(loaded, done, doubtful=True)
        except StoreRefused as error:
            await self._ship_each(loaded.shipment, error)
        except _MixedBlock:
            await self._ship_each(loaded.shipment, None)
        else:
            await self._finish(loaded)

    async def _make_tables_right(self) -> None:
        try:
            await self._tables.apply()
        except (StoreRefused, StartupError) as error:
            raise StoreUnavailable(f"the tables cannot be made right: {error}") from None

    async def _ship_each(self, shipment: Shipment, error: StoreRefused | None) -> None:
        """Ship each segment by itself, so that one that is refused keeps none of the others back.

        :param error: why the shipment was refused.
        """
        if len(shipment.segments) == 1:
            (segment,) = shipment.segments
            self._log.error(
                "the log store refused the segment {name}, it is kept as .rejected: {error}",
                name=segment.name,
                error=str(error),
            )
            await self._loader.reject(segment)
            return
        for segment in shipment.segments:
            alone = Shipment((segment._replace(doubtful=True, mark=""),))
            loaded = await self._loader.load(alone)
            if loaded is not None:
                loaded = await self.mark(loaded)
            if loaded is not None:
                await self.deliver(loaded, settles=False)

    async def _insert_all(self, loaded: Loaded, done: set[int], *, doubtful: bool) -> None:
        """Insert the batches but those of days in ``done``, which grows by each that is in the
        store.

        :param doubtful: whether they may be there: then the store is asked.
        """
        for batch in loaded.batches:
            if batch.day in done:
                continue
            token = loaded.shipment.token(batch)
            # Noted before the rows are there, so that nobody believes in figures without them.
            hours = batch.hours if doubtful else late_hours(batch.hours, self._now())
            if hours:
                await self._tables.doubt(batch.segments, hours)
            if doubtful and await self._is_there(batch):
                self._log.info("{token} is in the log store already", token=token)
            else:
                await self._store.insert_block(TABLE, await self._stamped(batch.block), token)
                self.shipped += batch.rows
            done.add(batch.day)

    async def _stamped(self, block: Block) -> Block:
        """Return the block with when it came, where that must not be left to the server: in a
        cluster another one may get it as well, and has to see that it is the same."""
        if self._store.cluster is None:
            return block
        rows = await self._store.query("SELECT toUInt32(now())")
        when = int(rows[0][0]).to_bytes(4, "little")
        return block._replace(columns=block.columns | {SHIPPED: Numbers(32, when * block.rows)})

    async def _is_there(self, batch: Batch) -> bool:
        """Whether the rows of a batch are in the store.

        :raises _MixedBlock: those of some segments are.
        """
        # The time range is what makes it cheap: it leads to one partition.
        rows = await self._store.query(
            f"SELECT DISTINCT segment FROM {TABLE} WHERE segment IN %(segments)s"  # noqa: S608  a constant
            " AND time >= toDateTime(%(first)s) AND time <= toDateTime(%(last)s)",
            {"segments": batch.segments, "first": batch.first, "last": batch.last},
        )
        if 0 < len(rows) < len(batch.segments):
            raise _MixedBlock
        return bool(rows)

    async def _finish(self, loaded: Loaded) -> None:
        for segment in loaded.shipment.segments:
            lost = loaded.lost_bytes.get(segment.name, 0)
            self.lost_bytes += lost
            # A process that died while writing tears one frame. More is damage: it is kept.
            if lost > MAX_FRAME_BYTES:
                self._log.error(
                    "{lost} bytes of the segment {name} cannot be read, it is kept as .rejected",
                    name=segment.name,
                    lost=lost,
                )
                await self._loader.reject(segment)
            elif lost:
                self._log.warn(
                    "the end of the segment {name} was torn by a crash", name=segment.name
                )
        await self._pool.run(_delete, loaded.shipment)


def _mark(shipment: Shipment) -> Shipment:
    """Note on disk that the insert of a shipment begins; a doubtful one has its mark already."""
    mark = shipment.mark
    return Shipment(
        tuple(
            segment if segment.mark else mark_shipping(segment, mark)
            for segment in shipment.segments
        )
    )


def _delete(shipment: Shipment) -> None:
    for segment in shipment.segments:
        segment.path.unlink(missing_ok=True)
