"""The courier: takes letters from the registry, and gives them to the mail server."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from email.message import EmailMessage
from typing import Any, Final, Protocol

from jinja2 import TemplateError
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, together
from watchducks.mail.composing import Composer
from watchducks.model.letters import (
    SEAL_CONTEXT,
    SEALED,
    Letter,
    LetterState,
    PostedLetter,
    Undeliverable,
    Unsent,
)
from watchducks.model.seals import SealError
from watchducks.stores.interfaces import StoreUnavailable

# A link to sign in is waited for; letters of this process nudge the courier besides.
INTERVAL_SECONDS: Final = 5.0
# Conversations at a time: what a small mail server of one's own allows one client.
AT_ONCE: Final = 4
# Taken at a time: they are through, at two minutes for the slowest, before their lease ends.
MAX_TAKEN: Final = 2 * AT_ONCE


class Letters(Protocol):
    """Where letters wait: :class:`watchducks.registry.mailbag.Mailbag`, which says more."""

    async def take_due(self, limit: int) -> list[PostedLetter]:
        """Return letters to be sent now, that nobody else sends for a while."""

    async def keep_sent(self, posted: PostedLetter) -> None:
        """Keep that a mail server has taken a letter."""

    async def keep_failed(
        self, posted: PostedLetter, reason: str, *, final: bool = False
    ) -> LetterState:
        """Keep that a letter could not be sent; returns whether it will be tried again."""


class Transport(Protocol):
    """Carries messages away."""

    async def send(self, message: EmailMessage) -> None:
        """Return when somebody else is responsible for ``message``.

        :raises Undeliverable: nobody will take it. :raises Unsent: not now.
        """


class Opens(Protocol):
    """Opens seals: :class:`watchducks.registry.sealing.Sealer`, with its key read."""

    async def __call__(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed. :raises SealError: it cannot be opened here."""


class Unsubscribes(Protocol):
    """Makes links: :meth:`watchducks.mail.unsubscribing.Unsubscribing.link`."""

    async def __call__(self, letter: Letter) -> str:
        """Return the link that stops letters like this; "": nobody may. :raises SealError:"""


class Courier:
    """Several hosts may have this part: the mailbag gives each letter to one at a time.

    :ivar sent: letters since the start. :ivar failures: tries that failed.
    :ivar given_up: letters that will not be tried again.
    """

    _log = Logger()

    def __init__(
        self,
        letters: Letters,
        composer: Composer,
        transport: Transport,
        *,
        opens: Opens,
        unsubscribes: Unsubscribes,
        clock: IReactorTime,
    ) -> None:
        self._letters = letters
        self._composer = composer
        self._transport = transport
        self._opens = opens
        self._unsubscribes = unsubscribes
        self._clock = clock
        self.sent = self.failures = self.given_up = 0
        self._turns = Repeating(
            self._turn, INTERVAL_SECONDS, clock=clock, log=self._log, name="sending mail"
        )

    def nudge(self) -> None:
        """Send now what waits."""
        self._turns.nudge()

    async def start(self) -> None:
        """Begin with the letters that are due."""
        self._turns.start()

    async def stop(self) -> None:
        """Break off the conversations under way; their letters are sent after their leases."""
        await self._turns.stop()

    async def _turn(self) -> None:
        try:
            while batch := await self._letters.take_due(MAX_TAKEN):
                waiting = deque(batch)
                _ = await together(self._send_all(waiting) for _ in range(AT_ONCE))
        except StoreUnavailable:  # the feed of the registry says so already
            return

    async def _send_all(self, waiting: deque[PostedLetter]) -> None:
        """Send one letter after the other. While they cannot be kept none is begun any more, and
        those that others have under way come to their ends."""
        try:
            while waiting:
                await self._send(waiting.popleft())
        except StoreUnavailable:  # the feed of the registry says so already
            waiting.clear()

    async def _send(self, posted: PostedLetter) -> None:
        letter = posted.letter
        if letter.expires and self._clock.seconds() >= letter.expires:
            await self._failed(posted, "nobody wants it any more", final=True)
            return
        try:
            facts = await self._opened(letter.facts, letter.recipient)
            link = await self._unsubscribes(letter)
            whole = replace(posted, letter=replace(letter, facts=facts))
            message = self._composer.compose(whole, link)
            await self._transport.send(message)
        except CancelledError:
            raise
        except (Unsent, SealError) as error:
            await self._failed(posted, str(error), final=False)
        except Undeliverable as error:
            await self._failed(posted, str(error), final=True)
        except TemplateError as error:
            # A letter of another version; a host of that version may know what to do with it.
            await self._failed(posted, f"cannot be written: {error}", final=False)
        else:
            await self._letters.keep_sent(posted)
            self.sent += 1

    async def _opened(self, facts: Mapping[str, Any], recipient: str) -> Mapping[str, Any]:
        """Return facts with the sealed one opened, if there is one."""
        sealed = facts.get(SEALED)
        if sealed is None:
            return facts
        try:
            octets = base64.b64decode(str(sealed), validate=True)
        except binascii.Error as error:
            raise SealError("a letter's sealed fact is damaged") from error
        secret = await self._opens(octets, SEAL_CONTEXT + recipient.encode())
        return {**facts, SEALED: secret.decode()}

    async def _failed(self, posted: PostedLetter, reason: str, *, final: bool) -> None:
        self.failures += 1
        state = await self._letters.keep_failed(posted, reason, final=final)
        words = {"number": posted.number, "kind": posted.letter.kind.value, "reason": reason}
        if state is LetterState.GIVEN_UP:
            self.given_up += 1
            self._log.error("letter {number} ({kind}) is given up: {reason}", **words)
        else:
            self._log.warn("letter {number} ({kind}) was not sent: {reason}", **words)
