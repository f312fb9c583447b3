"""One shipper a host: a lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class ShipperLock:
    """The right to ship. Taken once, and let go of by whoever took it."""

    def __init__(self, directory: Path) -> None:
        """:param directory: ``data_dir/journal``."""
        self._path = directory / "shipper.lock"
        self._fd: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this process has it."""
        return self._fd is not None

    def take(self) -> None:
        """Take it.

        :raises BlockingIOError: another process has it.
        :raises OSError: the file cannot be used.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Let another process have it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
