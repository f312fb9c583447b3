"""The directory of segment files: the only thing that passes rows from one process to another.

A segment's file is named ``<node>-<time>-<random>.<state>``; the time is that of its making, in
POSIX microseconds, so that names sort by age; the random part keeps a name, which is what the log
store knows the rows by, from ever coming twice, even when a clock is set back. Its state is its
suffix, changed by renaming, which a crash cannot tear; the name of one that is ``.shipping`` ends
with ``~`` and the mark of those that it is shipped with (shipments.py)::

    .open ------> .segment ------> .shipping ------> deleted
    one spool     sealed, waits    an insert may     every row is in the log store
    appends       for its turn     have been sent
                                      |
                                      +-----------> .rejected
                                                    the store refused it, or it is damaged

The maker of an ``.open`` file holds an exclusive ``flock`` on it, so a left-over of a dead process
is told from the file of a living one, and anybody may seal it (:meth:`SegmentDirectory.adopt`).

A person may rename a ``.rejected`` file to ``.shipping``, which needs no mark, to have it tried
again: what is in the store already is then not inserted a second time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from watchducks.journal.records import FILE_HEADER

OPEN = ".open"
SEALED = ".segment"
SHIPPING = ".shipping"
REJECTED = ".rejected"

# What the segments of imported access logs are called, in the place of the node's name.
IMPORTED = "import-"

# Stands in no name: nodes have letters, digits and "._-".
_MARK = "~"

_RANDOM_BYTES = 4

# How many names are tried for a new file: another process may seal ours before we have locked it.
_NAME_ATTEMPTS = 10


class Segment(NamedTuple):
    """One file, as it was when the directory was listed.

    :ivar name: the segment's name, without suffix; unique for ever.
    :ivar doubtful: an insert of it may have reached the store without an acknowledgement.
    :ivar mark: of those that it is shipped with; "": it has none.
    """

    name: str
    path: Path
    size_bytes: int
    doubtful: bool
    mark: str = ""


class SegmentDirectory:
    """Operations on the files. Every method blocks on the file system and may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory, for its owner only: the files hold visitors' addresses."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open_new(self, node: str, time_us: int) -> tuple[int, Path]:
        """Make and lock an empty ``.open`` file; return its descriptor (the caller's) and path."""
        for _ in range(_NAME_ATTEMPTS):
            name = f"{node}-{time_us:016d}-{secrets.token_hex(_RANDOM_BYTES)}"
            path = self.path / f"{name}{OPEN}"
            try:
                fd = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
                )
            except FileExistsError:
                continue
            if _lock(fd) and _is_still_at(fd, path):
                return fd, path
            os.close(fd)
        raise FileExistsError(f"no free name for a segment in {self.path}")

    def seal(self, path: Path) -> None:
        """Mark the ``.open`` file as complete. The caller holds its lock, or knows it is dead."""
        path.rename(path.with_suffix(SEALED))

    def adopt(self) -> int:
        """Seal every ``.open`` file whose maker is dead; return how many."""
        adopted = 0
        for path in self.path.glob(f"*{OPEN}"):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # sealed by its maker since it was listed
            try:
                if not _lock(fd) or not _is_still_at(fd, path):
                    continue
                if os.fstat(fd).st_size <= len(FILE_HEADER):
                    path.unlink()
                else:
                    self.seal(path)
                    adopted += 1
            finally:
                os.close(fd)
        return adopted

    def waiting(self) -> list[Segment]:
        """Return the segments to ship, oldest first."""
        return self._list(SEALED, SHIPPING)

    def oldest(self) -> float | None:
        """Return when the oldest segment to ship was begun, POSIX seconds; None: none waits."""
        waiting = self.waiting()
        age = _age(waiting[0].name) if waiting else None
        return None if age is None else age[0] / 1_000_000

    def rejected(self) -> list[Segment]:
        """Return the segments that were put aside, oldest first."""
        return self._list(REJECTED)

    def size_bytes(self) -> int:
        """Return the size of all files, open ones and those put aside included."""
        total = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
        return total

    def _list(self, *suffixes: str) -> list[Segment]:
        found: list[tuple[tuple[int, str], Segment]] = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                path = Path(entry.path)
                name, _, mark = path.stem.partition(_MARK)
                age = _age(name)
                if path.suffix not in suffixes or age is None:
                    continue
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # dropped, or deleted by hand
                found.append((age, Segment(name, path, size, path.suffix == SHIPPING, mark)))
        return [segment for _, segment in sorted(found)]


def mark_shipping(segment: Segment, mark: str) -> Segment:
    """Note on disk that the segment's insert begins; returns it under its new path."""
    path = segment.path.with_name(f"{segment.name}{_MARK}{mark}{SHIPPING}")
    return segment._replace(path=segment.path.rename(path))


def put_aside(segment: Segment) -> None:
    """Take the segment out of the line and keep it for a person to look at."""
    segment.path.rename(segment.path.with_name(f"{segment.name}{REJECTED}"))


def _age(name: str) -> tuple[int, str] | None:
    """Return what orders segments by age, or None for a file that is none of ours."""
    parts = name.rsplit("-", 2)
    if len(parts) != 3 or not (parts[1].isascii() and parts[1].isdecimal()):
        return None
    return int(parts[1]), parts[2]


def _lock(fd: int) -> bool:
    """Take the exclusive lock; False: another open file has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_at(fd: int, path: Path) -> bool:
    """Whether ``path`` is the open file; renaming is done under the lock, so hold it."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
