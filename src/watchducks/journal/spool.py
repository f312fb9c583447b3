"""The spool: the rows of one reactor turn become one write to the open segment file.

After the write a row survives the death of this process, because the kernel has it. The file is
not fsynced: the kernel writes it out within half a minute by itself, a segment usually lives for
six seconds, and an fsync on the reactor would make visitors wait for the disk. What a power cut
may cost is the last half minute of rows; it never costs a segment that the log store has
acknowledged, nor the reading of what was written before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from watchducks.background import StartupError
from watchducks.journal.records import FILE_HEADER, encode_row
from watchducks.journal.segments import SegmentDirectory
from watchducks.model.rows import Row

# A segment is sealed early at this size, because it is decoded in memory as a whole: about 30,000
# usual rows, which take the shipper some 60 MB.
SEGMENT_BYTES = 8 * 1024 * 1024

# What is kept in memory while the disk takes nothing: a minute of 1,000 rows a second.
HELD_BYTES = 16 * 1024 * 1024

# How long after a failed write the next is tried; a full disk is not freed more often than that.
RETRY_SECONDS = 1.0

# At most one complaint about the disk a minute, or the log would fill it, too.
COMPLAINT_SECONDS = 60.0


class Spool:
    """Takes rows and owns the open segment of this process. A RowSink and a Part.

    :ivar recorded: rows that were written to disk.
    :ivar dropped: rows that were given up, because the disk took nothing for too long.
    """

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        node: str,
        *,
        flush_seconds: float,
        flush_rows: int,
        clock: IReactorTime,
        on_sealed: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """:param on_sealed: called whenever a segment waits to be shipped; must not raise.

        :param now: POSIX seconds, for the names of segments.
        :param write: ``os.write``, or what a test has instead of a full disk.
        """
        self._segments = SegmentDirectory(directory)
        self._node = node
        self._flush_seconds = flush_seconds
        self._flush_rows = flush_rows
        self._clock = clock
        self._on_sealed = on_sealed
        self._now = now
        self._write = write
        self._rows: list[Row] = []  # of this turn
        self._held: list[bytes] = []  # records that the disk did not take yet
        self._held_bytes = 0
        self._flush_call: IDelayedCall | None = None
        self._seal_call: IDelayedCall | None = None
        self._fd: int | None = None
        self._path = directory  # of the open segment, while there is one
        self._size = 0
        self._count = 0
        self._complained: float | None = None
        self.recorded = 0
        self.dropped = 0

    @property
    def held_rows(self) -> int:
        """How many rows wait in memory for a disk that takes nothing."""
        return len(self._held)

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
        self._seal()
        if self._held:
            self._log.error("{count} rows could not be written", count=len(self._held))
            self._drop_held()
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None

    def record(self, row: Row) -> None:
        """Take one row; it is on disk at the end of this reactor turn."""
        self._rows.append(row)
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(0, self._flush)
        elif self._held:
            # The pending call is the retry of a failed write, up to a second away. Until then
            # rows are held as bytes, which are counted.
            self._hold(self._encoded())

    def _encoded(self) -> list[bytes]:
        rows, self._rows = self._rows, []
        try:
            return [encode_row(row) for row in rows]
        except Exception:
            # A fault of ours in one row must not take the turn's other rows along.
            records = []
            for row in rows:
                try:
                    records.append(encode_row(row))
                except Exception:
                    self.dropped += 1
                    if self._may_complain():
                        self._log.failure("a row that cannot be encoded is dropped")
            return records

    def _flush(self) -> None:
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._flush_call = None
        records = self._encoded()
        if self._held:
            self._hold(records)
            records, self._held, self._held_bytes = self._held, [], 0
        if not records:
            return
        try:
            taken = self._append(records)
        except OSError as error:
            if self._may_complain():
                self._log.error(
                    "node.data_dir: rows are kept in memory, the spool cannot be written: {error}",
                    error=str(error),
                )
            taken = 0
        if taken < len(records):
            self._hold(records[taken:])
            self._flush_call = self._clock.callLater(RETRY_SECONDS, self._flush)
        if self._count >= self._flush_rows or self._size >= SEGMENT_BYTES:
            self._seal()

    def _append(self, records: Sequence[bytes]) -> int:
        """Write the records to the open segment; return how many of them are on disk.

        :raises OSError: nothing was written.
        """
        if self._fd is None:
            self._fd, self._path = self._segments.open_new(self._node, int(self._now() * 1e6))
            self._seal_call = self._clock.callLater(self._flush_seconds, self._seal)
        header = FILE_HEADER if self._size == 0 else b""
        content = header + b"".join(records)
        written = self._write(self._fd, content)
        if written == len(content):
            taken, good = len(records), written
        else:
            taken, good = _complete(records, len(header), written)
        self._size += good
        self._count += taken
        self.recorded += taken
        if good < written:
            self._cut(self._fd)
        return taken

    def _cut(self, fd: int) -> None:
        """Take away the record that the disk took only in part."""
        try:
            os.ftruncate(fd, self._size)
        except OSError:
            # What follows a torn record is never read, so nothing may follow it.
            self._seal()

    def _hold(self, records: Sequence[bytes]) -> None:
        for record in records:
            if self._held_bytes + len(record) > HELD_BYTES:
                self.dropped += 1
            else:
                self._held.append(record)
                self._held_bytes += len(record)

    def _drop_held(self) -> None:
        self.dropped += len(self._held)
        self._held, self._held_bytes = [], 0

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


def _complete(records: Sequence[bytes], begin: int, written: int) -> tuple[int, int]:
    """Return how many of the records a short write finished, and where the last of them ends.

    :param begin: bytes of the file's header that went before the first record in this write.
    """
    if written < begin:
        return 0, 0
    taken, good = 0, begin
    for record in records:
        if good + len(record) > written:
            break
        taken += 1
        good += len(record)
    return taken, good
