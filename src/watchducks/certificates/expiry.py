"""Owners are told when a certificate was not renewed in time: 14, 7 and 1 days before it ends.

One that was given as files is :mod:`.given`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.certificates.groups import Groups
from watchducks.certificates.holdings import Holdings
from watchducks.certificates.plan import Held
from watchducks.model.certificates import CertificateProgress, Trouble
from watchducks.model.cutover import SiteCutover
from watchducks.model.letters import LetterKind, Post, site_letter
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

LOOK_SECONDS: Final = 3600.0
NOTICE_DAYS: Final = (1, 7, 14)
DAY_SECONDS: Final = 86_400.0
# A renewal that began late, or had to wait for an authority, is nobody's worry yet: certificates of
# six days begin to be renewed two days before they end.
OVERDUE_SECONDS: Final = DAY_SECONDS / 2


class ProgressReader(Protocol):
    """Where it is kept how far sites are: :class:`watchducks.registry.registry.Registry`."""

    async def cutover(self, site_id: int) -> SiteCutover | None:
        """Return how far a site is. May raise StoreUnavailable."""


def notice(held: Held, now: float) -> int | None:
    """Return how many days before the end its owners have to be told now; None: not at all."""
    if now < held.due + OVERDUE_SECONDS or now >= held.not_after:
        return None
    left = (held.not_after - now) / DAY_SECONDS
    return next((days for days in NOTICE_DAYS if left <= days), None)


class ExpiryNotices:
    """A Part.

    :param now: gives POSIX seconds.
    """

    def __init__(
        self,
        holdings: Holdings,
        groups: Groups,
        progress: ProgressReader,
        post: Post,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._holdings = holdings
        self._groups = groups
        self._progress = progress
        self._post = post
        self._now = now
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=Logger(), name="telling of expiring ones"
        )

    async def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()

    async def _look(self) -> None:
        now = self._now()
        held = [one.held for one in self._holdings.all()]
        ending = [(one, days) for one in held if (days := notice(one, now)) is not None]
        if not ending:
            return
        last: dict[str, float] = {}
        for one in held:
            last |= {name: max(last.get(name, 0.0), one.not_after) for name in one.names}
        try:
            for one, days in ending:
                # Names that have another one by now are nobody's worry.
                names = [name for name in one.names if last[name] == one.not_after]
                for site in self._groups.sites_of(names):
                    await self._tell(site, int(one.not_after), f"{one.not_after}:{days}")
        except StoreUnavailable:  # the feed of the registry says so already
            return

    async def _tell(self, site: Site, expires: int, topic: str) -> None:
        found = await self._progress.cutover(site.id)
        why = CertificateProgress() if found is None else found.progress.certificate
        facts = told(why, expires)
        # Whose letters of today are used up is told with the next notice.
        await self._post.post(site_letter(LetterKind.CERTIFICATE, site, facts, topic=topic))


def told(why: CertificateProgress, expires: int) -> dict[str, Any]:
    """Return the facts of a letter: codes, which the letter has words for in its language."""
    trouble = why.trouble if why.trouble is not Trouble.NONE else Trouble.LATE
    return {
        "expires": expires,
        "trouble": trouble.value,
        "host": why.host,
        "words": why.words,
    }
