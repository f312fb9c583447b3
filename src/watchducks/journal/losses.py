"""Rows that were given up, by site: what a full disk or a full spool has cost.

The counts are for ever, so they are kept in a file; the charts owe their readers the gap.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from watchducks.background import Threads


class Loss(NamedTuple):
    """What one site has lost.

    :ivar first: the time of the earliest lost row, POSIX seconds.
    :ivar last: that of the latest.
    """

    rows: int
    first: int
    last: int


def losses_of(rows: Iterable[tuple[int, int]]) -> dict[int, Loss]:
    """Return site -> loss for rows of (site, POSIX seconds)."""
    found: dict[int, Loss] = {}
    for site, seconds in rows:
        add_losses(found, {site: Loss(1, seconds, seconds)})
    return found


def add_losses(found: dict[int, Loss], more: Mapping[int, Loss]) -> None:
    """Add site -> loss to what was found before."""
    for site, loss in more.items():
        known = found.get(site, loss._replace(rows=0))
        found[site] = Loss(
            known.rows + loss.rows, min(known.first, loss.first), max(known.last, loss.last)
        )


class Losses:
    """The counts, and the file that has them."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[int, Loss] = {}
        self._saved = True

    @property
    def rows(self) -> int:
        """How many rows were lost, of all sites."""
        return sum(loss.rows for loss in self._found.values())

    def by_site(self) -> Mapping[int, Loss]:
        """Return site -> what it has lost; sites that lost nothing are not there."""
        return dict(self._found)

    def add(self, losses: Mapping[int, Loss]) -> None:
        """Count these, too."""
        add_losses(self._found, losses)
        self._saved = self._saved and not losses

    def load(self) -> bool:
        """Add what the file has; return False for one that is damaged, which then has nothing.

        Blocks. :raises OSError: it cannot be read.
        """
        try:
            content = json.loads(self._path.read_bytes())
            found = {int(site): Loss(*map(int, loss)) for site, loss in content.items()}
        except FileNotFoundError:
            return True
        except (ValueError, TypeError, AttributeError):
            return False
        add_losses(self._found, found)
        return True

    async def save(self, pool: Threads) -> None:
        """Bring the file up to date; when that is not possible it is tried at the next call."""
        if self._saved:
            return
        self._saved = True  # what is added during the wait is for the next call
        content = json.dumps({str(site): loss for site, loss in self._found.items()}).encode()
        if not await pool.run(self._write, content):
            self._saved = False

    def _write(self, content: bytes) -> bool:
        # A new file under the old name: after a crash it is the old one or the new one, whole.
        new = self._path.with_suffix(".new")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            new.replace(self._path)
        except OSError as error:
            self._log.error("cannot write {path}: {error}", path=str(self._path), error=str(error))
            return False
        return True
