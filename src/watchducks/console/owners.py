"""Owners: who may change which site's pages, for as long as his session lasts.

An owner shows his site's token once; it is kept here, in memory, and judged again at each use, so
that a token that is revoked stops working. The browser has nothing but the session's cookie, which
no script can read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from watchducks.console.interfaces import Sites
from watchducks.console.sessions import Session

# Owners at work at the same time; the longest idle one has to show his token again.
MAX_OWNERS: Final = 1000
# A token has 46 characters; what is much longer is not even looked up.
MAX_TOKEN_CHARACTERS: Final = 256


class Owners:
    """Remembers by session which sites' tokens were shown."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._tokens: OrderedDict[tuple[str, int], str] = OrderedDict()

    def remember(self, session: Session, site_id: int, token: str) -> None:
        """Let this session change the site, if the token is good for it."""
        key = (session.identifier, site_id)
        self._tokens[key] = token
        self._tokens.move_to_end(key)
        if len(self._tokens) > MAX_OWNERS:
            self._tokens.popitem(last=False)

    def forget(self, session: Session) -> None:
        """Forget all tokens that were shown in this session."""
        for key in [key for key in self._tokens if key[0] == session.identifier]:
            del self._tokens[key]

    async def unlock(self, session: Session, site_id: int, name: str, token: str) -> bool:
        """Return whether ``token`` is good for the site; if it is, it is remembered."""
        token = token.strip()
        good = len(token) <= MAX_TOKEN_CHARACTERS and await self._sites.authorise(name, token)
        if good:
            self.remember(session, site_id, token)
        return good

    async def may_change(self, session: Session, site_id: int, name: str) -> bool:
        """Return whether this session may change the site now."""
        token = self._tokens.get((session.identifier, site_id))
        if token is None:
            return False
        self._tokens.move_to_end((session.identifier, site_id))
        return await self._sites.authorise(name, token)
