"""Challenges: what an authority asks for to see that a name is ours, and who answers it.

The keeper posts an answer on a board; name servers answer it as TXT (RFC 8555 section 8.4), proxies
as a page (section 8.3). A board says when everybody who may be asked has it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

DNS_LABEL: Final = "_acme-challenge"
# One order has at most 100 names, in two orders at once, and some that nobody took down.
MAX_CHALLENGES: Final = 500


@dataclass(frozen=True, slots=True)
class Challenge:
    """One answer that has to be given.

    :ivar kind: ``dns-01`` or ``http-01``. :ivar name: the host, without ``*.``, lower-case.
    :ivar token: of the authority, base64url. :ivar value: the text of the TXT record or the page.
    """

    kind: str
    name: str
    token: str
    value: str

    @classmethod
    def answering(cls, kind: str, name: str, token: str, key_authorization: str) -> Challenge:
        """Return the answer to a challenge."""
        value = key_authorization
        if kind == "dns-01":
            digest = hashlib.sha256(key_authorization.encode()).digest()
            value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return cls(kind, name.lower().removeprefix("*."), token, value)


class Board(Protocol):
    """Where answers hang. Both methods may be called many times at once."""

    async def post(self, challenge: Challenge) -> None:
        """Return when everybody who may be asked answers it.

        :raises StoreUnavailable: it cannot be told to the others; asking would fail.
        """

    async def take_down(self, challenge: Challenge) -> None:
        """Answer it no more; nothing happens if it does not hang there. Never raises."""


class Answers:
    """The answers of this process, by what is asked. Lives on the reactor's thread.

    :ivar revision: grows with each change, so that a cache of DNS answers knows when to forget.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._texts: Mapping[str, tuple[str, ...]] = {}
        self._pages: Mapping[tuple[str, str], str] = {}
        self._on_change: list[Callable[[frozenset[Challenge]], None]] = []
        self._all: frozenset[Challenge] = frozenset()

    def on_change(self, listener: Callable[[frozenset[Challenge]], None]) -> None:
        """Call ``listener`` with all challenges after each change, and now."""
        self._on_change.append(listener)
        listener(self._all)

    def replace(self, challenges: Iterable[Challenge]) -> None:
        """Answer these and no others; beyond :data:`MAX_CHALLENGES` the rest is left out."""
        kept = frozenset(sorted(challenges, key=lambda one: (one.name, one.token))[:MAX_CHALLENGES])
        if kept == self._all:
            return
        texts: dict[str, tuple[str, ...]] = {}
        pages: dict[tuple[str, str], str] = {}
        for one in sorted(kept, key=lambda one: one.value):
            if one.kind == "dns-01":
                texts[one.name] = (*texts.get(one.name, ()), one.value)
            else:
                pages[one.name, one.token] = one.value
        self._all, self._texts, self._pages = kept, texts, pages
        self.revision += 1
        for listener in self._on_change:
            listener(kept)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT values of ``_acme-challenge`` below ``name``; apex and wildcard share."""
        return self._texts.get(name, ())

    def page(self, host: str, token: str) -> str | None:
        """Return the page of a token at ``host``; None: it is not one of ours."""
        return self._pages.get((host, token))
