"""Happenings as a part: what becomes of sites, noted in the log store beside their figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.analytics.events import annotate
from watchducks.appliance.house import House
from watchducks.background import Repeating
from watchducks.model.certificates import CertificateProgress
from watchducks.model.sites import Site
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from watchducks.certificates.orders import ProgressStore, Rule

# While the log store is away; a note that comes later is written at once.
AGAIN_SECONDS: Final = 30.0
# An hour of the busiest host without a log store. The oldest go first: charts lack a mark.
MOST_WAITING: Final = 1000

Note = tuple[float, str, str, int]


class Notes:
    """Writes notes down, one after another. A Part.

    :param now: gives POSIX seconds.
    """

    def __init__(self, store: LogStore, *, clock: IReactorTime, now: Callable[[], float]) -> None:
        self._log = Logger()
        self._store = store
        self._now = now
        self._waiting: deque[Note] = deque(maxlen=MOST_WAITING)
        self._turns = Repeating(
            self._write, AGAIN_SECONDS, clock=clock, log=self._log, name="noting what happened"
        )

    async def start(self) -> None:
        """Begin."""
        self._turns.start()

    async def stop(self) -> None:
        """What waits is forgotten."""
        await self._turns.stop()

    def note(self, kind: str, detail: str, site_id: int) -> None:
        """Note that something happened now."""
        self._waiting.append((self._now(), kind, detail, site_id))
        self._turns.nudge()

    def name_servers(self, site: Site) -> None:
        """Note to what state its name servers have brought a site."""
        self.note("name-servers", site.state.value, site.id)

    async def _write(self) -> None:
        while self._waiting:
            note = self._waiting[0]
            try:
                await annotate(self._store, *note)
            except StoreUnavailable:
                return
            except StoreRefused as error:
                self._log.warn("not noted: {error}", error=str(error))
            # More may have come meanwhile than may wait, and pushed it out.
            if self._waiting and self._waiting[0] is note:
                self._waiting.popleft()


class NotedProgress:
    """Keeps how far certificates are, and notes those that came and those that did not."""

    def __init__(self, progress: ProgressStore, notes: Notes) -> None:
        self._progress = progress
        self._notes = notes

    async def keep_certificate_progress(self, rules: Mapping[int, Rule]) -> None:
        """See ProgressStore."""
        await self._progress.keep_certificate_progress(rules)
        for site_id, rule in rules.items():
            # What a rule does is seen by what it makes of nothing.
            made = rule(CertificateProgress())
            if made.failed:
                self._notes.note("certificate-failed", made.trouble.value, site_id)
            elif made.issued:
                self._notes.note("certificate", "", site_id)


async def start_the_notes(house: House, store: LogStore, now: Callable[[], float]) -> Notes:
    """Begin to note what happens to sites."""
    notes = Notes(store, clock=house.reactor, now=now)
    await house.run("the notes of what happened", notes)
    return notes
