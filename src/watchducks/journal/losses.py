"""Rows that were given up, by site: what a full disk or a full spool has cost.

The counts are for ever, so they are kept in a file. The charts owe their readers the gap, and no
more than the gap: what is not in the log store yet is kept in the same file by site and stretch of
time, and leaves it in batches whose name is in the file before they are stored;
:mod:`watchducks.journal.loss_reports` stores them. An edge has no store: its keeper takes them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.logger import Logger

from watchducks.background import Threads
from watchducks.replacing import replace_file

_HOUR: Final = 3600
# Rows that were lost within this time of each other are one stretch: a minute is the finest point
# that a chart has.
_STRETCH_GAP: Final = 60
# Stretches that wait for the log store: two weeks of a hundred sites that lose rows all the time,
# some megabytes. Beyond it rows are counted all the same, but no chart will show when they were
# lost.
MAX_NOTED: Final = 30_000


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


class LossBatch(NamedTuple):
    """What goes to the log store together. :ivar losses: site and loss."""

    name: str
    losses: list[tuple[int, Loss]]


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
        self._noted: list[tuple[int, Loss]] = []  # site and stretch
        self._latest: dict[int, int] = {}  # site -> where in it its last stretch is
        self._leaving: LossBatch | None = None
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
        for site, loss in losses.items():
            self._note(site, loss)
        self._saved = self._saved and not losses

    def _note(self, site: int, loss: Loss) -> None:
        place = self._latest.get(site)
        if place is not None and _touch(self._noted[place][1], loss):
            together = dict([self._noted[place]])
            add_losses(together, {site: loss})
            self._noted[place] = site, together[site]
        elif len(self._noted) < MAX_NOTED:
            self._latest[site] = len(self._noted)
            self._noted.append((site, loss))

    def take(self) -> list[tuple[int, Loss]]:
        """Return the stretches that nobody took yet, and forget them."""
        taken, self._noted, self._latest = self._noted, [], {}
        return taken

    async def leaving(self, pool: Threads) -> LossBatch | None:
        """Return the batch to be stored next, the same until :meth:`stored`; None: there is none,
        or its name could not be written down."""
        if self._leaving is None and self._noted:
            self._leaving = LossBatch(secrets.token_hex(8), self.take())
            self._saved = False
        return self._leaving if await self.save(pool) else None

    async def stored(self, pool: Threads) -> None:
        """The batch is in the log store, or given up: forget it."""
        self._leaving = None
        self._saved = False
        await self.save(pool)

    def load(self) -> bool:
        """Add what the file has; return False for one that is damaged, which then has nothing.

        Blocks. :raises OSError: it cannot be read.
        """
        try:
            content = json.loads(self._path.read_bytes())
            found = dict(map(_read_loss, content["found"]))
            noted = list(map(_read_loss, content["noted"]))
            leaving = [
                LossBatch(str(name), list(map(_read_loss, losses)))
                for name, losses in content["leaving"]
            ]
        except FileNotFoundError:
            return True
        except (ValueError, TypeError, KeyError):
            return False
        add_losses(self._found, found)
        for site, loss in noted:
            self._note(site, loss)
        self._leaving = leaving[0] if leaving else None
        return True

    async def save(self, pool: Threads) -> bool:
        """Bring the file up to date; when that is not possible it is tried at the next call.

        Returns whether the file has what there was when this was called.
        """
        if self._saved:
            return True
        self._saved = True  # what is added during the wait is for the next call
        batches = [] if self._leaving is None else [self._leaving]
        content = json.dumps(
            {
                "found": [(site, *loss) for site, loss in self._found.items()],
                "noted": [(site, *loss) for site, loss in self._noted],
                "leaving": [
                    (name, [(site, *loss) for site, loss in losses]) for name, losses in batches
                ],
            }
        ).encode()
        if not await pool.run(self._write, content):
            self._saved = False
            return False
        return True

    def _write(self, content: bytes) -> bool:
        try:
            replace_file(self._path, content, durable=False)
        except OSError as error:
            self._log.error("cannot write {path}: {error}", path=str(self._path), error=str(error))
            return False
        return True


def _touch(one: Loss, other: Loss) -> bool:
    """Return whether two losses are one stretch of time: of an hour, for charts count by it."""
    return (
        one.first // _HOUR == other.first // _HOUR
        and one.first - _STRETCH_GAP <= other.last
        and other.first - _STRETCH_GAP <= one.last
    )


def _read_loss(entry: Any) -> tuple[int, Loss]:
    site, rows, first, last = map(int, entry)
    return site, Loss(rows, first, last)
