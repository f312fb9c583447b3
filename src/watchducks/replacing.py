"""Files that are replaced as a whole, by whichever process comes: two colours share their data.

Each writer has a temporary file of its own, beside the file it is for, and renames it: who reads,
or comes after a crash, finds one writer's content, whole. The last one wins.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".new"
# What a writer that was killed left behind is removed by a later one after so long: the longest
# write, of 100,000 sites to a slow disk, takes seconds.
_LEFT_SECONDS: Final = 3600.0


def replace_file(
    path: Path,
    content: bytes | Iterable[bytes],
    *,
    durable: bool = True,
    now: Callable[[], float] = time.time,
) -> None:
    """Make ``content`` the file's, with mode 0600. Blocks; for a thread.

    :param durable: it is on the disk when this returns, and survives a power cut.
    :raises OSError: it cannot be written; what was there before still is.
    """
    _remove_left(path, now() - _LEFT_SECONDS)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name has to be on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_left(path: Path, before: float) -> None:
    for left in path.parent.glob(f"{path.name}.*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another one was first
            if left.stat().st_mtime < before:
                left.unlink()
