"""The shipper: sealed segments, oldest first, into the log store; each row once.

For one shipment after the other, which is one segment or several (shipments.py)::

    read, decode, enrich (loading.py, in a thread) -> mark -> insert -> delete (delivery.py)

While the store is away the shipper waits, longer each time, and begins again with the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError, Threads
from watchducks.journal.agreement import KeyAgreement, SharedKeys
from watchducks.journal.bound import SpoolBound
from watchducks.journal.delivery import Delivery, Tables
from watchducks.journal.loading import Loader
from watchducks.journal.lock import ShipperLock
from watchducks.journal.loss_reports import LossReports
from watchducks.journal.losses import Losses
from watchducks.journal.segments import SegmentDirectory
from watchducks.journal.shipments import Shipment, shipments_of
from watchducks.journal.sources import Knowledge
from watchducks.journal.visitors import VisitorKeys
from watchducks.stores.interfaces import LogStore, StoreUnavailable

# How often other processes' segments are looked for; our own spool says when it has sealed one.
SCAN_SECONDS = 1.0

# Back-off while the store is down: at once noticed when it is back after a restart of seconds,
# and not a burden for one that is down for days.
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0

# How long stop() goes on shipping. The rest waits on disk for the next start.
STOP_SECONDS = 5.0


class Shipper:
    """Ships one spool directory. A Part; there must be only one a directory, which it sees to."""

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        state_directory: Path,
        store: LogStore,
        tables: Tables,
        losses: Losses,
        knowledge: Knowledge,
        shared_keys: SharedKeys | None = None,
        *,
        pool: Threads,
        clock: IReactorTime,
        now: Callable[[], float],
        spool_bytes: int,
        node: str,
        waits: bool = False,
    ) -> None:
        """:param state_directory: ``data_dir/journal``, for the visitor keys.

        :param losses: where rows of dropped segments are counted; loaded and saved here.
        :param knowledge: what rows are enriched with; used by the pool's thread alone.
        :param shared_keys: None: there is no other host.
        :param pool: one thread, named ``journal``; started before, and stopped after this part.
        :param now: POSIX seconds.
        :param spool_bytes: the bound of the spool's size on disk; beyond it the oldest segments go.
        :param node: the name of this node.
        :param waits: while another process ships from these directories, leave it to that one, and
            go on when it has ended.
        """
        self._waits = waits
        self._segments = SegmentDirectory(directory)
        self._state_directory = state_directory
        self._keys = VisitorKeys(state_directory / "visitor-keys.json")
        self._tables = tables
        self._losses = losses
        self._agreement = KeyAgreement(self._keys, shared_keys, pool=pool, clock=clock, now=now)
        self._pool = pool
        self._clock = clock
        self._now = now
        self._bound = SpoolBound(self._segments, losses, spool_bytes, pool=pool, clock=clock)
        self._reports = LossReports(losses, store, node, pool=pool, clock=clock)
        self._running = DeferredLock()
        self._repeating = Repeating(
            self._turn, SCAN_SECONDS, clock=clock, log=self._log, name="shipping the journal"
        )
        self._lock = ShipperLock(state_directory)
        self._not_before = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._down = False
        self._loader = Loader(self._keys, knowledge, pool=pool, clock=clock, now=now)
        self._delivery = Delivery(self._loader, store, tables, pool=pool, clock=clock, now=now)

    @property
    def shipped(self) -> int:
        """Rows that the log store acknowledged."""
        return self._delivery.shipped

    @property
    def rejected(self) -> int:
        """Segments that were put aside."""
        return self._loader.rejected

    @property
    def lost_bytes(self) -> int:
        """Bytes of segments that could not be read (torn or damaged)."""
        return self._delivery.lost_bytes

    @property
    def spooled_bytes(self) -> int:
        """Size of the spool on disk, at most ``BOUND_EVERY_SECONDS`` (bound.py) old."""
        return self._bound.spooled_bytes

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest rows have waited to be shipped; as old as the size."""
        oldest = self._bound.oldest
        return 0.0 if oldest is None else max(0.0, self._now() - oldest)

    async def start(self) -> None:
        """Begin to ship; what an earlier run left comes first.

        :raises StartupError: the directories cannot be used, or another process ships from them.
        """
        try:
            self._segments.create()
            self._state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_over()
        except BlockingIOError:
            if not self._waits:
                raise StartupError(
                    f"node.data_dir: another WatchDucks uses {self._state_directory}"
                ) from None
            self._log.info("another instance ships the journal, ours included, until it ends")
        except OSError as error:
            raise StartupError(f"node.data_dir: cannot use the journal: {error}") from None
        self._repeating.start()

    def _take_over(self) -> None:
        """Become the one that ships, and read what the last one kept.

        :raises BlockingIOError: another process is.
        :raises OSError: the files cannot be used.
        """
        self._lock.take()
        if not self._keys.load():
            self._log.error("the file of visitor keys is damaged: today's visitors count anew")
        if not self._losses.load():
            self._log.error("the file of lost rows is damaged: they are counted anew")

    def _is_ours(self) -> bool:
        """Whether this process is the one that ships, which it may become by asking."""
        if self._lock.is_ours:
            return True
        try:
            self._take_over()
        except BlockingIOError:
            return False
        self._log.info("this instance ships the journal now")
        return True

    async def stop(self) -> None:
        """Ship what is there, for at most :data:`STOP_SECONDS`; the rest is for the next start."""
        last: Deferred[None] = Deferred.fromCoroutine(self._turn(waits=False))
        _ = last.addTimeout(STOP_SECONDS, self._clock)
        try:
            await last
        except (DeferredTimeout, CancelledError):
            self._log.warn("stopped with segments left to ship; the next start ships them")
        except Exception:
            self._log.failure("the last shipping of the journal failed")
        await self._repeating.stop()
        if self._lock.is_ours:
            await self._losses.save(self._pool)
            self._lock.release()

    def nudge(self) -> None:
        """A segment was sealed: ship it now."""
        self._repeating.nudge()

    async def _turn(self, *, waits: bool = True) -> None:
        """Bound the spool, and ship everything that waits.

        :param waits: respect the back-off; without it the store is tried at once.
        """
        await self._running.acquire()
        try:
            if not self._is_ours():
                return
            await self._bound.keep(shipping=not self._down)
            await self._agreement.settle()
            if waits and self._clock.seconds() < self._not_before:
                return
            if self._tables.ready:
                await self._ship_all()
        finally:
            self._running.release()

    async def _ship_all(self) -> None:
        try:
            while shipments := await self._pool.run(self._waiting):
                await self._ship_line(shipments)
            await self._reports.send(self._tables.apply)
        except (StoreUnavailable, OSError) as error:
            self._back_off(str(error))
            return
        await self._loader.destroy_keys()

    async def _ship_line(self, shipments: Sequence[Shipment]) -> None:
        """Ship these; while one is under way to the store, the next is prepared."""
        ahead = Deferred.fromCoroutine(self._loader.load(shipments[0]))
        try:
            for following in (*shipments[1:], None):
                loaded = await ahead
                if loaded is not None:
                    loaded = await self._delivery.mark(loaded)
                if following is not None:
                    ahead = Deferred.fromCoroutine(self._loader.load(following))
                if loaded is not None:
                    await self._delivery.deliver(loaded)
                self._recovered()
                await self._bound.keep(shipping=True)
        finally:
            # What was prepared in vain was only read; it is read again.
            _ = ahead.addErrback(lambda _: None)

    def _back_off(self, reason: str) -> None:
        if not self._down:
            self._down = True
            self._log.warn("rows wait in the spool: {reason}", reason=reason)
        self._not_before = self._clock.seconds() + self._retry_seconds
        self._retry_seconds = min(self._retry_seconds * 2, LONGEST_RETRY_SECONDS)

    def _recovered(self) -> None:
        if self._down:
            self._down = False
            self._log.info("the log store takes rows again")
        self._retry_seconds = FIRST_RETRY_SECONDS

    def _waiting(self) -> list[Shipment]:
        """Return what is to be shipped, oldest first. Runs in the pool's thread."""
        self._segments.adopt()
        return shipments_of(self._segments.waiting())
