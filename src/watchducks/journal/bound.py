"""The bound of the spool on disk: beyond it the oldest segments go, and their rows are counted."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Threads
from watchducks.journal.losses import Loss, Losses, add_losses, losses_of
from watchducks.journal.records import decode, sites_and_seconds
from watchducks.journal.segments import REJECTED, SegmentDirectory

# The spool's size is looked at so often; it grows beyond its bound by what comes meanwhile.
BOUND_EVERY_SECONDS: Final = 10.0


class SpoolBound:
    """Keeps one spool directory within its bound, and the file of losses up to date.

    :ivar spooled_bytes: size of the spool on disk, at most :data:`BOUND_EVERY_SECONDS` old.
    :ivar oldest: since when the oldest segment waits to be shipped, POSIX seconds, at most
        :data:`BOUND_EVERY_SECONDS` old; None: none waits.
    """

    _log = Logger()

    def __init__(
        self,
        segments: SegmentDirectory,
        losses: Losses,
        spool_bytes: int,
        *,
        pool: Threads,
        clock: IReactorTime,
    ) -> None:
        """:param pool: one thread, the shipper's: nothing is dropped under its hands."""
        self._segments = segments
        self._losses = losses
        self._spool_bytes = spool_bytes
        self._pool = pool
        self._clock = clock
        self._looked_at: float | None = None
        self._lost_before: int | None = None  # while the spool is full: what was lost until then
        self.spooled_bytes = 0
        self.oldest: float | None = None

    async def keep(self, *, shipping: bool) -> None:
        """Look at the spool, if it is time to.

        :param shipping: whether the store takes rows. Until then a full spool remains one event.
        :raises OSError: the directory cannot be read.
        """
        now = self._clock.seconds()
        if self._looked_at is not None and now - self._looked_at < BOUND_EVERY_SECONDS:
            return
        self._looked_at = now
        lost = await self._pool.run(self._drop)
        if lost and self._lost_before is None:
            self._lost_before = self._losses.rows
            self._log.error(
                "logs.spool_bytes: the spool is full, the oldest rows are dropped and counted"
            )
        elif not lost and self._lost_before is not None and shipping:
            rows = self._losses.rows - self._lost_before
            self._lost_before = None
            self._log.info("the spool has room again; {rows} rows were dropped", rows=rows)
        self._losses.add(lost)
        await self._losses.save(self._pool)

    def _drop(self) -> dict[int, Loss]:
        """Delete the oldest files until the spool fits; return what is lost by it."""
        size = self._segments.size_bytes()
        self.oldest = self._segments.oldest()
        lost: dict[int, Loss] = {}
        if size > self._spool_bytes:
            # Rejected ones first: they are looked at or forgotten, the others are still wanted.
            for segment in self._segments.rejected() + self._segments.waiting():
                if size <= self._spool_bytes:
                    break
                try:
                    content = segment.path.read_bytes()
                    segment.path.unlink()
                except OSError as error:
                    self._log.error(
                        "cannot drop {path}: {error}", path=str(segment.path), error=str(error)
                    )
                    continue
                size -= segment.size_bytes
                if segment.path.suffix != REJECTED:
                    add_losses(lost, losses_of(sites_and_seconds(decode(content))))
        self.spooled_bytes = size
        return lost
