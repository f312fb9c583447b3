"""Old access logs into the spool: segments like any others, each line of a file once.

What is read of a file is written into hidden segments, and handed to the shipper by renaming them.
A ledger a file says how far it was handed over, and, before the first is renamed, which ones are
about to be: whoever dies in between is continued, so that no line comes twice, and none is left
out. A file is known by its first line and its site: it may have been renamed, and may have grown.

The ledger is this host's: import a file on one host only.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from watchducks.journal.access_logs import Parse
from watchducks.journal.encoder import Encoder
from watchducks.journal.records import FILE_HEADER
from watchducks.journal.segments import IMPORTED, SEALED
from watchducks.model.rows import Row

_HIDDEN: Final = ".import"
# As many rows as the spool's own segments have.
SEGMENT_ROWS: Final = 10_000
# Longer lines are no log: a request's head ends at a few kilobytes.
MAX_LINE_BYTES: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
_DIGITS: Final = 32


class Taken(NamedTuple):
    """What became of a piece of a file.

    :ivar rows: lines that are rows now. :ivar unknown: lines that were not understood.
    :ivar first_unknown: the beginning of the first of these; "": there is none.
    :ivar size_bytes: of the hidden segments that wait for :meth:`LogImport.hand_over`.
    :ivar is_end: there is no more.
    """

    rows: int
    unknown: int
    first_unknown: str
    size_bytes: int
    is_end: bool


class LogImport:
    """The import of one file. Every method blocks, and may raise OSError.

    :ivar offset: how many bytes of the (unpacked) file were handed over before.
    """

    def __init__(
        self,
        file: Path,
        parse: Parse,
        site_id: int,
        data_dir: Path,
        *,
        now: Callable[[], float],
        segment_rows: int = SEGMENT_ROWS,
    ) -> None:
        """:param now: POSIX seconds.

        :raises BlockingIOError: another import runs. :raises EOFError: the file is empty.
        """
        self._spool = data_dir / "spool"
        self._ledgers = data_dir / "journal" / "imports"
        self._parse = parse
        self._segment_rows = segment_rows
        self._now = now
        # What is new belongs to whom the spool belongs to: root may run the import.
        self._owner = self._spool.stat()
        self._ledgers.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(self._ledgers, self._owner.st_uid, self._owner.st_gid)
        self._lock = os.open(self._ledgers / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file: BinaryIO | gzip.GzipFile | None = None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = _open(file)
            self._ledger = self._ledgers / f"{_identity(self._file, site_id)}.json"
            self.offset = self._read = self._recover()
            self._file.seek(self.offset)
        except BaseException:
            self.close()
            raise
        self._hidden: list[str] = []
        self._size_bytes = 0

    def close(self) -> None:
        """Let go of the file; what was not handed over is read again by the next import."""
        if self._file is not None:
            self._file.close()
        os.close(self._lock)

    def take(self) -> Taken:
        """Read on, and write one hidden segment."""
        assert self._file is not None
        rows: list[Row] = []
        unknown, first_unknown, is_end = 0, "", False
        parse, readline = self._parse, self._file.readline
        while len(rows) < self._segment_rows:
            line = readline(MAX_LINE_BYTES)
            if not line.endswith(b"\n"):
                if len(line) < MAX_LINE_BYTES:
                    # Its writer may not have finished it: it is for the next import.
                    is_end = True
                    break
                line += self._skip_line()
                row = None
            else:
                row = parse(line)
            self._read += len(line)
            if row is not None:
                rows.append(row)
            elif line.strip():
                unknown += 1
                first_unknown = first_unknown or line[:100].decode("utf-8", "replace").strip()
        if rows:
            self._write(FILE_HEADER + Encoder().encode(rows).content)
        return Taken(len(rows), unknown, first_unknown, self._size_bytes, is_end)

    def _skip_line(self) -> bytes:
        """Read to the end of a line that is too long; returns as many bytes as it had."""
        assert self._file is not None
        skipped = 0
        while (rest := self._file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            skipped += len(rest)
        return bytes(skipped + len(rest))

    def _write(self, content: bytes) -> None:
        # One after the other, however fast they are made.
        time_us = int(self._now() * 1_000_000) + len(self._hidden)
        name = f"{IMPORTED}{time_us:016d}-{secrets.token_hex(4)}"
        self._put(self._spool / f"{name}{_HIDDEN}", content)
        self._hidden.append(name)
        self._size_bytes += len(content)

    def hand_over(self) -> None:
        """Give what was taken to the shipper."""
        self._note({"offset": self.offset, "next": self._read, "names": self._hidden})
        self._rename(self._hidden)
        self.offset = self._read
        self._note({"offset": self.offset})
        self._hidden, self._size_bytes = [], 0

    def waiting_bytes(self) -> int:
        """Return the size of what is in the spool and was not shipped yet."""
        total = 0
        with os.scandir(self._spool) as entries:
            for entry in entries:
                if not entry.name.endswith(_HIDDEN):
                    try:
                        total += entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue  # shipped since it was listed
        return total

    def _recover(self) -> int:
        """End what another import began; return where to go on."""
        try:
            state = json.loads(self._ledger.read_bytes())
        except FileNotFoundError:
            state = {"offset": 0}
        offset = int(state["offset"])
        if "names" in state:
            self._rename(state["names"])
            offset = int(state["next"])
            self._note({"offset": offset})
        # Only one import runs at a time: whatever else is hidden is nobody's.
        for path in self._spool.glob(f"{IMPORTED}*{_HIDDEN}"):
            path.unlink(missing_ok=True)
        return offset

    def _rename(self, names: list[str]) -> None:
        for name in names:
            try:
                (self._spool / f"{name}{_HIDDEN}").rename(self._spool / f"{name}{SEALED}")
            except FileNotFoundError:
                continue  # it was, before a crash

    def _note(self, state: dict[str, object]) -> None:
        new = self._ledger.with_suffix(".new")
        self._put(new, json.dumps(state).encode())
        new.replace(self._ledger)

    def _put(self, path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # it holds visitors' addresses
            os.fchown(file.fileno(), self._owner.st_uid, self._owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    file = path.open("rb")
    if file.read(2) == _GZIP:
        file.close()
        return gzip.open(path, "rb")
    file.seek(0)
    return file


def _identity(file: BinaryIO | gzip.GzipFile, site_id: int) -> str:
    """Return what names a file. :raises EOFError: it has no line."""
    first = file.readline(MAX_LINE_BYTES)
    if not first.endswith(b"\n") and len(first) < MAX_LINE_BYTES:
        raise EOFError("the file has not one line")
    return hashlib.sha256(b"%d\n" % site_id + first).hexdigest()[:_DIGITS]
