"""The spool: the rows of one reactor turn become one write to the open segment file.

After the write a row survives the death of this process, because the kernel has it; and on a
reactor that tells us before it sends, the write comes before the answer leaves. The file is
not fsynced: the kernel writes it out within half a minute by itself, a segment usually lives for
six seconds, and an fsync on the reactor would make visitors wait for the disk. What a power cut
may cost is the last half minute of rows; it never costs a segment that the log store has
acknowledged, nor the reading of what was written before.

A write that fails ends the open segment. Rows are then held in memory, as what will be the whole
content of the next file, until the disk takes that::

    OPEN  --a write fails-->  HELD  --HELD_BYTES-->  rows are given up, and counted by site
      ^                        |
      +----- a retry works ----+
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from watchducks.background import StartupError
from watchducks.journal.encoder import Encoder
from watchducks.journal.losses import Loss, Losses, losses_of
from watchducks.journal.records import FILE_HEADER, decode, sites_and_seconds
from watchducks.journal.segments import SegmentDirectory
from watchducks.model.rows import Row

# A segment is sealed early at this size, because it is decoded in memory as a whole: about 80,000
# usual rows, which take the shipper some 50 MB.
SEGMENT_BYTES: Final = 8 * 1024 * 1024

# What is kept in memory while the disk takes nothing: as much as a segment may have, a minute of
# 1,000 rows a second.
HELD_BYTES: Final = SEGMENT_BYTES

# How long after a failed write the next is tried; a full disk is not freed more often than that.
RETRY_SECONDS: Final = 1.0

# At most one complaint about the disk a minute, or the log would fill it, too.
COMPLAINT_SECONDS: Final = 60.0


class Spool:
    """Takes rows and owns the open segment of this process. A RowSink and a Part.

    :ivar recorded: rows that were written to disk.
    :ivar held_rows: rows that wait in memory for a disk that takes nothing.
    :ivar failed: rows that could not be encoded, by a fault of ours.
    """

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        node: str,
        losses: Losses,
        *,
        flush_seconds: float,
        flush_rows: int,
        clock: IReactorTime,
        soon: Callable[[Callable[[], None]], object] | None = None,
        on_sealed: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """:param losses: where rows that are given up are counted.

        :param soon: calls a function once, in this reactor turn and before anything that the turn
            wrote is sent; None: the turn's end has to do.
        :param on_sealed: called whenever a segment waits to be shipped; must not raise.
        :param now: POSIX seconds, for the names of segments.
        :param write: ``os.write``, or what a test has instead of a full disk.
        """
        self._segments = SegmentDirectory(directory)
        self._node = node
        self._losses = losses
        self._flush_seconds = flush_seconds
        self._flush_rows = flush_rows
        self._clock = clock
        self._soon = soon or (lambda call: clock.callLater(0, call))
        self._on_sealed = on_sealed
        self._now = now
        self._write = write
        self._rows: list[Row] = []  # of this turn
        self._is_due = False  # whether they will be written
        self._encoder = Encoder()  # of the open segment, or of what is held
        self._held: list[bytes] = []  # frames that the disk did not take yet
        self._held_bytes = 0
        self._retry_call: IDelayedCall | None = None
        self._seal_call: IDelayedCall | None = None
        self._fd: int | None = None
        self._path = directory  # of the open segment, while there is one
        self._size = 0
        self._count = 0
        self._complained: float | None = None
        self.recorded = 0
        self.held_rows = 0
        self.failed = 0

    def dropped(self) -> Mapping[int, Loss]:
        """Return site -> rows that were given up since the node's first start: because the disk
        took nothing for too long, or because the spool was full.
        """
        return self._losses.by_site()

    @property
    def open_bytes(self) -> int:
        """How large the open segment is; the sealed ones are the shipper's to count."""
        return self._size

    async def start(self) -> None:
        """Make the directory and seal what a crashed run left.

        :raises StartupError: the directory cannot be made or read.
        """
        try:
            self._segments.create()
            adopted = self._segments.adopt()
        except OSError as error:
            raise StartupError(f"node.data_dir: cannot write the spool: {error}") from None
        if adopted:
            self._log.info("sealed {count} segments that an earlier run left open", count=adopted)

    async def stop(self) -> None:
        """Write and seal what is there. A row that comes later is adopted by the next run."""
        self._flush()
        if self._retry_call is not None:
            self._retry_call.cancel()
            self._retry()
        self._seal()
        if self._retry_call is not None:
            self._retry_call.cancel()
            self._retry_call = None
            self._log.error("{count} rows could not be written", count=self.held_rows)
            self._give_up(b"".join(self._held))
            self._forget_held()

    def record(self, row: Row) -> None:
        """Take one row; it is on disk at the end of this reactor turn."""
        self._rows.append(row)
        if not self._is_due:
            self._is_due = True
            self._soon(self._flush)

    def _flush(self) -> None:
        """Write the rows of this turn."""
        self._is_due = False
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        if self._held:
            self._hold(rows)
            return
        try:
            if self._fd is None:
                self._open()
            content, count = self._encode(rows)
            if content:
                self._append(content, count)
        except OSError as error:
            self._complain(error)
            self._seal()
            self._hold(rows)
            return
        if self._count >= self._flush_rows or self._size >= SEGMENT_BYTES:
            self._seal()

    def _encode(self, rows: Sequence[Row]) -> tuple[bytes, int]:
        """Return the frames of the rows, and how many rows these are."""
        content, count, failures, error = self._encoder.encode(rows)
        if failures:
            self.failed += failures
            if self._may_complain():
                self._log.error(
                    "{failures} rows cannot be encoded: {error}",
                    failures=failures,
                    error=repr(error),
                )
        return content, count

    def _open(self) -> None:
        """:raises OSError: no file can be made."""
        self._fd, self._path = self._segments.open_new(self._node, int(self._now() * 1e6))
        self._seal_call = self._clock.callLater(self._flush_seconds, self._seal)
        self._encoder = Encoder()

    def _append(self, content: bytes, count: int) -> None:
        """Write frames to the open segment.

        :raises OSError: none of them is there.
        """
        assert self._fd is not None
        if self._size == 0:
            content = FILE_HEADER + content
        written = self._write(self._fd, content)
        if written < len(content):
            # Nothing may follow a torn frame, and whole frames before it would come twice.
            try:
                os.ftruncate(self._fd, self._size)
            except OSError as error:
                # Which of these rows are there is not known: rather lost than counted twice.
                self._log.error(
                    "{path} is torn, some of {count} rows are lost: {error}",
                    path=str(self._path),
                    count=count,
                    error=str(error),
                )
                self._seal()
                return
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self._count += count
        self.recorded += count

    # --- while the disk takes nothing ---------------------------------------------------------

    def _hold(self, rows: Sequence[Row]) -> None:
        if self._held_bytes >= HELD_BYTES:
            self._give_up(Encoder().encode(rows).content)
            return
        if not self._held:
            self._encoder = Encoder()
            self._retry_call = self._clock.callLater(RETRY_SECONDS, self._retry)
        content, count = self._encode(rows)
        self._held.append(content)
        self._held_bytes += len(content)
        self.held_rows += count

    def _retry(self) -> None:
        """Try to make a segment of what is held."""
        encoder = self._encoder
        try:
            self._open()
            self._append(b"".join(self._held), self.held_rows)
        except OSError as error:
            self._complain(error)
            self._seal()
            self._encoder = encoder
            self._retry_call = self._clock.callLater(RETRY_SECONDS, self._retry)
            return
        self._encoder = encoder
        self._retry_call = None
        self._forget_held()
        self._log.info("the spool can be written again")

    def _give_up(self, frames: bytes) -> None:
        lost = decode(FILE_HEADER + frames)
        self._losses.add(losses_of(sites_and_seconds(lost)))

    def _forget_held(self) -> None:
        self._held = []
        self._held_bytes = self.held_rows = 0

    def _complain(self, error: OSError) -> None:
        if self._may_complain():
            self._log.error(
                "node.data_dir: rows are kept in memory, the spool cannot be written: {error}",
                error=str(error),
            )

    def _may_complain(self) -> bool:
        now = self._clock.seconds()
        if self._complained is not None and now - self._complained < COMPLAINT_SECONDS:
            return False
        self._complained = now
        return True

    def _seal(self) -> None:
        """Give the open segment to the shipper; the next row opens a new one."""
        if self._seal_call is not None:
            if self._seal_call.active():
                self._seal_call.cancel()
            self._seal_call = None
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        empty = self._size == 0
        self._size = self._count = 0
        try:
            if empty:
                self._path.unlink()
            else:
                self._segments.seal(self._path)
        except OSError as error:
            # Unlocked by the close below, it is adopted like that of a dead process.
            self._log.error("cannot seal {path}: {error}", path=str(self._path), error=str(error))
        finally:
            os.close(fd)
        if not empty:
            self._on_sealed()
