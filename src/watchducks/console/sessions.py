"""Sessions: what ties a form to the browser that was given it, and carries a word to the next page.

A session's identifier is signed and carries its own expiry, so a session costs no memory until
something is put into it: nobody can push other people's forms out by opening many pages. The key
lives as long as the process; after a restart an open form says that it has expired.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from klein.interfaces import ISession, ISessionStore, NoSuchSession, SessionMechanism
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

# Long enough to look up an origin's address between opening the form and sending it.
LIFE_SECONDS: Final = 4 * 3600
# Only a finished registration leaves something, for the seconds until the next page is loaded.
MAX_NOTES: Final = 1000
_KEY_BYTES: Final = 32
_RANDOM_BYTES: Final = 16


@implementer(ISession)
@dataclass(frozen=True, slots=True)
class Session:
    """One browser's session. Anonymous: it authorises nothing."""

    identifier: str
    isConfidential: bool
    authenticatedBy: Any = SessionMechanism.Cookie

    def authorize(self, interfaces: Iterable[type[Interface]]) -> Deferred[dict[object, object]]:
        """Return what of ``interfaces`` this session may use: nothing. Klein asks it."""
        del interfaces
        return succeed({})


@implementer(ISessionStore)
class SignedSessions:
    """Makes and checks sessions, and keeps notes for them.

    :param clock: tells the time; sessions and notes end :data:`LIFE_SECONDS` after their making.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._notes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def newSession(
        self,
        isConfidential: bool,  # noqa: FBT001  Klein's interface
        authenticatedBy: object,
    ) -> Deferred[Session]:
        """Make a session (Klein's ISessionStore)."""
        del authenticatedBy
        expiry = int(self._clock.seconds()) + LIFE_SECONDS
        plain = f"{expiry}.{secrets.token_hex(_RANDOM_BYTES)}"
        return succeed(Session(f"{plain}.{self._signature(plain)}", isConfidential))

    def loadSession(
        self,
        identifier: str,
        isConfidential: bool,  # noqa: FBT001  Klein's interface
        authenticatedBy: object,
    ) -> Deferred[Session]:
        """Return the session that ``identifier`` names, or fail with NoSuchSession.

        Only cookies name sessions: a session named by a header would be free of CSRF protection.
        """
        plain, _, signature = identifier.rpartition(".")
        expiry = plain.partition(".")[0]
        good = (
            authenticatedBy is SessionMechanism.Cookie
            and identifier.isascii()
            and expiry.isdigit()
            and hmac.compare_digest(signature, self._signature(plain))
            and int(expiry) > self._clock.seconds()
        )
        if not good:
            return fail(NoSuchSession("the session is over, or was never ours"))
        return succeed(Session(identifier, isConfidential))

    def sentInsecurely(self, identifiers: Sequence[str]) -> None:
        """Nothing to protect: whoever reads a plain connection reads the page, too."""

    def _signature(self, plain: str) -> str:
        return hmac.digest(self._key, plain.encode(), "sha256").hex()

    def leave_note(self, session: Session, name: str, text: str) -> None:
        """Keep ``text`` for the next page; the oldest note goes when there are too many."""
        self._notes[session.identifier, name] = text
        while len(self._notes) > MAX_NOTES:
            self._notes.popitem(last=False)

    def take_note(self, session: Session, name: str) -> str | None:
        """Return the note and forget it; None if there is none (any more)."""
        return self._notes.pop((session.identifier, name), None)
