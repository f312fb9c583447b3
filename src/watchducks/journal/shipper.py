"""The shipper: sealed segments, oldest first, into the log store; each row once.

For one segment::

    read, decode, enrich (in a thread) -> rename to .shipping -> insert, one block a UTC day
      acknowledged      -> delete
      StoreUnavailable  -> wait (longer each time) and begin again with the same segment
      StoreRefused      -> make the tables right and try again; refused again: put aside

A segment found as ``.shipping`` may be in the store already: its acknowledgement was lost, or this
process died before the deletion. Then the store is asked for its rows first. As one block is one
partition it is there as a whole or not at all. That holds for every version; where the server
knows ``insert_deduplication_token`` it refuses a block's second coming by itself, too.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError, Threads
from watchducks.journal.agreement import KeyAgreement, SharedKeys
from watchducks.journal.assets import AssetWatch
from watchducks.journal.bound import SpoolBound
from watchducks.journal.enrich import Batch, days_of, enrich
from watchducks.journal.loss_reports import LossReports
from watchducks.journal.losses import Losses
from watchducks.journal.records import MAX_FRAME_BYTES, decode
from watchducks.journal.segments import (
    IMPORTED,
    Segment,
    SegmentDirectory,
    mark_shipping,
    put_aside,
)
from watchducks.journal.sources import Knowledge
from watchducks.journal.visitors import KEY_BYTES, VisitorKeys, day_of
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

TABLE = "requests"
HOUR = 3600

# How often other processes' segments are looked for; our own spool says when it has sealed one.
SCAN_SECONDS = 1.0

# Back-off while the store is down: at once noticed when it is back after a restart of seconds,
# and not a burden for one that is down for days.
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0

# An insert whose connection broke may still be under way inside the server. It gets this long,
# counted from the server's next sign of life, before it is asked for the rows.
SETTLE_SECONDS = 1.0

# How long stop() goes on shipping. The rest waits on disk for the next start.
STOP_SECONDS = 5.0

# A day's visitor key lives this much longer than the day. A request belongs to the day in which it
# ended, so this is for what lies in open segments yet: at most logs.flush_seconds, 300, of rows.
KEY_GRACE_US = 600 * 1_000_000


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

    async def doubt(self, token: str, hours: Collection[int]) -> None:
        """Note that not all that is made of a block's rows may be there, or some of it twice.

        :param hours: the beginnings of the UTC hours that its rows lie in, POSIX seconds.
        :raises StoreUnavailable, StoreRefused: it was not possible.
        """


class _Loaded(NamedTuple):
    segment: Segment
    batches: list[Batch]
    lost_bytes: int


class Shipper:
    """Ships one spool directory. A Part; there must be only one a directory, which it sees to.

    :ivar shipped: rows that the log store acknowledged.
    :ivar rejected: segments that were put aside.
    :ivar lost_bytes: bytes of segments that could not be read (torn or damaged).
    """

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
        self._store = store
        self._tables = tables
        self._losses = losses
        self._knowledge = knowledge
        self._watch = AssetWatch()
        self._agreement = KeyAgreement(self._keys, shared_keys, pool=pool, clock=clock, now=now)
        self._pool = pool
        self._clock = clock
        self._now = now
        self._bound = SpoolBound(self._segments, losses, spool_bytes, pool=pool, clock=clock)
        self._reports = LossReports(losses, store, node, pool=pool, clock=clock)
        self._imported_keys: dict[int, bytes] = {}
        self._running = DeferredLock()
        self._repeating = Repeating(
            self._turn, SCAN_SECONDS, clock=clock, log=self._log, name="shipping the journal"
        )
        self._lock_fd: int | None = None
        self._not_before = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._down = False
        self.shipped = 0
        self.rejected = 0
        self.lost_bytes = 0

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
        self._take_lock()
        if not self._keys.load():
            self._log.error("the file of visitor keys is damaged: today's visitors count anew")
        if not self._losses.load():
            self._log.error("the file of lost rows is damaged: they are counted anew")

    def _is_ours(self) -> bool:
        """Whether this process is the one that ships, which it may become by asking."""
        if self._lock_fd is not None:
            return True
        try:
            self._take_over()
        except BlockingIOError:
            return False
        self._log.info("this instance ships the journal now")
        return True

    def _take_lock(self) -> None:
        fd = os.open(
            self._state_directory / "shipper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd

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
        if self._lock_fd is not None:
            await self._losses.save(self._pool)
            os.close(self._lock_fd)
            self._lock_fd = None

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
            while segments := await self._pool.run(self._waiting):
                await self._ship_line(segments)
            await self._reports.send(self._tables.apply)
        except (StoreUnavailable, OSError) as error:
            self._back_off(str(error))
            return
        await self._pool.run(self._destroy_keys)

    async def _ship_line(self, segments: Sequence[Segment]) -> None:
        """Ship these; while one is under way to the store, the next is prepared."""
        ahead = Deferred.fromCoroutine(self._load(segments[0]))
        try:
            for following in (*segments[1:], None):
                loaded = await ahead
                if loaded is not None and loaded.batches:
                    # Only now: a segment that never came near the store is not doubtful.
                    loaded = await self._marked(loaded)
                if following is not None:
                    ahead = Deferred.fromCoroutine(self._load(following))
                if loaded is not None:
                    await self._ship(loaded)
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

    async def _load(self, segment: Segment) -> _Loaded | None:
        """Return what the segment holds, ready for the store; None if there is nothing to ship."""
        try:
            return await self._pool.run(self._prepare, segment)
        except FileNotFoundError:
            self._log.info("the segment {name} is gone", name=segment.name)
        except OSError as error:
            # It must not stand in the way of those behind it.
            self._log.error(
                "cannot read the segment {name}, it is kept as .rejected: {error}",
                name=segment.name,
                error=str(error),
            )
            await self._reject(segment)
        return None

    async def _marked(self, loaded: _Loaded) -> _Loaded | None:
        """Note on disk that the insert begins; None: the segment was dropped meanwhile."""
        try:
            marked = await self._pool.run(mark_shipping, loaded.segment)
        except FileNotFoundError:
            self._log.info("the segment {name} is gone", name=loaded.segment.name)
            return None
        return loaded._replace(segment=marked)

    async def _ship(self, loaded: _Loaded) -> None:
        """Bring one segment into the store and delete it, or put it aside.

        :raises StoreUnavailable: not now; it stays first in line.
        :raises OSError: the file could not be deleted or put aside; the same holds.
        """
        done: set[str] = set()
        try:
            await self._insert_all(loaded, done, doubtful=loaded.segment.doubtful)
        except StoreRefused:
            # Perhaps not this segment is wrong but the tables: somebody dropped or changed them.
            try:
                await self._tables.apply()
            except (StoreRefused, StartupError) as error:
                raise StoreUnavailable(f"the tables cannot be made right: {error}") from None
            try:
                # What was refused may have been a part of the block's way.
                await self._insert_all(loaded, done, doubtful=True)
            except StoreRefused as error:
                self._log.error(
                    "the log store refused the segment {name}, it is kept as .rejected: {error}",
                    name=loaded.segment.name,
                    error=str(error),
                )
                await self._reject(loaded.segment)
                return
        await self._finish(loaded)

    async def _insert_all(self, loaded: _Loaded, done: set[str], *, doubtful: bool) -> None:
        """Insert the batches but those in ``done``, which grows by each that is in the store."""
        if doubtful and loaded.batches:
            await self._store.query("SELECT 1")
            await deferLater(self._clock, SETTLE_SECONDS)
        for batch in loaded.batches:
            if batch.token in done:
                continue
            if doubtful:
                # Its rows may be there, and not all that is made of them.
                hours = range(batch.first // HOUR * HOUR, batch.last + 1, HOUR)
                await self._tables.doubt(batch.token, hours)
            if doubtful and await self._is_there(batch):
                self._log.info("{token} is in the log store already", token=batch.token)
            else:
                await self._store.insert_block(TABLE, batch.block, batch.token)
                self.shipped += batch.rows
            done.add(batch.token)

    async def _is_there(self, batch: Batch) -> bool:
        # The time range is what makes it cheap: it leads to one partition.
        rows = await self._store.query(
            f"SELECT count() FROM {TABLE} WHERE segment = %(segment)s"  # noqa: S608  a constant
            " AND time >= toDateTime(%(first)s) AND time <= toDateTime(%(last)s)",
            {"segment": batch.token, "first": batch.first, "last": batch.last},
        )
        return bool(rows[0][0])

    async def _finish(self, loaded: _Loaded) -> None:
        lost = loaded.lost_bytes
        self.lost_bytes += lost
        # A process that died while writing tears one frame. More is damage: it is kept.
        if lost > MAX_FRAME_BYTES:
            self._log.error(
                "{lost} bytes of the segment {name} cannot be read, it is kept as .rejected",
                name=loaded.segment.name,
                lost=lost,
            )
            await self._reject(loaded.segment)
            return
        if lost:
            self._log.warn(
                "the end of the segment {name} was torn by a crash", name=loaded.segment.name
            )
        await self._pool.run(loaded.segment.path.unlink, missing_ok=True)

    async def _reject(self, segment: Segment) -> None:
        self.rejected += 1
        await self._pool.run(put_aside, segment)

    # --- in the pool's thread -----------------------------------------------------------------

    def _waiting(self) -> list[Segment]:
        self._segments.adopt()
        return self._segments.waiting()

    def _prepare(self, segment: Segment) -> _Loaded:
        decoded = decode(segment.path.read_bytes())
        self._knowledge.places.refresh(self._clock.seconds())
        keys = self._keys_of(segment, days_of(decoded))
        batches = enrich(decoded, segment.name, keys, self._knowledge, self._watch)
        return _Loaded(segment, batches, decoded.lost_bytes)

    def _keys_of(self, segment: Segment, days: Collection[int]) -> Mapping[int, bytes]:
        if not segment.name.startswith(IMPORTED):
            return self._keys.keys_of(days)
        # Their days' keys are long destroyed: they have keys of their own, written down nowhere.
        for day in days:
            self._imported_keys.setdefault(day, secrets.token_bytes(KEY_BYTES))
        return self._imported_keys

    def _destroy_keys(self) -> None:
        """Called when everything is shipped: the keys of past days have done their work."""
        self._imported_keys.clear()
        self._keys.destroy_before(day_of(int(self._now() * 1e6) - KEY_GRACE_US))
