"""When authorities want their certificates renewed (RFC 9773): asked now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.certificates.acme.errors import AcmeError
from watchducks.certificates.acme.renewal import Window, read_window, renewal_id
from watchducks.certificates.authorities import Authorities
from watchducks.certificates.holdings import Certificate, Holdings

LOOK_SECONDS: Final = 60.0
# Windows asked for in one look, one after another: 10,000 certificates take three hours, and an
# authority says itself when it wants to be asked again.
MAX_WINDOWS: Final = 50
# An authority that could not tell of a window is asked again then.
NO_WINDOW_SECONDS: Final = 6 * 3600.0


class RenewalWindows:
    """A Part.

    :param changed: called with the bundle whose time may be another one now.
    :param now: gives POSIX seconds.
    """

    def __init__(
        self,
        holdings: Holdings,
        authorities: Authorities,
        changed: Callable[[str], None],
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._log = Logger()
        self._holdings = holdings
        self._authorities = authorities
        self._changed = changed
        self._now = now
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=self._log, name="asking for renewal windows"
        )

    async def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()

    async def _look(self) -> None:
        now = self._now()
        stale = [item for item in self._holdings.items() if item[1].asked_again <= now]
        for bundle, one in stale[:MAX_WINDOWS]:
            window = await self._window(one)
            again = now + (NO_WINDOW_SECONDS if window is None else window.again_seconds)
            if self._holdings.get(bundle) is one:
                self._holdings.learn(bundle, window, again)
                self._changed(bundle)

    async def _window(self, one: Certificate) -> Window | None:
        place = self._authorities.named(one.authority)
        if place is None:
            return None
        try:
            answer = await place.authority.renewal_info(renewal_id(one.leaf))
            return None if answer is None else read_window(answer.document(), answer.retry_seconds)
        except AcmeError as error:
            self._log.info(
                "when to renew {names} was not told: {error}",
                names=sorted(one.held.names),
                error=str(error),
            )
            return None
